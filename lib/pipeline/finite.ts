// Latents that hold NaN or Inf are refused by name before they are saved or decoded: bytes of pixels cannot show them.

import { VinError } from '../errors.js'
import type { TensorData } from '../native/tensor.js'

/**
@param what for example `latents in clip.safetensors`
@throws VinError ERR_VIN_NONFINITE with `details` and the latent frame
*/
export function checkFinite({ data, shape }: TensorData, what: string, details: Record<string, unknown> = {}): void {
  const bad = data.findIndex((value) => !Number.isFinite(value))
  if (bad < 0) return
  const [, frames = 1, height = 1, width = 1] = shape
  const frame = Math.floor(bad / (height * width)) % frames
  throw new VinError('ERR_VIN_NONFINITE', `Expected finite ${what} but found ${data[bad]} in latent frame ${frame}; check the weights, guidanceScale and hooks that replace latents`, { ...details, frame })
}
