// Trains the VAE on clips: weighted L1 and squared error of the reconstruction, and a little KL. Stage 'spatial' trains the 2D autoencoder on single
// frames, stage 'temporal' the temporal one on micro-batches of 2D latents, stage 'all' both on micro-batches, stage 'decoder' the decoders alone, so that latents
// stay what they were. One step is a batch of frames or micro-batches, one update.

import { join } from 'node:path'
import { checkInteger, checkNames, checkNumber, checkOneOf } from '../check.js'
import { VinError, expected, inStep, rangeError } from '../errors.js'
import { verifyFile } from '../models/checksums.js'
import { writeComponent } from '../models/save.js'
import { VAE } from '../models/vae.js'
import type { NativeTensor } from '../native/binding.js'
import { abortable, abortableCall } from '../native/cancel.js'
import type { ModelOptions } from '../options/model.js'
import { latentFramesOf } from '../plan/frames.js'
import { brand } from '../realms.js'
import { componentFolderFiles, readState, replaceCheckpoint } from './checkpoint.js'
import type { CheckpointKind } from './checkpoint.js'
import { endless, letGo, warnAbout } from './dataset.js'
import type { Dataset, DatasetPosition } from './dataset.js'
import { disturbLatents, replaceLatentFrame } from './decoder-latents.js'
import { checkFitOptions, fitOptionNames, runFit, warningsOf } from './fit.js'
import type { FitOptions, StepReport } from './fit.js'
import { checkFiniteLosses, Optimizer, readNumbers } from './optimizer.js'
import type { OptimizerOptions } from './optimizer.js'
import { checkBetas, checkEmaDecay } from './options.js'
import { CELL, cellWeights, checkExample, concatenate, cut, pictureOf, pixelPlanes, standing, withPicture } from './pixels.js'
import type { Clip, WeightedExample } from './pixels.js'
import { PhiloxRandom } from '../plan/random.js'
import { latentNoise, streams } from './random.js'

const stages = ['spatial', 'temporal', 'decoder', 'all'] as const
export type VAEStage = (typeof stages)[number]

export interface VAETrainerOptions {
  /**
  'spatial': the 2D part on single frames. 'temporal': the temporal part on micro-batches, where the loss compares 2D latents; ten times cheaper than pixels. 'all': both parts
  on micro-batches. 'decoder': both decoders on the posterior's means, which stay what they are: what a transformer has learned on them keeps its value.
  */
  stage: VAEStage
  /** @default 2e-3 */
  learningRate?: number | undefined
  /** @default 20 */
  warmupSteps?: number | undefined
  /** Steps after which the rate has fallen to 0. Absent: it does not fall. */
  totalSteps?: number | undefined
  /**
  Share of `totalSteps` from which the rate falls.

  @default 0
  */
  decayFrom?: number | undefined
  /** @default 0 */
  weightDecay?: number | undefined
  /** @default [0.9, 0.99] */
  betas?: readonly [number, number] | undefined
  /** @default 1 */
  maxGradNorm?: number | undefined
  /**
  As in `Trainer`.

  @default { max: 0.99, ramp: true }
  */
  emaDecay?: OptimizerOptions['emaDecay'] | undefined
  /**
  Frames of a step ('spatial') or micro-batches of a step.

  @default 16, 4 ('temporal' and 'decoder') and 1 ('all')
  */
  batchSize?: number | undefined
  /** Factor of the mean absolute error. @default 1 */
  l1?: number | undefined
  /** Factor of the mean squared error. @default 2 */
  mse?: number | undefined
  /** Factor of the mean KL divergence per latent value; with 'decoder' it must be 0. @default 3e-4, 0 ('decoder') */
  kl?: number | undefined
  /** 'decoder': noise on the latents, up to this many deviations of each channel of a clip, drawn anew for every clip. @default 0 */
  latentNoise?: number | undefined
  /** 'decoder': share of the clips whose first latent frame is given as a picture, as `image` gives it: without noise. The picture counts as four frames. @default 0 */
  firstPictures?: number | undefined
  /** 'decoder': share of the clips whose last latent frame is given as a picture that stands still, as `lastImage` gives it. The picture counts as four frames. @default 0 */
  lastPictures?: number | undefined
  /**
  'decoder': share of the given pictures that are those of the next clip of the step, if that has the same size. A first one is all that is to be seen of that clip; a last one fills the video frames of its
  latent frame.

  @default 0
  */
  cuts?: number | undefined
  /** @default 0 */
  seed?: number | undefined
}

const optionNames = [
  'stage', 'learningRate', 'warmupSteps', 'totalSteps', 'decayFrom', 'weightDecay', 'betas', 'maxGradNorm', 'emaDecay', 'batchSize', 'l1', 'mse', 'kl', 'latentNoise',
  'firstPictures', 'lastPictures', 'cuts', 'seed'
] as const

type Resolved = OptimizerOptions & { stage: VAEStage; batchSize: number; l1: number; mse: number; kl: number; latentNoise: number; firstPictures: number; lastPictures: number; cuts: number; seed: number }

function resolveOptions(options: VAETrainerOptions): Resolved {
  checkNames(options, 'VAETrainer', optionNames)
  const stage = checkOneOf(options.stage, 'stage', stages)
  const {
    learningRate = 2e-3,
    warmupSteps = 20,
    decayFrom = 0,
    weightDecay = 0,
    betas = [0.9, 0.99],
    maxGradNorm = 1,
    emaDecay = { max: 0.99, ramp: true },
    batchSize = { spatial: 16, temporal: 4, decoder: 4, all: 1 }[stage],
    l1 = 1,
    mse = 2,
    kl = stage === 'decoder' ? 0 : 3e-4,
    latentNoise = 0,
    firstPictures = 0,
    lastPictures = 0,
    cuts = 0,
    seed = 0
  } = options
  checkNumber(firstPictures, 'firstPictures', 0, 1)
  for (const [name, value] of Object.entries({ latentNoise, firstPictures, lastPictures, cuts })) {
    if (stage !== 'decoder' && value !== 0) throw rangeError(`Expected stage 'decoder' for ${name} but received stage '${stage}'`)
  }
  if (stage === 'decoder' && kl !== 0) throw rangeError(`Expected no kl with stage 'decoder', whose latents stay what they are, but received ${kl}`)
  return {
    stage,
    learningRate: checkNumber(learningRate, 'learningRate', 0, 1),
    warmupSteps: checkInteger(warmupSteps, 'warmupSteps', 0, 1e9),
    totalSteps: options.totalSteps === undefined ? undefined : checkInteger(options.totalSteps, 'totalSteps', 1, 1e9),
    decayFrom: checkNumber(decayFrom, 'decayFrom', 0, 1),
    weightDecay: checkNumber(weightDecay, 'weightDecay', 0, 1),
    betas: checkBetas(betas),
    maxGradNorm: checkNumber(maxGradNorm, 'maxGradNorm', 0, 1e9),
    emaDecay: checkEmaDecay(emaDecay),
    batchSize: checkInteger(batchSize, 'batchSize', 1, 4096),
    l1: checkNumber(l1, 'l1', 0, 1e6),
    mse: checkNumber(mse, 'mse', 0, 1e6),
    kl: checkNumber(kl, 'kl', 0, 1e6),
    latentNoise: checkNumber(latentNoise, 'latentNoise', 0, 100),
    firstPictures,
    lastPictures: checkNumber(lastPictures, 'lastPictures', 0, 1 - firstPictures),
    cuts: checkNumber(cuts, 'cuts', 0, 1),
    seed: checkInteger(seed, 'seed', 0, Number.MAX_SAFE_INTEGER)
  }
}

function trains(stage: VAEStage, name: string): boolean {
  if (stage === 'all') return name !== 'scale' && name !== 'shift'
  return stage === 'decoder' ? /\.(decoder|post_quant_conv)\./.test(name) : name.startsWith(`${stage}_vae.`)
}

const KIND = 'vae'
const checkpointKind: CheckpointKind = { kind: KIND, files: componentFolderFiles, replacesModel: false }

export class VAETrainer {
  static {
    brand(this, 'VAETrainer')
  }

  readonly vae: VAE
  /** As the caller gave them: what a checkpoint keeps. */
  readonly #said: VAETrainerOptions
  readonly #options: Resolved
  readonly #optimizer: Optimizer
  /** Steps taken. */
  globalStep = 0
  #position: DatasetPosition = { epoch: 0, taken: 0 }

  constructor(vae: VAE, options: VAETrainerOptions) {
    if (typeof vae !== 'object' || vae === null || !('weights' in vae)) throw expected('a VAE', 'the vae of VAETrainer', vae, 'type')
    this.vae = vae
    this.#said = { ...options }
    this.#options = resolveOptions(options)
    const names = vae
      .weights()
      .map(({ name }) => name)
      .filter((name) => trains(this.#options.stage, name))
    this.#optimizer = new Optimizer(vae.engine.native, [{ prefix: '', native: vae.native, names }], this.#options)
  }

  get options(): Readonly<Resolved> {
    return this.#options
  }

  /** Lets the rate fall linearly from the first step to 0 at the last; may be changed between steps, when only the time of a run is known in advance. */
  fallingRate(first: number, last: number): void {
    const totalSteps = checkInteger(last, 'last', 1, 1e9)
    const decayFrom = checkInteger(first, 'first', 0, last) / last
    for (const options of [this.#said, this.#options]) Object.assign(options, { totalSteps, decayFrom })
  }

  /** The part of an example that a step uses: one frame or one whole micro-batch, at random. */
  #choose(example: WeightedExample, random: PhiloxRandom): Clip {
    const whole = checkExample(example)
    const length = whole.frames.shape[0]
    if (this.#options.stage === 'spatial') return cut(whole, random.int(length), 1)
    const size = this.vae.microBatch.frames
    if (length <= size) return whole
    return cut(whole, size * random.int(Math.floor(length / size)), size)
  }

  /** One update on given examples: single frames are drawn from them, or micro-batches. */
  async step(examples: readonly WeightedExample[], options: Pick<FitOptions, 'onGradients' | 'signal'> = {}): Promise<StepReport> {
    if (examples.length === 0) throw expected('at least one example', 'a step', examples, 'range')
    const started = performance.now()
    const { stage, l1, mse, kl, seed } = this.#options
    const random = new PhiloxRandom(seed, streams.pixels, this.globalStep)
    const chosen = examples.map((example) => this.#choose(example, random))
    const clips = stage === 'spatial' ? [concatenate(chosen)] : chosen
    this.#optimizer.native.zeroGradients()
    const noise = new PhiloxRandom(seed, streams.posterior, this.globalStep)
    const factors = { l1: l1 / clips.length, mse: mse / clips.length, kl: kl / clips.length }
    let loss = 0
    for (const [index, clip] of clips.entries()) {
      const parts = stage === 'decoder' ? this.#backwardDecoder(clip, chosen[(index + 1) % chosen.length]!, factors, random, noise) : this.#backward(stage, clip, factors, noise)
      for (const part of await parts) loss += part
    }
    checkFiniteLosses([loss], this.globalStep)
    await abortableCall(() => options.onGradients?.(this.#optimizer.gradients()), options.signal)
    const { gradNorm, learningRate } = await inStep(this.globalStep, this.#optimizer.update(this.globalStep, this.#options))
    const report = { step: this.globalStep, loss, gradNorm, learningRate, samplesPerSecond: (1000 * examples.length) / (performance.now() - started) }
    this.globalStep += 1
    return report
  }

  /** Adds a clip's gradients; resolves with its loss: reconstruction and KL, means times their factors. Without `noise` the posterior's mean is decoded. */
  async #backward(stage: Exclude<VAEStage, 'decoder'>, { frames, weights }: Clip, factors: { l1: number; mse: number; kl: number }, noise?: PhiloxRandom): Promise<number[]> {
    const engine = this.vae.engine.native
    const [count, height, width] = frames.shape
    const latentShape = [4, stage === 'spatial' ? count : latentFramesOf(count, this.vae.microBatch), Math.floor(height / CELL), Math.floor(width / CELL)] as const
    const latentValues = latentShape.reduce((product, size) => product * size, 1)
    const planes = pixelPlanes(frames)
    // The loss compares [3,T,H,W] pixels, or 4 latents for each cell of 8 × 8 of them.
    const values = stage === 'temporal' ? 4 * count * latentShape[2] * latentShape[3] : planes.data.length
    const pixels = engine.upload(planes.data, planes.shape)
    const epsilon = engine.upload(noise === undefined ? new Float32Array(latentValues) : latentNoise(noise, latentShape), [...latentShape])
    const weight = weights === undefined ? undefined : stage === 'temporal' ? engine.upload(cellWeights(weights, frames.shape), [count, latentShape[2], latentShape[3]]) : engine.upload(weights, [count, height, width])
    try {
      const request = { pixels, noise: epsilon, stage, l1: factors.l1 / values, mse: factors.mse / values, kl: factors.kl / latentValues, ...(weight === undefined ? {} : { weight }) }
      return await readNumbers(this.#optimizer.native.backwardVae(request))
    } finally {
      pixels.dispose()
      epsilon.dispose()
      weight?.dispose()
    }
  }

  /** The same for the decoders alone, on latents of the clip that are disturbed as the options say. `next` is the clip whose picture may be given to this one. */
  async #backwardDecoder(clip: Clip, next: Clip, factors: { l1: number; mse: number }, random: PhiloxRandom, noise: PhiloxRandom): Promise<number[]> {
    const { latentNoise: most, firstPictures, lastPictures, cuts } = this.#options
    const engine = this.vae.engine.native
    const level = most * random.uniform()
    const lot = random.uniform()
    const side = lot < firstPictures ? 'first' : lot < firstPictures + lastPictures ? 'last' : undefined
    // In a step of one clip the next one is itself; a picture of another size is none for this clip.
    const fits = next.frames.shape[1] === clip.frames.shape[1] && next.frames.shape[2] === clip.frames.shape[2]
    const source = random.uniform() < cuts && fits ? next : clip
    const latents = await this.vae.encode(pixelPlanes(clip.frames))
    const frames = latents.shape[1]!
    disturbLatents(latents, latentNoise(noise, latents.shape as [number, number, number, number]), level, side === 'first' ? 1 : 0, side === 'last' ? frames - 1 : frames)
    if (side !== undefined) {
      const still = await this.vae.encode(pixelPlanes(standing(pictureOf(source, side).data, clip.frames.shape, side === 'first' ? 1 : this.vae.microBatch.frames)))
      replaceLatentFrame(latents, side === 'first' ? 0 : frames - 1, still, side === 'first' ? 0 : still.shape[1]! - 1)
    }
    const target = side === undefined ? clip : withPicture(clip, source, side)
    const planes = pixelPlanes(target.frames)
    const given: NativeTensor[] = []
    const upload = (data: Float32Array, shape: readonly number[]): NativeTensor => {
      const tensor = engine.upload(data, [...shape])
      given.push(tensor)
      return tensor
    }
    try {
      const request = {
        stage: 'decoder' as const,
        pixels: upload(planes.data, planes.shape),
        latents: upload(latents.data, latents.shape),
        ...(target.weights === undefined ? {} : { weight: upload(target.weights, target.frames.shape.slice(0, 3)) }),
        l1: factors.l1 / planes.data.length,
        mse: factors.mse / planes.data.length,
        kl: 0
      }
      return await readNumbers(this.#optimizer.native.backwardVae(request))
    } finally {
      for (const tensor of given) tensor.dispose()
    }
  }

  /** Peak signal-to-noise ratio in decibels of examples that are used whole, from the posterior's mean and the present weights. */
  async psnr(examples: readonly WeightedExample[]): Promise<number> {
    let sum = 0
    for (const example of examples) {
      const clip = checkExample(example)
      sum += (await this.#backward(this.#options.stage === 'spatial' ? 'spatial' : 'all', { frames: clip.frames, weights: undefined }, { l1: 0, mse: 1, kl: 0 }))[0]!
    }
    this.#optimizer.native.zeroGradients()
    // Pixels span −1 … 1, so the peak is 2.
    return 10 * Math.log10((4 * examples.length) / sum)
  }

  /** Trains on a data set whose examples have frames. */
  async fit(dataset: Dataset<WeightedExample>, options: FitOptions): Promise<void> {
    checkNames(options, 'fit', fitOptionNames)
    checkFitOptions(options)
    const report = await abortableCall(() => dataset.prepare?.({ signal: options.signal }), options.signal)
    if (report !== undefined) warnAbout(report).forEach(warningsOf(options))
    const reader = endless(dataset, this.#position)
    try {
      await runFit(this, checkpointKind, options, async () => {
        const examples: WeightedExample[] = []
        let at: DatasetPosition = this.#position
        while (examples.length < this.#options.batchSize) {
          const { value } = await abortable(reader.next(), options.signal)
          examples.push(value.example)
          at = { epoch: value.at.epoch, taken: value.at.taken + 1 }
        }
        const report = await this.step(examples, options)
        this.#position = at
        return report
      })
    } finally {
      await letGo(reader, options.signal)
    }
  }

  /** Writes a VAE folder with the averaged weights, and what training needs to go on in `training/`. Atomic. */
  async save(folder: string): Promise<void> {
    const state = { step: this.globalStep, position: this.#position, options: this.#said }
    await replaceCheckpoint(folder, state, checkpointKind, async (temporary) => {
      const optimizer = this.#optimizer.native
      await writeComponent(temporary, this.vae.description(), (path) => optimizer.saveAverage(0, path, { dtype: 'float32' }))
      await optimizer.saveState(join(temporary, 'training', 'state.safetensors'))
    })
  }

  /**
  Goes on from a checkpoint.

  @param changes options that differ from now on; what nobody said has its default. `stage` cannot change
  @throws VinError ERR_VIN_MISSING_COMPONENT without a checkpoint, ERR_VIN_RESUME_MISMATCH {field} for a state of another version or stage
  */
  static async resume(folder: string, changes: Partial<VAETrainerOptions> = {}, model: ModelOptions = {}): Promise<VAETrainer> {
    const state = await readState(folder, KIND)
    const said = state['options'] as VAETrainerOptions
    const options = { ...said, ...changes, stage: changes.stage ?? said.stage }
    resolveOptions(options)
    if (options.stage !== said.stage) {
      const message = `Expected stage '${said.stage}', with which the checkpoint ${folder} was trained, but received '${options.stage}', which trains other weights; leave it out, or train the folder as a VAE of its own into another one`
      throw new VinError('ERR_VIN_RESUME_MISMATCH', message, { folder, field: 'stage', expected: said.stage, found: options.stage })
    }
    const vae = await VAE.fromPretrained(folder, model)
    try {
      const trainer = new VAETrainer(vae, options)
      const moments = join(folder, 'training', 'state.safetensors')
      await verifyFile(moments)
      await trainer.#optimizer.native.loadState(moments)
      trainer.globalStep = checkInteger(state['step'], 'step', 0, 1e12)
      trainer.#position = state['position'] as DatasetPosition
      return trainer
    } catch (error) {
      await vae.dispose()
      throw error
    }
  }

  dispose(): void {
    this.#optimizer.native.dispose()
  }
}
