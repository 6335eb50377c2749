// Latents → frames, micro-batch by micro-batch. One micro-batch is queued ahead of the one that is being read, so memory does not grow with the video.

import { VinError } from '../errors.js'
import type { VAE } from '../models/vae.js'
import type { NativeTensor } from '../native/binding.js'
import { abortable, bindCancel } from '../native/cancel.js'
import { linkSignals } from '../native/signals.js'
import { readArray, type TensorData } from '../native/tensor.js'
import type { Frame } from '../video/index.js'

export interface DecodeInput {
  vae: VAE
  latents: TensorData
  numFrames: number
  /** Video frames at the beginning that are left out, whole micro-batches of them. @default 0 */
  from?: number | undefined
}

/** Pixels uint8 [T, H, W, 3] as frames, the first of which has the given index. */
export function framesFrom({ data, shape }: Awaited<ReturnType<typeof readArray>>, first: number): Frame[] {
  const [count = 0, height = 0, width = 0] = shape
  const size = height * width * 3
  return Array.from({ length: count }, (_, i) => ({ index: first + i, data: (data as Uint8Array).slice(i * size, (i + 1) * size), width, height }))
}

/** Yields the frames of one micro-batch after another. */
export async function* decodeBatches({ vae, latents, numFrames, from = 0 }: DecodeInput, ...signals: (AbortSignal | undefined)[]): AsyncGenerator<Frame[]> {
  const linked = linkSignals(...signals)
  const { signal } = linked
  signal.throwIfAborted()
  if (vae.disposed) {
    throw new VinError('ERR_VIN_DISPOSED', 'Expected the pipeline of this video for its pixels but it was disposed; read or save the frames before dispose(), or save the latents (.safetensors), which need no model, and decode them later with openLatents()', { component: 'vae' })
  }
  const model = vae.native
  const engine = vae.engine.native
  const cancel = bindCancel(engine, signal)
  const tensor = engine.upload(latents.data, latents.shape)
  const latentFrames = latents.shape[1] ?? 0
  const step = vae.microBatch.latentFrames
  const first = (from / vae.microBatch.frames) * step
  const queue = (begin: number): NativeTensor => model.decodePixels(tensor, { begin, end: Math.min(begin + step, latentFrames), numFrames, cancel: cancel.flag })
  let ahead: NativeTensor | undefined
  try {
    ahead = first < latentFrames ? queue(first) : undefined
    let index = from
    for (let begin = first; begin < latentFrames; begin += step) {
      const pixels: NativeTensor = ahead as NativeTensor
      ahead = begin + step < latentFrames ? queue(begin + step) : undefined
      try {
        const frames = framesFrom(await abortable(readArray(pixels), signal), index)
        index += frames.length
        yield frames
      } finally {
        pixels.dispose()
      }
    }
  } finally {
    ahead?.dispose()
    tensor.dispose()
    cancel.release()
    linked.release()
  }
}

/** Yields frame after frame. */
export async function* decodeFrames(input: DecodeInput, ...signals: (AbortSignal | undefined)[]): AsyncGenerator<Frame> {
  for await (const frames of decodeBatches(input, ...signals)) yield* frames
}
