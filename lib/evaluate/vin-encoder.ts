// Features of a frame by a model's own VIN: the global tokens that it makes of a video of that one frame, nearly without noise and without text.

import type { VideoPipeline } from '../pipeline/pipeline.js'
import { requireGlobalTokens } from '../pipeline/evaluation.js'
import { nullText } from '../pipeline/text.js'
import { Scope, readNative } from '../native/tensor.js'
import { coverAndCrop } from '../video/image.js'
import type { FrameEncoder } from './consistency.js'

/** The scheduler's least noise. */
const TIMESTEP = 1

/**
An encoder for `evaluate` by the pipeline's VIN and VAE: frames are scaled to cover the model's size and their centre is kept, features are its global tokens [G·d].
The pipeline belongs to the caller.

@example
const { identityOverGap } = await evaluate('out.mp4', { metrics: ['identityOverGap'], encoder: vinEncoder(pipeline) })
@throws ERR_VIN_MISSING_COMPONENT for a model without `vin.*` or `vae/`
*/
export function vinEncoder(pipeline: VideoPipeline): FrameEncoder {
  const { transformer, vae, defaults } = pipeline
  requireGlobalTokens(transformer, 'vin')
  const { width, height, fps } = defaults
  return {
    name: 'VIN',
    encode: (frame, given) =>
      pipeline.track([given], async (signal, cancel) => {
        signal.throwIfAborted()
        const engine = transformer.engine.native
        const scope = new Scope()
        try {
          const pixels = scope.add(engine.upload(coverAndCrop(frame, width, height), [3, 1, height, width]))
          const latents = scope.add(vae.native.encode(pixels, { cancel }))
          const [, latentFrames = 1] = latents.shape
          const chunks = [{ first: 0, start: 0, end: latentFrames }]
          const made = transformer.native.trace({ latents, timestep: TIMESTEP, text: nullText(transformer, [1], scope), fps, height, width, chunks, keyframes: [latentFrames - 1], cancel })
          for (const tensor of [made.output, ...Object.values(made).flat()]) scope.add(tensor)
          return (await readNative(made.global_tokens!)).data
        } finally {
          scope.dispose()
        }
      })
  }
}
