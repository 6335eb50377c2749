// Options of the Trainer.

import { types } from 'node:util'
import { checkBoolean, checkInteger, checkNames, checkNumber } from '../check.js'
import { expected, notSupported, rangeError, typeError } from '../errors.js'
import { checkSeed } from '../native/ops.js'
import type { SchedulerOption } from '../schedulers/index.js'
import { checkMaskRatios } from './masks.js'
import type { MaskRatios } from './masks.js'
import type { EmaDecay } from './rates.js'
import type { TimestepSampling } from './timesteps.js'

/** 'all': every weight but `cam.*` and `apm.*`, and the text encoder. 'vin': `vin.*`. 'cam', 'apm': `cam.*`, `apm.*`, each video with one chunk to denoise behind finished ones, as method 'streaming-t2v' evaluates it. 'fusion': `fusion.*`, whose loss is that of the blended overlaps, beside that of the chunks. A pattern: weights whose name it matches; in a string `*` stands for any characters. */
export type Trainable = 'all' | 'vin' | 'cam' | 'apm' | 'fusion' | RegExp | (string & {})

export interface TrainerOptions {
  /**
  Decides x_t and the target: a class name, a config or an instance.

  @default the pipeline's
  */
  scheduler?: SchedulerOption | undefined
  /**
  Highest learning rate.

  @default 1e-4
  */
  learningRate?: number | undefined
  /**
  Highest rate of weights outside `vin.*`, `cam.*`, `apm.*` and `fusion.*`.

  @default learningRate
  */
  backboneLearningRate?: number | undefined
  /**
  Acts on weights of rank ≥ 2 except embeddings and tables.

  @default 0
  */
  weightDecay?: number | undefined
  /** @default [0.9, 0.999] */
  betas?: readonly [number, number] | undefined
  /**
  Gradients are scaled down to this norm; 0: never.

  @default 1
  */
  maxGradNorm?: number | undefined
  /**
  Steps in which the rate rises linearly.

  @default 0
  */
  warmupSteps?: number | undefined
  /**
  Steps after which the rate has fallen to 0. Absent: it does not fall.
  */
  totalSteps?: number | undefined
  /**
  Share of `totalSteps` from which the rate falls.

  @default 0
  */
  decayFrom?: number | undefined
  /**
  Decay of the averaged weights, which are those that a checkpoint's model holds: a number, or { max, ramp: true }, which is min(max, (1 + i)/(20 + i)) at step i, so
  that the averages of a short run have left the first weights behind.

  @default { max: 0.9999, ramp: true }
  */
  emaDecay?: EmaDecay | undefined
  /**
  Batches whose gradients are added before an update.

  @default 1
  */
  gradientAccumulationSteps?: number | undefined
  /**
  Videos of a batch.

  @default 1
  */
  batchSize?: number | undefined
  /** Latent frames of a batch, instead of `batchSize`: ⌊it / N⌋ videos of one length, at least one. */
  latentFramesPerStep?: number | undefined
  /**
  Latent frames of training videos; a video takes the longest that fits and is cut to it.

  @default [20, 40, 80]
  */
  lengths?: readonly number[] | undefined
  /**
  Share of videos whose text is replaced by `y_embedder.y_embedding`.

  @default 0.1
  */
  textDropout?: number | undefined
  /**
  Share of videos whose chunks see no global tokens.

  @default 0
  */
  globalTokenDropout?: number | undefined
  /**
  Shares of videos by mask pattern.

  @default all 0
  */
  maskRatios?: MaskRatios | undefined
  /**
  Share of videos whose chunks are each at a noise level of their own, drawn as those of videos are (of 'uniform' and of { mean, std } alike): what `stagger` of
  generate samples. Frames at levels of their own are known from Diffusion Forcing (arXiv 2407.01392).

  @default 0
  */
  staggerRatio?: number | undefined
  /**
  Share of videos whose VIN reads the video twice: its global tokens of the first time, which learn nothing, are those of the step before in the second, as in a run
  with `globalTokenMemory`. RIN (arXiv 2212.11972) has 0.9.

  @default 0
  @throws ERR_VIN_MISSING_COMPONENT on a checkpoint without `vin.memory.*`
  */
  globalTokenMemory?: number | undefined
  /**
  Weight of what the global tokens tell of a whole video: weight / K · Σ (f̂ − f)² joins the loss of each example that has `globalFeatures` f, f̂ the head
  `vin.global_features.*` of its tokens (behind one another, normalised). Where the denoising loss alone teaches the tokens too little, this says what they should hold.

  @default 0
  @throws ERR_VIN_MISSING_COMPONENT on a checkpoint without `vin.global_features.*`
  */
  globalFeatureWeight?: number | undefined
  /**
  How timesteps are drawn: 'uniform', or { mean, std } of a logit-normal distribution.

  @default the scheduler's: `sample_method`, `loc` and `scale` of an RFlowScheduler, else 'uniform'
  */
  timestepSampling?: TimestepSampling | undefined
  /**
  Weight λ of context frames in the loss.

  @default 1
  */
  contextLossWeight?: number | undefined
  /** @default 'all' */
  trainable?: Trainable | undefined
  /** @default 0 */
  seed?: number | bigint | undefined
  /**
  Numbers training computes with.

  @default 'float32'
  */
  dtype?: 'auto' | 'float32' | undefined
  /**
  Recompute blocks in the backward pass: less memory, a third more time, the same bits.

  @default false
  */
  gradientCheckpointing?: boolean | undefined
}

const trainerOptionNames = [
  'scheduler',
  'learningRate',
  'backboneLearningRate',
  'weightDecay',
  'betas',
  'maxGradNorm',
  'warmupSteps',
  'totalSteps',
  'decayFrom',
  'emaDecay',
  'gradientAccumulationSteps',
  'batchSize',
  'latentFramesPerStep',
  'lengths',
  'textDropout',
  'globalTokenDropout',
  'maskRatios',
  'staggerRatio',
  'globalTokenMemory',
  'globalFeatureWeight',
  'timestepSampling',
  'contextLossWeight',
  'trainable',
  'seed',
  'dtype',
  'gradientCheckpointing'
] as const

export interface ResolvedTrainerOptions {
  scheduler: SchedulerOption | undefined
  learningRate: number
  backboneLearningRate: number
  weightDecay: number
  betas: readonly [number, number]
  maxGradNorm: number
  warmupSteps: number
  totalSteps: number | undefined
  decayFrom: number
  emaDecay: EmaDecay
  gradientAccumulationSteps: number
  batchSize: number
  latentFramesPerStep: number | undefined
  lengths: readonly number[]
  textDropout: number
  globalTokenDropout: number
  maskRatios: MaskRatios
  staggerRatio: number
  globalTokenMemory: number
  globalFeatureWeight: number
  timestepSampling: TimestepSampling | undefined
  contextLossWeight: number
  trainable: Trainable
  seed: bigint
  gradientCheckpointing: boolean
}

/** Both below 1: at 1 the bias correction divides by 0. */
export function checkBetas(value: unknown): readonly [number, number] {
  if (!Array.isArray(value) || value.length !== 2) throw expected('two numbers below 1', 'betas', value, 'type')
  return [checkNumber(value[0], 'betas[0]', 0, 0.999999), checkNumber(value[1], 'betas[1]', 0, 0.99999999)]
}

/** A decay of the averaged weights, checked. */
export function checkEmaDecay(value: unknown): EmaDecay {
  if (typeof value === 'number') return checkNumber(value, 'emaDecay', 0, 1)
  checkNames(value, 'emaDecay', ['max', 'ramp'], 'a number from 0 to 1 or { max, ramp: true }')
  const { max, ramp } = value as { max?: unknown; ramp?: unknown }
  if (ramp !== true) throw expected('true', 'emaDecay.ramp', ramp, 'type')
  return { max: checkNumber(max, 'emaDecay.max', 0, 1), ramp }
}

function checkTimestepSampling(value: unknown): TimestepSampling {
  if (value === 'uniform') return value
  const forms = "'uniform' or { mean, std }"
  if (typeof value === 'string') throw expected(forms, 'timestepSampling', value, 'range')
  checkNames(value, 'timestepSampling', ['mean', 'std'], forms)
  const { mean, std } = value as { mean?: unknown; std?: unknown }
  return { mean: checkNumber(mean, 'timestepSampling.mean', -20, 20), std: checkNumber(std, 'timestepSampling.std', 0, 20, true) }
}

function checkLengths(value: unknown): readonly number[] {
  if (!Array.isArray(value) || value.length === 0) throw expected('an array of at least one number of latent frames', 'lengths', value, 'type')
  return value.map((length: unknown, index) => checkInteger(length, `lengths[${index}]`, 1, 65_536)).sort((a, b) => a - b)
}

/** What `trainable` may be, for sentences. */
export const trainableForms = "'all', 'vin', 'cam', 'apm', 'fusion' or a pattern of weights' names, as 'blocks.*',"

function checkTrainable(value: unknown): Trainable {
  if (types.isRegExp(value)) return value
  if (typeof value !== 'string' || value === '') throw expected(trainableForms, 'trainable', value, typeof value === 'string' ? 'range' : 'type')
  return value
}

/** What says which weights train, checked, with defaults. */
export function resolveTrained({ trainable = 'all', textDropout = 0.1 }: TrainerOptions): Pick<ResolvedTrainerOptions, 'trainable' | 'textDropout'> {
  return { trainable: checkTrainable(trainable), textDropout: checkNumber(textDropout, 'textDropout', 0, 1) }
}

/** Checked, with defaults. Does no native work. */
export function resolveTrainerOptions(options: TrainerOptions = {}): ResolvedTrainerOptions {
  checkNames(options, 'Trainer', trainerOptionNames)
  // Not `??`: null is no way to leave an option out.
  const {
    learningRate = 1e-4,
    backboneLearningRate = learningRate,
    decayFrom = 0,
    warmupSteps = 0,
    weightDecay = 0,
    betas = [0.9, 0.999],
    maxGradNorm = 1,
    emaDecay = { max: 0.9999, ramp: true },
    gradientAccumulationSteps = 1,
    batchSize = 1,
    lengths = [20, 40, 80],
    globalTokenDropout = 0,
    maskRatios = {},
    staggerRatio = 0,
    globalTokenMemory = 0,
    globalFeatureWeight = 0,
    contextLossWeight = 1,
    seed = 0,
    gradientCheckpointing = false
  } = options
  if (options.dtype !== undefined && options.dtype !== 'auto' && options.dtype !== 'float32') {
    if (typeof options.dtype !== 'string') throw expected("'auto' or 'float32'", 'dtype', options.dtype, 'type')
    throw notSupported('dtype', `Expected 'auto' or 'float32' for dtype of a Trainer but received '${String(options.dtype)}', which no backend of this version trains with`)
  }
  if (options.batchSize !== undefined && options.latentFramesPerStep !== undefined) throw typeError('Expected batchSize or latentFramesPerStep but received both')
  checkNumber(decayFrom, 'decayFrom', 0, 1)
  if (decayFrom !== 0 && options.totalSteps === undefined) throw typeError('Expected totalSteps beside decayFrom, which is a fraction of it')
  const totalSteps = options.totalSteps === undefined ? undefined : checkInteger(options.totalSteps, 'totalSteps', 1, 1e9)
  checkInteger(warmupSteps, 'warmupSteps', 0, 1e9)
  if (totalSteps !== undefined && warmupSteps > totalSteps) throw rangeError(`Expected warmupSteps of at most totalSteps ${totalSteps} but received ${warmupSteps}`)
  return {
    scheduler: options.scheduler,
    learningRate: checkNumber(learningRate, 'learningRate', 0, 10),
    backboneLearningRate: checkNumber(backboneLearningRate, 'backboneLearningRate', 0, 10),
    weightDecay: checkNumber(weightDecay, 'weightDecay', 0, 10),
    betas: checkBetas(betas),
    maxGradNorm: checkNumber(maxGradNorm, 'maxGradNorm', 0, 1e9),
    warmupSteps,
    totalSteps,
    decayFrom,
    emaDecay: checkEmaDecay(emaDecay),
    gradientAccumulationSteps: checkInteger(gradientAccumulationSteps, 'gradientAccumulationSteps', 1, 65_536),
    batchSize: checkInteger(batchSize, 'batchSize', 1, 65_536),
    latentFramesPerStep: options.latentFramesPerStep === undefined ? undefined : checkInteger(options.latentFramesPerStep, 'latentFramesPerStep', 1, 1e9),
    lengths: checkLengths(lengths),
    globalTokenDropout: checkNumber(globalTokenDropout, 'globalTokenDropout', 0, 1),
    maskRatios: checkMaskRatios(maskRatios),
    staggerRatio: checkNumber(staggerRatio, 'staggerRatio', 0, 1),
    globalTokenMemory: checkNumber(globalTokenMemory, 'globalTokenMemory', 0, 1),
    globalFeatureWeight: checkNumber(globalFeatureWeight, 'globalFeatureWeight', 0, 1e6),
    timestepSampling: options.timestepSampling === undefined ? undefined : checkTimestepSampling(options.timestepSampling),
    contextLossWeight: checkNumber(contextLossWeight, 'contextLossWeight', 0, 1e6),
    ...resolveTrained(options),
    seed: checkSeed(seed),
    gradientCheckpointing: checkBoolean(gradientCheckpointing, 'gradientCheckpointing')
  }
}
