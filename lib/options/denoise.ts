// Options of pipeline.denoise and pipeline.attention.

import { checkBoolean, checkInteger, checkNumber, checkOneOf, checkOptions, checkSignal, unchecked, type Checks } from '../check.js'
import { expected, rangeError } from '../errors.js'
import { checkMask } from '../models/mask.js'
import type { TransformerConfig } from '../models/transformer.js'
import { checkShape, type TensorLike } from '../native/tensor.js'
import { checkContext } from '../plan/chunks.js'
import { fusionWeights, type FusionWeights } from '../plan/fusion.js'

/** Methods that are one evaluation of the whole video; 'spectral-blend' blends, as in the first half of its steps. */
export type DenoiseMethod = 'vin' | 'independent' | 'full' | 'freenoise' | 'spectral-blend'

/** How a video is split into chunks. */
export interface ChunkOptions {
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
  /** Chunks evaluated at once. Results do not depend on it. @default as many as memory and threads allow */
  chunksInFlight?: number | undefined
}

export interface DenoiseOptions<T extends TensorLike = TensorLike> extends ChunkOptions {
  /** Noisy latents [C, N, H, W]; clean values where `frameMask` is 0. */
  latents: T
  /**
  Time of the noise: an integer below 1000 for ε models, any number in (0, 1000] for flow match.

  @throws RangeError for a negative or infinite number
  */
  timestep: number
  /** [N] that of each latent frame, where frames have their own; `timestep` is then that of the global tokens. */
  frameTimesteps?: ArrayLike<number> | undefined
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
  /** Weights of the blend. @default 'linear' */
  fusionWeights?: FusionWeights | undefined
  /**
  'vin'; 'independent': chunks without global tokens; 'full': one chunk without them; 'freenoise', 'spectral-blend': one chunk whose frames attend in windows, or
  to all frames and to nearby ones.

  @default 'vin'
  @throws ERR_VIN_MISSING_COMPONENT for 'vin' on a checkpoint without `vin.*`
  */
  method?: DenoiseMethod | undefined
  /** [N] 1 for latent frames to denoise, 0 for conditioning frames, whose prediction is 0. */
  frameMask?: ArrayLike<number> | undefined
  /** The VIN reads these latents [C, N, H, W] instead of `latents`. */
  globalTokensFrom?: TensorLike | undefined
  /** Stops the evaluation within a block of the model; the promise rejects with its reason. */
  signal?: AbortSignal | undefined
}

type WithDefault = 'fps' | 'width' | 'height' | 'guidanceScale' | 'fuse' | 'fusionWeights' | 'method' | keyof PlanLengths

/** Every option; those without a default are undefined where they were not given. */
export type ResolvedDenoiseOptions<T extends TensorLike = TensorLike> = Omit<DenoiseOptions<T>, WithDefault | 'frameMask' | 'frameTimesteps'> &
  Readonly<Required<Pick<DenoiseOptions, WithDefault>>> & {
    readonly frameMask: number[] | undefined
    readonly frameTimesteps: number[] | undefined
    /** [C, N, H, W] */
    readonly shape: readonly [number, number, number, number]
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

/** Lengths of the chunk plan. */
type PlanLengths = Record<'chunkFrames' | 'contextFrames' | 'keyframeInterval', number>

/** Lengths of the chunk plan: given, or the checkpoint's. */
export function resolvePlanOptions(options: ChunkOptions, config: Readonly<TransformerConfig>): PlanLengths {
  const { chunkFrames = config.chunk_frames, contextFrames = config.context_frames, keyframeInterval = config.vin?.keyframe_interval ?? 1 } = options
  evaluationChecks.chunkFrames(chunkFrames)
  evaluationChecks.contextFrames(contextFrames)
  checkContext(contextFrames, chunkFrames)
  evaluationChecks.keyframeInterval(keyframeInterval)
  return { chunkFrames, contextFrames, keyframeInterval }
}

function checkFrameTimesteps(value: ArrayLike<number>, latentFrames: number): number[] {
  if (typeof value !== 'object' || value === null || value.length !== latentFrames) throw expected(`${latentFrames} numbers, one for each latent frame,`, 'frameTimesteps', value, typeof value === 'object' && value !== null ? 'range' : 'type')
  return Array.from(value, (timestep, frame) => checkNumber(timestep, `frameTimesteps[${frame}]`, 0, 1e6))
}

export function checkFusionWeights(weights: unknown, name: string): FusionWeights {
  return checkOneOf(weights, name, fusionWeights)
}

function checkMethod(method: unknown): DenoiseMethod {
  return checkOneOf(method, 'method', ['vin', 'independent', 'full', 'freenoise', 'spectral-blend'])
}

/** Each option once: what can be said of its value without a model. Shapes depend on it. */
const denoiseChecks: Checks<DenoiseOptions> = {
  latents: unchecked,
  promptEmbeds: unchecked,
  negativePromptEmbeds: unchecked,
  globalTokensFrom: unchecked,
  frameMask: unchecked,
  timestep: (value) => checkNumber(value, 'timestep', 0, 1e6),
  frameTimesteps: unchecked,
  fps: (value) => checkNumber(value, 'fps', 0, 1000, true),
  width: (value) => checkInteger(value, 'width', 1, 65_536),
  height: (value) => checkInteger(value, 'height', 1, 65_536),
  fuse: checkBoolean,
  fusionWeights: checkFusionWeights,
  method: checkMethod,
  signal: checkSignal,
  ...evaluationChecks
}

/** Checked, with defaults, frozen. Does no native work. */
export function resolveDenoiseOptions<T extends TensorLike>(options: DenoiseOptions<T>, config: Readonly<TransformerConfig>, what = 'denoise'): ResolvedDenoiseOptions<T> {
  const given = checkOptions(options, what, denoiseChecks as Checks<DenoiseOptions<T>>)
  const shape = checkShape(options.latents, 'latents', [config.in_channels, 'N', 'H', 'W']) as [number, number, number, number]
  const [, N, H, W] = shape
  if (N < 1 || H < 1 || W < 1) throw rangeError(`Expected at least one latent frame of one latent for latents but received [${shape.join(', ')}]`)
  if (N > 65_536) throw expected('at most 65536 latent frames', 'latents', N, 'range')
  denoiseChecks.timestep(options.timestep, 'timestep')
  checkText(options.promptEmbeds, 'promptEmbeds', config)
  if (options.negativePromptEmbeds !== undefined) checkText(options.negativePromptEmbeds, 'negativePromptEmbeds', config)
  if (options.globalTokensFrom !== undefined) checkShape(options.globalTokensFrom, 'globalTokensFrom', shape)
  const frameMask = options.frameMask === undefined ? undefined : checkMask(options.frameMask, 'frameMask', N)
  const frameTimesteps = options.frameTimesteps === undefined ? undefined : checkFrameTimesteps(options.frameTimesteps, N)
  const defaults = { fps: 16, width: 8 * W, height: 8 * H, guidanceScale: 1, fuse: true, fusionWeights: 'linear' as const, method: 'vin' as const }
  return Object.freeze({ ...defaults, ...given, ...resolvePlanOptions(options, config), shape, frameMask, frameTimesteps })
}
