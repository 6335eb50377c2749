// One evaluation of model.md §3: its chunk plan, and the native request for it. Everything that evaluates asks here: denoise, attention, the sampling loop, the dry
// run of memory and the trainer.

import { missingComponent } from '../errors.js'
import { methods, type Evaluation, type Geometry, type Method, type MethodPlan } from '../methods/index.js'
import type { Transformer } from '../models/transformer.js'
import type { EvaluationRequest, NativeCancel, NativeTensor } from '../native/binding.js'
import { Scope, toNative, type TensorLike } from '../native/tensor.js'
import type { ResolvedDenoiseOptions } from '../options/denoise.js'
import { streamingParts } from '../options/model.js'
import { conditionText, type TextConditioning } from './text.js'

/** @throws ERR_VIN_MISSING_COMPONENT naming the weights that a plain backbone lacks */
export function requireGlobalTokens(transformer: Transformer, method: string): void {
  if (transformer.hasGlobalTokens) return
  const names = 'vin.global_tokens, vin.encoder.*, vin.text_proj, vin.t_block.1, vin.blocks.*, vin.out_proj'
  throw missingComponent('vin', `Expected the weights ${names} for method '${method}' but the checkpoint is a plain backbone; use method 'independent', 'full' or 'autoregressive'`)
}

/** Whether a checkpoint has the weights that a method needs. */
export function hasWeightsFor(method: Method, { config, hasGlobalTokens }: Transformer): boolean {
  return (!method.globalTokens || hasGlobalTokens) && (method.streaming === undefined || (config.cam === true && config.apm === true))
}

/** @throws ERR_VIN_MISSING_COMPONENT saying how to get them */
export function requireStreaming({ config }: Transformer, what: string): void {
  const missing = streamingParts.filter((part) => config[part] !== true)
  if (missing.length === 0) return
  const [names, parts] = [missing.map((part) => `${part}.*`).join(' and '), missing.map((part) => `'${part}'`).join(', ')]
  throw missingComponent(missing.join(', '), `Expected the weights ${names} for ${what} but the checkpoint has none; open it with addParts: [${parts}] and train them (Trainer, trainable: ${missing.map((part) => `'${part}'`).join(', then ')}), or use method 'autoregressive'`)
}

/** @throws ERR_VIN_MISSING_COMPONENT saying how to get them */
export function requireMemory({ config, hasGlobalTokens }: Transformer, what: string): void {
  if (hasGlobalTokens && config.vin?.memory === true) return
  throw missingComponent('vin.memory', `Expected the weights vin.memory.* for ${what} but the checkpoint has none; open it with addParts: ['memory'] and train them (Trainer, globalTokenMemory: 0.9), or leave ${what} out`)
}

/** @throws ERR_VIN_MISSING_COMPONENT saying how to get them */
export function requireGlobalFeatures({ config, hasGlobalTokens }: Transformer, what: string): void {
  if (hasGlobalTokens && config.vin?.global_features !== undefined) return
  throw missingComponent('vin.global_features', `Expected the weights vin.global_features.* for ${what} but the checkpoint has none; open a model with a VIN with globalFeatures: K, the numbers of an example`)
}

/** @throws ERR_VIN_MISSING_COMPONENT saying how to get them */
export function requireFusion({ config }: Transformer, what: string): void {
  if (config.fusion === true) return
  throw missingComponent('fusion', `Expected the weights fusion.* for ${what} but the checkpoint has none; open it with addParts: ['fusion'] and train them (Trainer, trainable: 'fusion'), or use weights 'linear'`)
}

/**
Chunks and keyframes of a video.

@throws ERR_VIN_MISSING_COMPONENT for a method that needs weights that the checkpoint lacks
*/
export function planOf(method: Method, transformer: Transformer, { latentFrames, chunkFrames, contextFrames, keyframeInterval }: Omit<Geometry, 'latentFps'>): MethodPlan {
  if (method.globalTokens) requireGlobalTokens(transformer, method.name)
  if (method.streaming) requireStreaming(transformer, `method '${method.name}'`)
  return method.plan({ latentFrames, chunkFrames, contextFrames, keyframeInterval, latentFps: transformer.config.latent_fps })
}

/** What a request is made of; other fields of the object are left alone, so that resolved options can be spread into it. */
export interface EvaluationParts<T> {
  latents: T
  timestep: number
  /** [N], where latent frames are at times of their own. */
  frameTimesteps?: readonly number[] | undefined
  /** In training a text may be ids or rows of y_embedding instead, which the trainer is told. */
  text: Partial<TextConditioning<T>>
  evaluation: Evaluation
  /** Video frames per second. */
  fps: number
  /** Pixels. */
  height: number
  width: number
  /** Of an evaluation with an anchor. */
  anchorGuidanceScale?: number | undefined
  frameMask?: readonly number[] | undefined
  globalTokensFrom?: T | undefined
  /** Global tokens of the evaluation before, where `readsMemory` says that there was one; then those of this one. */
  memory?: T | undefined
  readsMemory?: boolean | undefined
  chunksInFlight?: number | undefined
  cancel?: NativeCancel | undefined
}

/** The native request; with shapes for tensors, that of its dry run. */
export function evaluationRequest<T = NativeTensor>(parts: EvaluationParts<T>): EvaluationRequest<T> {
  const { latents, timestep, frameTimesteps, text, evaluation, fps, height, width, anchorGuidanceScale, frameMask, globalTokensFrom, memory, readsMemory, chunksInFlight, cancel } = parts
  const { chunks, keyframes, attention, fuse, fusionWeights, overlapCuts } = evaluation
  const streaming = evaluation.streaming && { ...evaluation.streaming, anchorGuidanceScale }
  return { latents, timestep, frameTimesteps, ...text, fps, height, width, chunks, keyframes, attention, streaming, fuse, fusionWeights, overlapCuts, frameMask, globalTokensFrom, memory, readsMemory, chunksInFlight, cancel }
}

/** The request of pipeline.denoise; tensors it makes belong to the scope. */
export async function denoiseRequest(transformer: Transformer, options: ResolvedDenoiseOptions, cancel: NativeCancel, scope: Scope): Promise<EvaluationRequest> {
  const engine = transformer.engine.native
  if (options.fusionWeights === 'learned') requireFusion(transformer, "fusionWeights 'learned'")
  const plan = planOf(methods[options.method], transformer, { ...options, latentFrames: options.shape[1] })
  const { signal } = options
  // All at the call: what the caller changes afterwards is not seen.
  const taken = (value: TensorLike | undefined): Promise<NativeTensor> | undefined => (value === undefined ? undefined : toNative(engine, value, scope, signal))
  const [latents, text, negative, globalTokensFrom] = await Promise.all([
    toNative(engine, options.latents, scope, signal),
    toNative(engine, options.promptEmbeds, scope, signal),
    taken(options.negativePromptEmbeds),
    taken(options.globalTokensFrom)
  ])
  const conditioning = conditionText(transformer, [text], negative, options.guidanceScale, scope)
  return evaluationRequest({ ...options, latents, text: conditioning, evaluation: { ...plan, fuse: options.fuse, fusionWeights: options.fusionWeights }, globalTokensFrom, cancel })
}
