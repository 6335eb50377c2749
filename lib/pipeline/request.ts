// Options of one evaluation → the native request, and the call.

import { missingComponent, native } from '../errors.js'
import { methods } from '../methods/index.js'
import type { MethodPlan } from '../methods/index.js'
import type { Transformer } from '../models/transformer.js'
import type { DenoiseRequest, NativeCancel, NativeTensor } from '../native/binding.js'
import { Scope, toNative } from '../native/tensor.js'
import type { TensorLike } from '../native/tensor.js'
import type { ResolvedDenoiseOptions } from '../options/denoise.js'
import { conditionText } from './text.js'

/** @throws ERR_VIN_MISSING_COMPONENT naming the weights that a plain backbone lacks */
export function requireGlobalTokens(transformer: Transformer, method: string): void {
  if (transformer.hasGlobalTokens) return
  const names = 'vin.global_tokens, vin.encoder.*, vin.text_proj, vin.t_block.1, vin.blocks.*, vin.out_proj'
  throw missingComponent('vin', `Expected the weights ${names} for method '${method}' but the checkpoint is a plain backbone; use method 'independent', 'full' or 'autoregressive'`)
}

/** Chunks and keyframes of one evaluation. */
export function planEvaluation(options: ResolvedDenoiseOptions, transformer: Transformer): MethodPlan {
  const method = methods[options.method]
  if (method.globalTokens) requireGlobalTokens(transformer, method.name)
  const { chunkFrames, contextFrames, keyframeInterval } = options
  return method.plan({ latentFrames: options.shape[1], chunkFrames, contextFrames, keyframeInterval, latentFps: transformer.config.latent_fps })
}

/** The request of pipeline.denoise; tensors it makes belong to the scope. */
export async function denoiseRequest(transformer: Transformer, options: ResolvedDenoiseOptions, cancel: NativeCancel, scope: Scope): Promise<DenoiseRequest> {
  const engine = transformer.engine.native
  const { chunks, keyframes } = planEvaluation(options, transformer)
  const context = { signal: options.signal }
  // All at the call: what the caller changes afterwards is not seen.
  const taken = (value: TensorLike | undefined): Promise<NativeTensor> | undefined => (value === undefined ? undefined : toNative(engine, value, scope, context))
  const [latents, text, negative, globalTokensFrom] = await Promise.all([
    toNative(engine, options.latents, scope, context),
    toNative(engine, options.promptEmbeds, scope, context),
    taken(options.negativePromptEmbeds),
    taken(options.globalTokensFrom)
  ])
  const { timestep, fps, height, width, fuse, frameMask, chunksInFlight } = options
  return native(
    () => ({
      latents,
      timestep,
      ...conditionText(transformer, [text], negative, options.guidanceScale, scope),
      fps,
      height,
      width,
      chunks,
      fuse,
      cancel,
      ...(keyframes === undefined ? {} : { keyframes }),
      ...(frameMask === undefined ? {} : { frameMask }),
      ...(globalTokensFrom === undefined ? {} : { globalTokensFrom }),
      ...(chunksInFlight === undefined ? {} : { chunksInFlight })
    }),
    context
  )
}
