// Trainer: the objective of model.md §4. Everything random and every policy is decided here, video by video, from integers alone: (seed, step, video);
// the native trainer sees tensors and numbers. So a resumed run repeats the bits of one that was never stopped.

import { join } from 'node:path'
import { types } from 'node:util'
import { VinError, expected, inStep, rangeError, show, typeError } from '../errors.js'
import { methods } from '../methods/index.js'
import type { MethodPlan } from '../methods/index.js'
import { verifyFile } from '../models/checksums.js'
import { checkMask } from '../models/mask.js'
import type { BackwardRequest, NativeTensor } from '../native/binding.js'
import { abortable, abortableCall } from '../native/cancel.js'
import { copyOf, linearCombination } from '../native/ops.js'
import { Scope, checkShape, readNative, toNative, toResult } from '../native/tensor.js'
import type { TensorData, TensorLike } from '../native/tensor.js'
import { checkInteger, checkNames, checkNumber, checkString } from '../check.js'
import { checkText, resolvePlanOptions } from '../options/denoise.js'
import type { ModelOptions } from '../options/model.js'
import { evaluationRequest, planOf, requireFusion, requireGlobalFeatures, requireGlobalTokens, requireMemory, requireStreaming } from '../pipeline/evaluation.js'
import { VideoPipeline } from '../pipeline/pipeline.js'
import { writeModelFolder } from '../pipeline/save.js'
import { brand } from '../realms.js'
import { createScheduler } from '../schedulers/index.js'
import type { Scheduler } from '../schedulers/index.js'
import { Buckets, bucketLength } from './buckets.js'
import type { Batch } from './buckets.js'
import { checkField, modelFolderFiles, readState, replaceCheckpoint } from './checkpoint.js'
import type { CheckpointKind } from './checkpoint.js'
import { checkDataset } from './check.js'
import { endless, exampleAt, letGo } from './dataset.js'
import type { Dataset, DatasetNeeds, DatasetPosition, DatasetReport, Numbered, TrainingExample } from './dataset.js'
import { checkFitOptions, fitOptionNames, runFit, warningsOf } from './fit.js'
import type { FitOptions, StepReport } from './fit.js'
import { drawMask, drawMaskPattern } from './masks.js'
import { checkFiniteLosses, Optimizer, readNumbers } from './optimizer.js'
import type { TrainedModel } from './optimizer.js'
import { resolveTrained, resolveTrainerOptions, trainableForms } from './options.js'
import type { ResolvedTrainerOptions, Trainable, TrainerOptions } from './options.js'
import type { Chunk } from '../plan/chunks.js'
import { passesOf } from '../plan/passes.js'
import { PhiloxRandom } from '../plan/random.js'
import { latentNoise, streams } from './random.js'
import { drawNoiseLevels, timestepOf } from './timesteps.js'
import { checkVideoPixels, pixelPlanes } from './pixels.js'

const KIND = 'vin-native trainer'
/** What `save` writes, and where it may. */
export const trainerCheckpoint: CheckpointKind = { kind: KIND, files: modelFolderFiles, replacesModel: true }
const TEXT_ENCODER = 'text_encoder.'

export interface LossOptions<T extends TensorLike = TensorLike> {
  /** Clean latents x_0 [C, N, H, W]. */
  latents: T
  /** ε, of the same shape. */
  noise: TensorLike
  /** An integer below the scheduler's `num_train_timesteps` (1000); with flow match any real number up to it, without 0. */
  timestep: number
  /** [L, D] */
  promptEmbeds: TensorLike
  /**
  Video frames per second.

  @default 16
  */
  fps?: number | undefined
  /**
  [N] 1 for latent frames to denoise, 0 for conditioning frames, which stay clean and do not count.

  @default all 1; where `cam.*` or `apm.*` train, those of the last chunk alone
  */
  frameMask?: ArrayLike<number> | undefined
  /** @default the checkpoint's */
  chunkFrames?: number | undefined
  /** @default the checkpoint's */
  contextFrames?: number | undefined
  /**
  Seconds between keyframes.

  @default the checkpoint's
  */
  keyframeInterval?: number | undefined
}

const lossOptionNames = ['latents', 'noise', 'timestep', 'promptEmbeds', 'fps', 'frameMask', 'chunkFrames', 'contextFrames', 'keyframeInterval'] as const

/** Videos that wait in a bucket when a checkpoint is written. */
interface SavedBucket {
  length: number
  at: DatasetPosition[]
}

/** A video of a step, or of an evaluation, with everything that is drawn for it. */
interface Evaluated {
  example: TrainingExample
  latents: TensorData
  noise: TensorData
  noiseLevel: number
  /** Of each chunk, where they have their own. */
  chunkNoiseLevels?: number[] | undefined
  frameMask: number[] | undefined
  /** Its text, its global tokens, and its anchor, are left out. */
  dropped: boolean
  alone: boolean
  unanchored: boolean
  /** The VIN reads the video a first time, for what its tokens go on from. */
  remembers: boolean
  lossScale: number
}

/** Owned latent frames of a chunk, and the timestep that they are at. */
interface TimedChunk extends Pick<Chunk, 'start' | 'end'> {
  timestep: number
}

/** Weights that method streaming-t2v adds. */
const ofStreaming = /^(cam|apm)\./

/** Of a text that is left out, and of one that is not, so often the anchor is left out too: with `textDropout` 0.1, each alone in 5 % of the videos, and both in 5 %. */
const anchorDropout = { withText: 0.5, alone: 1 / 18 }

function matcher(trainable: Trainable): (name: string) => boolean {
  if (trainable === 'all') return (name) => !ofStreaming.test(name)
  if (trainable === 'vin' || trainable === 'cam' || trainable === 'apm' || trainable === 'fusion') return (name) => name.startsWith(`${trainable}.`)
  if (types.isRegExp(trainable)) return (name) => new RegExp(trainable.source, trainable.flags.replace(/[gy]/g, '')).test(name)
  const parts = trainable.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
  const pattern = new RegExp(`^${parts.join('.*')}$`)
  return (name) => pattern.test(name)
}

/** What the caller said, as JSON. Defaults are not kept: they follow from what is said when training goes on, a changed learning rate for example. */
function savedOptions({ seed, trainable, ...rest }: TrainerOptions, scheduler: Scheduler): Record<string, unknown> {
  return {
    ...rest,
    ...(rest.scheduler === undefined ? {} : { scheduler: scheduler.config }),
    ...(seed === undefined ? {} : { seed: String(seed) }),
    ...(trainable === undefined ? {} : { trainable: types.isRegExp(trainable) ? { source: trainable.source, flags: trainable.flags } : trainable })
  }
}

function restoredOptions(saved: Record<string, unknown>): TrainerOptions {
  const { seed, trainable, batchSize, decayFrom, ...rest } = saved
  const pattern = trainable as string | { source: string; flags: string } | undefined
  return {
    ...(rest as TrainerOptions),
    // Of two options that exclude each other, the default of one may stand beside the other.
    ...(batchSize === undefined || rest['latentFramesPerStep'] !== undefined ? {} : { batchSize: batchSize as number }),
    ...(decayFrom === undefined || rest['totalSteps'] === undefined ? {} : { decayFrom: decayFrom as number }),
    ...(seed === undefined ? {} : { seed: BigInt(seed as string) }),
    ...(pattern === undefined ? {} : { trainable: typeof pattern === 'string' ? pattern : new RegExp(pattern.source, pattern.flags) })
  }
}

/** Changes go over what was said; a size of batches replaces the other one. */
function changedOptions(said: TrainerOptions, changes: TrainerOptions): TrainerOptions {
  const kept = { ...said }
  if (changes.latentFramesPerStep !== undefined) delete kept.batchSize
  if (changes.batchSize !== undefined) delete kept.latentFramesPerStep
  return { ...kept, ...changes }
}

type Trained = Pick<ResolvedTrainerOptions, 'trainable' | 'textDropout'>

/** The weights that options train, model by model. */
function trainedModels(pipeline: VideoPipeline, { trainable, textDropout }: Trained): TrainedModel[] {
  if (trainable === 'vin') requireGlobalTokens(pipeline.transformer, "trainable: 'vin'")
  if (trainable === 'cam' || trainable === 'apm') requireStreaming(pipeline.transformer, `trainable: '${trainable}'`)
  if (trainable === 'fusion') requireFusion(pipeline.transformer, "trainable: 'fusion'")
  const matches = matcher(trainable)
  // rope.freqs are given by a formula, y_embedding learns from dropped texts alone.
  const fixed = (name: string) => name === 'rope.freqs' || (name === 'y_embedder.y_embedding' && textDropout === 0)
  const { transformer } = pipeline
  const names = transformer
    .weights()
    .map(({ name }) => name)
    .filter((name) => !fixed(name) && matches(name))
  const models: TrainedModel[] = [{ prefix: '', native: transformer.native, names }]
  if (pipeline.has('textEncoder')) {
    const encoder = pipeline.textEncoder
    const trained = encoder
      .weights()
      .map(({ name }) => name)
      .filter((name) => matches(TEXT_ENCODER + name))
    if (trained.length > 0) models.push({ prefix: TEXT_ENCODER, native: encoder.native, names: trained })
  }
  if (names.some((name) => ofStreaming.test(name)) && names.some((name) => name.startsWith('vin.'))) {
    throw rangeError(`Expected trainable to name weights of vin.*, or of cam.* and apm.*, which train on videos of their own kind, but ${String(trainable)} names both`)
  }
  if (models.every((model) => model.names.length === 0)) {
    const parts = [...new Set(transformer.weights().map(({ name }) => `${name.split('.')[0]}.*`)), ...(pipeline.has('textEncoder') ? [`${TEXT_ENCODER}*`] : [])]
    throw rangeError(`Expected ${trainableForms} for trainable but ${typeof trainable === 'string' ? show(trainable) : String(trainable)} names no weight of the model, which has ${parts.join(', ')}`)
  }
  return models
}

/** @throws VinError ERR_VIN_RESUME_MISMATCH when other weights would train than those that the checkpoint has moments of */
function checkTrained(pipeline: VideoPipeline, folder: string, before: Trained, now: Trained): void {
  const [had, has] = [before, now].map((options) => trainedModels(pipeline, options).flatMap(({ prefix, names }) => names.map((name) => prefix + name)).join('\n'))
  if (had === has) return
  const field = String(before.trainable) === String(now.trainable) ? 'textDropout' : 'trainable'
  const [wanted, found] = [before, now].map((options) => (typeof options[field] === 'string' ? `'${options[field]}'` : String(options[field])))
  const message = `Expected ${field} ${wanted}, with which the checkpoint ${folder} was trained, but received ${found}, which trains other weights; leave it out, or train the folder as a model of its own into another one`
  throw new VinError('ERR_VIN_RESUME_MISMATCH', message, { folder, field, expected: wanted, found })
}

export class Trainer {
  static {
    brand(this, 'Trainer')
  }

  readonly pipeline: VideoPipeline
  readonly scheduler: Scheduler
  /** Steps taken, over all sittings. */
  globalStep = 0
  /** As the caller gave them: what a checkpoint keeps. */
  readonly #said: TrainerOptions
  readonly #options: ResolvedTrainerOptions
  readonly #optimizer: Optimizer
  readonly #trainsText: boolean
  /** Trains what streaming-t2v adds: each video as that method evaluates a chunk behind finished ones. */
  readonly #streaming: boolean
  #position: DatasetPosition = { epoch: 0, taken: 0 }
  #buckets: SavedBucket[] = []
  /** Latents of held-out examples: encoded once. */
  readonly #heldOut = new WeakMap<TrainingExample, TensorData>()

  /**
  @throws TypeError or RangeError for wrong options
  @throws VinError ERR_VIN_MISSING_COMPONENT when `trainable: 'vin'` finds no `vin.*`
  */
  constructor(pipeline: VideoPipeline, options: TrainerOptions = {}) {
    if (typeof pipeline !== 'object' || pipeline === null || !('transformer' in pipeline)) throw expected('a VideoPipeline', 'the pipeline of Trainer', pipeline, 'type')
    this.#said = { ...options }
    this.#options = resolveTrainerOptions(options)
    this.pipeline = pipeline
    this.scheduler = createScheduler(this.#options.scheduler === undefined ? pipeline.scheduler : this.#options.scheduler)
    const models = trainedModels(pipeline, this.#options)
    this.#trainsText = models.length === 2
    this.#streaming = models.some(({ prefix, names }) => prefix === '' && names.some((name) => ofStreaming.test(name)))
    if (this.#streaming) this.#checkStreaming()
    if (this.#options.globalTokenMemory > 0) requireMemory(pipeline.transformer, 'globalTokenMemory')
    if (this.#options.globalFeatureWeight > 0) requireGlobalFeatures(pipeline.transformer, 'globalFeatureWeight')
    this.#optimizer = new Optimizer(pipeline.engine.native, models, this.#options)
  }

  get options(): Readonly<ResolvedTrainerOptions> {
    return this.#options
  }

  /** Names of the weights that train, in the order of their updates. */
  get trainableNames(): string[] {
    return this.#optimizer.groups.map(({ name }) => name)
  }

  /** Lets the rate fall linearly from the first step to 0 at the last; may be changed between steps, when only the time of a run is known in advance. */
  fallingRate(first: number, last: number): void {
    const totalSteps = checkInteger(last, 'last', 1, 1e9)
    const decayFrom = checkInteger(first, 'first', 0, last) / last
    for (const options of [this.#said, this.#options]) Object.assign(options, { totalSteps, decayFrom })
  }

  #plan(latentFrames: number, options: Parameters<typeof resolvePlanOptions>[0] = {}): MethodPlan {
    const { transformer } = this.pipeline
    const method = this.#streaming ? methods['streaming-t2v'] : transformer.hasGlobalTokens ? methods.vin : methods.independent
    return planOf(method, transformer, { latentFrames, ...resolvePlanOptions(options, transformer.config) })
  }

  #checkStreaming(): void {
    const { lengths, maskRatios, globalTokenDropout, staggerRatio, globalTokenMemory, globalFeatureWeight } = this.#options
    const [shortest = 0] = lengths
    const { chunks } = this.#plan(shortest)
    if (chunks.length < 2) throw rangeError(`Expected lengths above ${this.pipeline.transformer.config.chunk_frames}, a chunk's latent frames, to train cam.* or apm.* but received ${shortest}; a chunk without one before it has nothing to read`)
    const other = Object.values(maskRatios).some((ratio) => ratio > 0) ? 'maskRatios' : globalTokenDropout > 0 ? 'globalTokenDropout' : staggerRatio > 0 ? 'staggerRatio' : globalTokenMemory > 0 ? 'globalTokenMemory' : globalFeatureWeight > 0 ? 'globalFeatureWeight' : undefined
    if (other !== undefined) throw rangeError(`Expected no ${other} to train cam.* or apm.*, whose videos have all chunks but one clean and no global tokens`)
  }

  /** [N] of each chunk that has one before it: all others are clean. */
  #turns(chunks: MethodPlan['chunks']): (number[] | undefined)[] {
    return passesOf(chunks, { inTurn: true, blending: false, numInferenceSteps: 1 }).slice(1).map(({ frameMask }) => frameMask)
  }

  /** x_t and target of a video on the engine; chunks may be at timesteps of their own, conditioning frames of x_t are x_0. */
  #noisy(x0: TensorData, noise: TensorData, timestep: number, frameMask: readonly number[] | undefined, scope: Scope, chunks: readonly TimedChunk[] = []): Pick<BackwardRequest, 'latents' | 'target'> {
    const engine = this.pipeline.engine.native
    const clean = scope.add(engine.upload(x0.data, x0.shape))
    const epsilon = scope.add(engine.upload(noise.data, noise.shape))
    const at = (time: number, sample: NativeTensor, drawn: NativeTensor): NativeTensor => {
      const terms = this.scheduler.noiseTerms(time)
      return scope.add(
        linearCombination(engine, [
          { factor: terms.sample, tensor: sample },
          { factor: terms.noise, tensor: drawn }
        ])
      )
    }
    const latents = at(timestep, clean, epsilon)
    for (const { start, end, timestep: own } of chunks) {
      const [from, drawn, to] = [clean, epsilon, latents].map((tensor) => scope.add(engine.slice(tensor, 1, start, end))) as [NativeTensor, NativeTensor, NativeTensor]
      engine.op('copy', { y: to, x: at(own, from, drawn) })
    }
    frameMask?.forEach((live, frame) => {
      if (live === 1) return
      const [from, to] = [clean, latents].map((tensor) => scope.add(engine.slice(tensor, 1, frame, frame + 1)))
      engine.op('copy', { y: to, x: from })
    })
    const target = scope.add(
      linearCombination(engine, [
        { factor: this.scheduler.target.sample, tensor: clean },
        { factor: this.scheduler.target.noise, tensor: epsilon }
      ])
    )
    return { latents, target }
  }

  /**
  Loss and gradients of one video, without an update. Gradients come in the form of `latents`, handles or plain data, for every trainable weight that
  embeddings reach: not the text encoder's, and not `y_embedder.y_embedding`.
  */
  async lossAndGradients<T extends TensorLike>(options: LossOptions<T>): Promise<{ loss: number; gradients: Map<string, T> }> {
    checkNames(options, 'lossAndGradients', lossOptionNames)
    const { transformer } = this.pipeline
    const shape = checkShape(options.latents, 'latents', [transformer.config.in_channels, 'N', 'H', 'W'])
    const [, frames = 0, H = 0, W = 0] = shape
    checkShape(options.noise, 'noise', shape)
    checkText(options.promptEmbeds, 'promptEmbeds', transformer.config)
    const { discrete, numTrainTimesteps } = this.scheduler
    const timestep = discrete ? checkInteger(options.timestep, 'timestep', 0, numTrainTimesteps - 1) : checkNumber(options.timestep, 'timestep', 0, numTrainTimesteps, true)
    const { fps = 16 } = options
    checkNumber(fps, 'fps', 0, 1000, true)
    const given = options.frameMask === undefined ? undefined : checkMask(options.frameMask, 'frameMask', frames)
    if (given !== undefined && !given.includes(1)) throw rangeError('Expected at least one frame to denoise in frameMask but received zeros alone')
    const plan = this.#plan(frames, options)
    const frameMask = given ?? (this.#streaming ? this.#turns(plan.chunks).at(-1) : undefined)
    const engine = this.pipeline.engine.native
    const scope = new Scope()
    try {
      // All at the call: what the caller changes afterwards is not seen.
      const [x0, noise, text] = await Promise.all([plain(options.latents), plain(options.noise), toNative(engine, options.promptEmbeds, scope)])
      const { target, latents } = this.#noisy(x0, noise, timestep, frameMask, scope)
      const request: BackwardRequest = {
        ...evaluationRequest({ latents, timestep, text: { text }, evaluation: { ...plan, fuse: false }, fps, height: 8 * H, width: 8 * W, frameMask }),
        target,
        contextLossWeight: this.#options.contextLossWeight,
        lossScale: 1
      }
      this.#optimizer.native.zeroGradients()
      const losses = this.#optimizer.native.backward([request], { gradientCheckpointing: this.#options.gradientCheckpointing })
      const [loss = NaN] = await readNumbers(losses)
      const gradients = new Map<string, T>()
      for (const [name, gradient] of this.#optimizer.gradients()) {
        if (name.startsWith(TEXT_ENCODER) || name === 'y_embedder.y_embedding') continue
        gradients.set(name, await toResult(engine, options.latents, copyOf(engine, gradient.native)))
      }
      this.#optimizer.native.zeroGradients()
      return { loss, gradients }
    } finally {
      scope.dispose()
    }
  }

  /** Latents of an example, cut to `length` latent frames where it is given. */
  async #latents(example: TrainingExample, length?: number): Promise<TensorData> {
    const { in_channels: channels } = this.pipeline.transformer.config
    if (typeof example !== 'object' || example === null) throw expected('{ prompt, frames or latents }', 'an example of the data set', example, 'type')
    if (example.promptEmbeds === undefined) checkString(example.prompt, 'prompt of an example')
    if (example.fps !== undefined) checkNumber(example.fps, 'fps of an example', 0, 1000, true)
    let latents: TensorData
    if (example.latents !== undefined) latents = example.latents
    else if (example.frames !== undefined) latents = await this.pipeline.vae.encode(pixelPlanes(checkVideoPixels(example.frames)))
    else throw typeError('Expected frames or latents in every example of the data set but received neither')
    const [, frames = 0, height = 0, width = 0] = checkShape(latents, 'latents', [channels, 'N', 'H', 'W'])
    if (length === undefined || length === frames) return latents
    const plane = height * width
    const cut = new Float32Array(channels * length * plane)
    for (let channel = 0; channel < channels; channel++) {
      cut.set(latents.data.subarray(channel * frames * plane, (channel * frames + length) * plane), channel * length * plane)
    }
    return { data: cut, shape: [channels, length, height, width] }
  }

  /** What the tokens of this video are to tell. */
  #globalFeatures({ globalFeatures }: TrainingExample, scope: Scope): Pick<BackwardRequest, 'globalFeatures' | 'globalFeatureWeight'> {
    const { globalFeatureWeight } = this.#options
    if (globalFeatureWeight === 0 || globalFeatures === undefined) return {}
    const K = this.pipeline.transformer.config.vin!.global_features!
    const data = Float32Array.from(globalFeatures)
    if (data.length !== K) throw rangeError(`Expected ${K} numbers for globalFeatures of an example, as the model's head has, but received ${data.length}`)
    if (!data.every(Number.isFinite)) throw rangeError('Expected finite numbers for globalFeatures of an example but received others')
    return { globalFeatures: scope.add(this.pipeline.engine.native.upload(data, [K])), globalFeatureWeight }
  }

  /** What the model is told in words: ids for an encoder that trains along, else embeddings. */
  async #text(example: TrainingExample, dropped: boolean, scope: Scope): Promise<Pick<BackwardRequest, 'text' | 'ids' | 'nullText'>> {
    const engine = this.pipeline.engine.native
    const { model_max_length: maxLength } = this.pipeline.transformer.config
    if (example.promptEmbeds !== undefined) {
      const rows = checkText(example.promptEmbeds, 'promptEmbeds', this.pipeline.transformer.config)
      return dropped ? { nullText: rows } : { text: await toNative(engine, example.promptEmbeds, scope) }
    }
    const { ids } = this.pipeline.tokenizer.encode(example.prompt, { maxLength })
    if (dropped) return { nullText: ids.length }
    if (this.#trainsText) return { ids }
    return { text: scope.add(this.pipeline.textEncoder.native.encode(ids, {})) }
  }

  /** One video of a step. What it draws depends on (seed, step, video) alone, in a fixed order: dropouts, mask, noise. */
  async #request(example: TrainingExample, latents: TensorData, video: number, videos: number, noiseLevel: number, scope: Scope): Promise<BackwardRequest> {
    const options = this.#options
    const [channels, frames, height, width] = latents.shape as [number, number, number, number]
    const random = new PhiloxRandom(options.seed, streams.video + video, this.globalStep)
    const dropped = random.uniform() < options.textDropout
    const alone = random.uniform() < options.globalTokenDropout
    const pattern = drawMaskPattern(random, options.maskRatios)
    const { chunks } = this.#plan(frames)
    const unanchored = this.#streaming && random.uniform() < (dropped ? anchorDropout.withText : anchorDropout.alone)
    const frameMask = this.#streaming ? random.pick(this.#turns(chunks)) : pattern === undefined ? undefined : drawMask(random, pattern, frames, chunks)
    const staggers = options.staggerRatio > 0 && random.uniform() < options.staggerRatio
    const chunkNoiseLevels = staggers ? drawNoiseLevels(random, chunks.length, options.timestepSampling ?? this.scheduler.timestepSampling) : undefined
    const remembers = options.globalTokenMemory > 0 && random.uniform() < options.globalTokenMemory
    const noise = { data: latentNoise(new PhiloxRandom(options.seed, streams.noise + video, this.globalStep), [channels, frames, height, width]), shape: latents.shape }
    const request = await this.#evaluation({ example, latents, noise, noiseLevel, chunkNoiseLevels, frameMask, dropped, alone, unanchored, remembers, lossScale: 1 / videos }, scope)
    return alone ? request : { ...request, ...this.#globalFeatures(example, scope) }
  }

  async #evaluation({ example, latents, noise, noiseLevel, chunkNoiseLevels, frameMask, dropped, alone, unanchored, remembers, lossScale }: Evaluated, scope: Scope): Promise<BackwardRequest> {
    const [, frames, height, width] = latents.shape as [number, number, number, number]
    const { chunks, keyframes, streaming } = this.#plan(frames)
    const size = { height: 8 * height, width: 8 * width }
    const timestepAt = (level: number): number => timestepOf(this.scheduler.trainingNoiseLevel(level, { ...size, latentFrames: frames }), this.scheduler)
    const timed = chunkNoiseLevels?.map((level, chunk): TimedChunk => ({ ...chunks[chunk]!, timestep: timestepAt(level) }))
    const frameTimesteps = timed?.flatMap(({ start, end, timestep: own }) => Array<number>(end - start).fill(own))
    // Global tokens are at the time of the noisiest frame, as where `stagger` samples.
    const timestep = frameTimesteps === undefined ? timestepAt(noiseLevel) : Math.max(...frameTimesteps.filter((_, frame) => frameMask?.[frame] !== 0))
    const { target, latents: noisy } = this.#noisy(latents, noise, timestep, frameMask, scope, timed)
    const { text, ...instead } = await this.#text(example, dropped, scope)
    const evaluation = { chunks, keyframes: alone ? undefined : keyframes, streaming: streaming && (unanchored ? {} : streaming), fuse: false }
    return {
      ...evaluationRequest({ latents: noisy, timestep, frameTimesteps, text: text === undefined ? {} : { text }, evaluation, fps: example.fps ?? this.pipeline.defaults.fps, ...size, frameMask }),
      ...instead,
      remembersItself: remembers && evaluation.keyframes !== undefined,
      target,
      contextLossWeight: this.#options.contextLossWeight,
      lossScale
    }
  }

  /**
  The mean loss of examples that training does not see, each at two noise levels. Noise and levels are the same at every call, nothing is dropped or masked, and nothing
  changes: values along a run can be compared.
  */
  async heldOutLoss(examples: readonly TrainingExample[], { signal }: { signal?: AbortSignal | undefined } = {}): Promise<number> {
    if (!Array.isArray(examples) || examples.length === 0) throw expected('an array of at least one example', 'heldOutLoss', examples, 'type')
    const levels = [0.25, 0.75]
    const losses: number[] = []
    for (const [index, example] of (examples as readonly TrainingExample[]).entries()) {
      let latents = this.#heldOut.get(example)
      if (latents === undefined) {
        const whole = await this.#latents(example)
        latents = await this.#latents({ ...example, latents: whole as NonNullable<TrainingExample['latents']> }, bucketLength(this.#options.lengths, whole.shape[1] ?? 0))
        this.#heldOut.set(example, latents)
      }
      for (const [k, noiseLevel] of levels.entries()) {
        signal?.throwIfAborted()
        const scope = new Scope()
        try {
          const random = new PhiloxRandom(this.#options.seed, streams.heldOut, levels.length * index + k)
          const noise = { data: latentNoise(random, latents.shape as [number, number, number, number]), shape: latents.shape }
          const frameMask = this.#streaming ? this.#turns(this.#plan(latents.shape[1] ?? 0).chunks).at(-1) : undefined
          const request = await this.#evaluation({ example, latents, noise, noiseLevel, dropped: false, alone: false, unanchored: false, remembers: false, frameMask, lossScale: 1 }, scope)
          losses.push(...(await readNumbers(this.#optimizer.native.backward([request], { gradientCheckpointing: this.#options.gradientCheckpointing }))))
        } finally {
          scope.dispose()
        }
      }
    }
    this.#optimizer.native.zeroGradients()
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length
  }

  /**
  One update on given videos. Each is cut to the longest of `lengths` that it holds.

  @throws VinError ERR_VIN_NONFINITE {step, video} for a loss, {step, weight} for a gradient; the weights are as before
  */
  async step(batch: readonly TrainingExample[], options: Pick<FitOptions, 'onGradients' | 'signal'> = {}): Promise<StepReport> {
    if (!Array.isArray(batch) || batch.length === 0) throw expected('an array of at least one example', 'batch', batch, 'type')
    const items: { example: TrainingExample; latents: TensorData }[] = []
    for (const example of batch) {
      const whole = await this.#latents(example)
      items.push({ example, latents: await this.#latents({ ...example, latents: whole as NonNullable<TrainingExample['latents']> }, bucketLength(this.#options.lengths, whole.shape[1] ?? 0)) })
    }
    // A batch of the accumulation is as many videos as it would be in fit.
    const size = Math.ceil(items.length / this.#options.gradientAccumulationSteps)
    const batches: (typeof items)[] = []
    for (let at = 0; at < items.length; at += size) batches.push(items.slice(at, at + size))
    return this.#update(batches, options)
  }

  async #update(batches: readonly { example: TrainingExample; latents: TensorData }[][], options: Pick<FitOptions, 'onGradients' | 'signal'>): Promise<StepReport> {
    const started = performance.now()
    const { seed, timestepSampling, gradientCheckpointing } = this.#options
    const videos = batches.reduce((sum, items) => sum + items.length, 0)
    const levels = drawNoiseLevels(new PhiloxRandom(seed, streams.step, this.globalStep), videos, timestepSampling ?? this.scheduler.timestepSampling)
    const trainer = this.#optimizer.native
    trainer.zeroGradients()
    const losses: number[] = []
    for (const items of batches) {
      options.signal?.throwIfAborted()
      const scope = new Scope()
      try {
        const requests: BackwardRequest[] = []
        for (const { example, latents } of items) {
          const video = losses.length + requests.length
          requests.push(await this.#request(example, latents, video, videos, levels[video]!, scope))
        }
        losses.push(...(await inStep(this.globalStep, readNumbers(trainer.backward(requests, { gradientCheckpointing })))))
      } finally {
        scope.dispose()
      }
    }
    checkFiniteLosses(losses, this.globalStep)
    await abortableCall(() => options.onGradients?.(this.#optimizer.gradients()), options.signal)
    const { gradNorm, learningRate } = await inStep(this.globalStep, this.#optimizer.update(this.globalStep, this.#options))
    this.pipeline.trainedWith(this.scheduler)
    const report = {
      step: this.globalStep,
      loss: losses.reduce((sum, loss) => sum + loss, 0) / videos,
      gradNorm,
      learningRate,
      samplesPerSecond: (1000 * videos) / (performance.now() - started)
    }
    this.globalStep += 1
    return report
  }

  /**
  Looks at a data set as `fit` does before its first step, if the data set can be looked at: its clips with what they are used for, and in `warnings` what `fit` would say.

  @example
  const { clips, warnings } = await trainer.check(videoFolder('clips', { width: 64, height: 64 }))
  */
  async check(dataset: Dataset, options: { signal?: AbortSignal | undefined; onProgress?: DatasetNeeds['onProgress'] } = {}): Promise<DatasetReport> {
    return checkDataset(this.pipeline, this.#options.lengths, dataset, options)
  }

  /**
  Trains on a data set until so many steps or minutes have passed. Examples that are too short are left out with a warning.

  @example
  await trainer.fit(demoWorld({ seed: 7 }), { steps: 1000, onStep: ({ step, loss }) => console.log(step, loss) })
  */
  async fit(dataset: Dataset, options: FitOptions): Promise<void> {
    checkNames(options, 'fit', fitOptionNames)
    checkFitOptions(options)
    const { lengths, gradientAccumulationSteps } = this.#options
    const warn = warningsOf(options)
    for (const warning of (await this.check(dataset, { signal: options.signal })).warnings) warn(warning)
    interface Waiting {
      numbered: Numbered<TrainingExample>
      latents: TensorData
    }
    const take = async (numbered: Numbered<TrainingExample>, whole: TensorData): Promise<{ length: number; item: Waiting }> => {
      const length = bucketLength(lengths, whole.shape[1] ?? 0)
      const example = { ...numbered.example, latents: whole as NonNullable<TrainingExample['latents']> }
      return { length, item: { numbered, latents: await this.#latents(example, length) } }
    }
    const buckets = new Buckets<Waiting>(this.#options)
    // Batches that what waits makes at once, when lengths or sizes of batches have changed since it was saved.
    const ready: Batch<Waiting>[] = []
    for (const { at } of this.#buckets) {
      for (const place of at) {
        const example = await abortable(exampleAt(dataset, place), options.signal)
        const { length, item } = await take({ example, at: place }, await this.#latents(example))
        const batch = buckets.add(length, item)
        if (batch !== undefined) ready.push(batch)
      }
    }
    const reader = endless(dataset, this.#position)
    let position = this.#position
    let usedEpoch = position.epoch
    let leftOut = 0
    const nextBatch = async (): Promise<Batch<Waiting>> => {
      const first = ready.shift()
      if (first !== undefined) return first
      for (;;) {
        options.signal?.throwIfAborted()
        const { value } = await abortable(reader.next(), options.signal)
        position = { epoch: value.at.epoch, taken: value.at.taken + 1 }
        const whole = await this.#latents(value.example)
        const frames = whole.shape[1] ?? 0
        if (frames < lengths[0]!) {
          // A whole pass of them would go on for ever.
          if (value.at.epoch > usedEpoch + 1) bucketLength(lengths, frames)
          if (leftOut++ === 0) warn({ code: 'examples-left-out', message: `example ${value.at.taken} of the data set has ${frames} latent frames, fewer than the shortest of lengths ${lengths.join(', ')}, and is left out, as others that are too short` })
          continue
        }
        usedEpoch = value.at.epoch
        const { length, item } = await take(value, whole)
        const batch = buckets.add(length, item)
        if (batch !== undefined) return batch
      }
    }
    try {
      await runFit(this, trainerCheckpoint, options, async () => {
        const batches: { example: TrainingExample; latents: TensorData }[][] = []
        while (batches.length < gradientAccumulationSteps) batches.push((await nextBatch()).items.map(({ numbered, latents }) => ({ example: numbered.example, latents })))
        const report = await this.#update(batches, options)
        this.#position = position
        this.#buckets = [...ready, ...buckets.waiting()].map(({ length, items }) => ({ length, at: items.map(({ numbered }) => numbered.at) }))
        return report
      })
    } finally {
      await letGo(reader, options.signal)
    }
  }

  /**
  Writes a model folder with the averaged weights; raw weights, moments and the place in the data lie in its `training/`. Its content is replaced as a
  whole: killed at any moment, the old one or the new one is there for whoever opens the folder next. Other files in it stay.

  @throws VinError ERR_VIN_DISK when it cannot be written, or when the folder holds something else than a checkpoint or a model of vin-native
  */
  async save(folder: string): Promise<void> {
    const state = {
      step: this.globalStep,
      position: this.#position,
      buckets: this.#buckets,
      options: savedOptions(this.#said, this.scheduler),
      transformer: this.pipeline.transformer.config
    }
    await replaceCheckpoint(folder, state, trainerCheckpoint, async (temporary) => {
      const trainer = this.#optimizer.native
      await writeModelFolder(this.pipeline, temporary, this.scheduler, {
        transformer: (path) => trainer.saveAverage(0, path, { dtype: 'float32' }),
        ...(this.#trainsText ? { textEncoder: (path: string) => trainer.saveAverage(1, path, { dtype: 'float32' }) } : {})
      })
      await trainer.saveState(join(temporary, 'training', 'state.safetensors'))
    })
  }

  /**
  Goes on from a checkpoint: on the same machine, losses continue with the same bits.

  @param changes options that differ from now on; what they leave out is as it was said before, and what nobody said has its default. `trainable` cannot change
  @throws VinError ERR_VIN_MISSING_COMPONENT without a checkpoint, ERR_VIN_RESUME_MISMATCH {field} for a state of another model or version, or other weights to train
  */
  static async resume(folder: string, changes: TrainerOptions = {}, model: ModelOptions = {}): Promise<Trainer> {
    const state = await readState(folder, KIND)
    const said = restoredOptions(state['options'] as Record<string, unknown>)
    const options = changedOptions(said, changes)
    // What was said may not hold without the changes.
    const [before, now] = [resolveTrained(said), resolveTrainerOptions(options)]
    const pipeline = await VideoPipeline.fromPretrained(folder, model)
    try {
      const file = join(folder, 'training', 'state.json')
      const saved = state['transformer'] as Record<string, unknown>
      const config = pipeline.transformer.config as unknown as Record<string, unknown>
      for (const key of Object.keys(config)) {
        // Fitted to a checkpoint, and training does not depend on it.
        if (key === 'step_cache_polynomial') continue
        if (JSON.stringify(saved[key]) !== JSON.stringify(config[key])) checkField(file, saved, key, config[key])
      }
      checkTrained(pipeline, folder, before, now)
      const trainer = new Trainer(pipeline, options)
      const moments = join(folder, 'training', 'state.safetensors')
      await verifyFile(moments)
      await trainer.#optimizer.native.loadState(moments)
      trainer.globalStep = checkInteger(state['step'], 'step', 0, 1e12)
      trainer.#position = state['position'] as DatasetPosition
      trainer.#buckets = state['buckets'] as SavedBucket[]
      return trainer
    } catch (error) {
      await pipeline.dispose()
      throw error
    }
  }

  /** Frees gradients, moments and averages. The pipeline stays, with the raw weights. */
  dispose(): void {
    this.#optimizer.native.dispose()
  }
}

/** A copy in host memory. */
async function plain(value: TensorLike): Promise<TensorData> {
  return 'data' in value ? { data: new Float32Array(value.data), shape: [...value.shape] } : readNative(value.native)
}
