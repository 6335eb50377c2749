// Previews of a run: the middle micro-batch of the latents as they are after a step, decoded.

import { inStep, missingComponent } from '../errors.js'
import type { VAE } from '../models/vae.js'
import type { NativeTensor } from '../native/binding.js'
import { readArray } from '../native/tensor.js'
import type { ResolvedGenerateOptions } from '../options/generate.js'
import { framesFrom } from './decode.js'
import { callHook, type StepReport } from './hooks.js'
import type { PipelineParts } from './load.js'
import type { Run } from './run.js'

export function requireVae(vae: PipelineParts['vae']): VAE {
  if (vae === undefined) throw missingComponent('vae', 'Expected the model to have vae/ for pixels but it has none; use outputType "latents" (on the command line -o FILE.safetensors), without pictures or a video to begin or end with')
  return vae
}

const previewsOfRun = 5

/** Whether somebody who iterates gets a preview after this step. */
export function isPreviewed({ preview: asked, outputType }: ResolvedGenerateOptions, { step, numInferenceSteps }: StepReport): boolean {
  const before = (steps: number): number => Math.floor((previewsOfRun * steps) / numInferenceSteps)
  return asked ?? (outputType === 'video' && before(step + 1) > before(step))
}

/** An event, and a call of onPreview. */
export async function preview({ options, parts, context, plan }: Run, step: number, latents: NativeTensor): Promise<void> {
  const vae = requireVae(parts.vae)
  const { latentFrames: size, frames: videoFrames } = vae.microBatch
  const batch = Math.floor((plan.latentFrames - 1) / size / 2)
  const pixels = vae.native.decodePixels(latents, { begin: batch * size, end: Math.min((batch + 1) * size, plan.latentFrames), numFrames: options.numFrames, cancel: context.cancel })
  try {
    const frames = framesFrom(await inStep(step, readArray(pixels)), batch * videoFrames)
    const event = { type: 'preview', step, frames } as const
    if (options.preview !== false) context.emit({ event })
    await callHook(context.owner, context.signal, () => options.onPreview?.(event))
  } finally {
    pixels.dispose()
  }
}
