// Options of pipeline.denoise and pipeline.attention.

import { checkBoolean, checkInteger, checkNames, checkNumber, checkOneOf, checkSignal } from '../check.js'
import { expected, notSupported, rangeError } from '../errors.js'
import { checkMask } from '../models/mask.js'
import type { TransformerConfig } from '../models/transformer.js'
import { unsupportedMethods } from '../methods/index.js'
import { checkShape, type TensorLike } from '../native/tensor.js'
import { checkContext } from '../plan/chunks.js'

export interface DenoiseOptions<T extends TensorLike = TensorLike> {
  /** Noisy latents [C, N, H, W]; clean values where `frameMask` is 0. */
  latents: T
  /**
  Time of the noise: an integer below 1000 for ε models, any number in (0, 1000] for flow match.

  @throws RangeError for a negative or infinite number
  */
  timestep: number
  /**
  Text embeddings [L, D], all rows valid.

  @throws RangeError for more rows than the checkpoint's `model_max_length`
  */
  promptEmbeds: TensorLike
  /**
  Text of the other guidance branch, [L', D].

  @default the first L rows of the checkpoint's `y_embedder.y_embedding`
  */
  negativePromptEmbeds?: TensorLike | undefined
  /** Video frames per second. @default 16 */
  fps?: number | undefined
  /** Pixels; scales the position embedding. @default 8 · W */
  width?: number | undefined
  /** Pixels; scales the position embedding. @default 8 · H */
  height?: number | undefined
  /** Factor w of eps = u + w (c − u). 0 and 1 are one evaluation. @default 1 */
  guidanceScale?: number | undefined
  /** Blend the overlaps of neighbouring chunks; false keeps the owner's value. @default true */
  fuse?: boolean | undefined
  /**
  'vin'; 'independent': chunks without global tokens; 'full': one chunk without them.

  @default 'vin'
  @throws ERR_VIN_MISSING_COMPONENT for 'vin' on a checkpoint without `vin.*`
  */
  method?: 'vin' | 'independent' | 'full' | undefined
  /** Latent frames a chunk owns. @default the checkpoint's `chunk_frames` */
  chunkFrames?: number | undefined
  /**
  Latent frames before a chunk that are computed again inside it. More of them smooth the seams and cost compute.

  @default the checkpoint's `context_frames`
  @throws RangeError for more than `chunkFrames`
  */
  contextFrames?: number | undefined
  /** Seconds between the latent frames that the VIN reads. @default the checkpoint's `vin.keyframe_interval` */
  keyframeInterval?: number | undefined
  /** [N]: 1 for latent frames to denoise, 0 for conditioning frames, whose prediction is 0. */
  frameMask?: ArrayLike<number> | undefined
  /** The VIN reads these latents [C, N, H, W] instead of `latents`. */
  globalTokensFrom?: TensorLike | undefined
  /** Chunks evaluated at once. Results do not depend on it. @default as many as there are threads */
  chunksInFlight?: number | undefined
  /** Stops the evaluation within a block of the model; the promise rejects with its reason. */
  signal?: AbortSignal | undefined
}

const denoiseOptionNames = [
  'latents',
  'timestep',
  'promptEmbeds',
  'negativePromptEmbeds',
  'fps',
  'width',
  'height',
  'guidanceScale',
  'fuse',
  'method',
  'chunkFrames',
  'contextFrames',
  'keyframeInterval',
  'frameMask',
  'globalTokensFrom',
  'chunksInFlight',
  'signal'
] as const

export interface ResolvedDenoiseOptions<T extends TensorLike = TensorLike> {
  latents: T
  /** [C, N, H, W] */
  shape: readonly [number, number, number, number]
  timestep: number
  promptEmbeds: TensorLike
  negativePromptEmbeds: TensorLike | undefined
  fps: number
  width: number
  height: number
  guidanceScale: number
  fuse: boolean
  method: 'vin' | 'independent' | 'full'
  chunkFrames: number
  contextFrames: number
  keyframeInterval: number
  frameMask: number[] | undefined
  globalTokensFrom: TensorLike | undefined
  chunksInFlight: number | undefined
  signal: AbortSignal | undefined
}

/** Rows of a text argument. @throws RangeError beyond the checkpoint's limit */
export function checkText(value: TensorLike, name: string, config: Pick<TransformerConfig, 'caption_channels' | 'model_max_length'>): number {
  const rows = checkShape(value, name, ['L', config.caption_channels])[0] ?? 0
  if (rows < 1 || rows > config.model_max_length) throw rangeError(`Expected 1 to ${config.model_max_length} rows for ${name} but received ${rows}`)
  return rows
}

/** Of options that generate has too. */
export const evaluationChecks = {
  chunkFrames: (value: unknown) => checkInteger(value, 'chunkFrames', 1, 65_536),
  contextFrames: (value: unknown) => checkInteger(value, 'contextFrames', 0, 65_536),
  keyframeInterval: (value: unknown) => checkNumber(value, 'keyframeInterval', 1e-3, 3600),
  guidanceScale: (value: unknown) => checkNumber(value, 'guidanceScale', 0, 1000),
  chunksInFlight: (value: unknown) => checkInteger(value, 'chunksInFlight', 1, 1024)
}

/** Lengths of the chunk plan: given, or the checkpoint's. */
export function resolvePlanOptions(
  options: { chunkFrames?: number | undefined; contextFrames?: number | undefined; keyframeInterval?: number | undefined },
  config: Readonly<TransformerConfig>
): { chunkFrames: number; contextFrames: number; keyframeInterval: number } {
  const chunkFrames = evaluationChecks.chunkFrames(options.chunkFrames === undefined ? config.chunk_frames : options.chunkFrames)
  const contextFrames = evaluationChecks.contextFrames(options.contextFrames === undefined ? config.context_frames : options.contextFrames)
  checkContext(contextFrames, chunkFrames)
  const keyframeInterval = evaluationChecks.keyframeInterval(options.keyframeInterval === undefined ? (config.vin?.keyframe_interval ?? 1) : options.keyframeInterval)
  return { chunkFrames, contextFrames, keyframeInterval }
}

const denoiseMethods = ['vin', 'independent', 'full'] as const

/** Checked, with defaults, frozen. Does no native work. */
export function resolveDenoiseOptions<T extends TensorLike>(options: DenoiseOptions<T>, config: Readonly<TransformerConfig>, what = 'denoise'): ResolvedDenoiseOptions<T> {
  checkNames(options, what, denoiseOptionNames)
  const shape = checkShape(options.latents, 'latents', [config.in_channels, 'N', 'H', 'W']) as [number, number, number, number]
  const [, N, H, W] = shape
  if (N < 1 || H < 1 || W < 1) throw rangeError(`Expected at least one latent frame of one latent for latents but received [${shape.join(', ')}]`)
  if (N > 65_536) throw expected('at most 65536 latent frames', 'latents', N, 'range')
  const { method: asked = 'vin' } = options
  if ((unsupportedMethods as readonly string[]).includes(asked)) throw notSupported(asked, `Expected one of vin, independent, full for method but received '${asked}', which this version does not run`)
  const method = checkOneOf(asked, 'method', denoiseMethods)
  checkText(options.promptEmbeds, 'promptEmbeds', config)
  if (options.negativePromptEmbeds !== undefined) checkText(options.negativePromptEmbeds, 'negativePromptEmbeds', config)
  if (options.globalTokensFrom !== undefined) checkShape(options.globalTokensFrom, 'globalTokensFrom', shape)
  return Object.freeze({
    latents: options.latents,
    shape,
    timestep: checkNumber(options.timestep, 'timestep', 0, 1e6),
    promptEmbeds: options.promptEmbeds,
    negativePromptEmbeds: options.negativePromptEmbeds,
    fps: options.fps === undefined ? 16 : checkNumber(options.fps, 'fps', 0, 1000, true),
    width: options.width === undefined ? 8 * W : checkInteger(options.width, 'width', 1, 65_536),
    height: options.height === undefined ? 8 * H : checkInteger(options.height, 'height', 1, 65_536),
    guidanceScale: options.guidanceScale === undefined ? 1 : evaluationChecks.guidanceScale(options.guidanceScale),
    fuse: options.fuse === undefined ? true : checkBoolean(options.fuse, 'fuse'),
    method,
    ...resolvePlanOptions(options, config),
    frameMask: options.frameMask === undefined ? undefined : checkMask(options.frameMask, 'frameMask', N),
    globalTokensFrom: options.globalTokensFrom,
    chunksInFlight: options.chunksInFlight === undefined ? undefined : evaluationChecks.chunksInFlight(options.chunksInFlight),
    signal: checkSignal(options.signal)
  })
}
