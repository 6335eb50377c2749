// AdamW with clipping and an average of the weights, over one or more models that train together. The arithmetic is native; what each weight gets is decided here.

import { VinError } from '../errors.js'
import type { NativeEngine, NativeModel, NativeTensor, NativeTrainer } from '../native/binding.js'
import { Gradient } from './gradient.js'
import { emaDecayAt, learningRateAt } from './rates.js'
import type { EmaDecay, RateOptions } from './rates.js'

export interface OptimizerOptions extends RateOptions {
  /** Rate of weights outside `vin.*`, `cam.*`, `apm.*` and `fusion.*`; the same rate where it is absent. */
  backboneLearningRate?: number | undefined
  weightDecay: number
  betas: readonly [number, number]
  maxGradNorm: number
  emaDecay: EmaDecay
}

/** A model and the weights of it that train; gradients are named prefix + weight. */
export interface TrainedModel {
  prefix: string
  native: NativeModel
  names: string[]
}

const largestFloat32 = 2 ** 128 - 2 ** 104

/** Embeddings and tables: looked up or added, never multiplied, so weight decay has no meaning for them. */
const withoutDecay = /(^|\.)(y_embedding|global_tokens|scale_shift_table|shared\.weight|embed_tokens\.weight|relative_attention_bias\.weight)$/

export interface WeightGroup {
  name: string
  /** Factor of the step's learning rate. */
  rate: number
  decay: number
}

/** Rate and decay of every weight, in update order. */
export function weightGroups(models: readonly TrainedModel[], options: Pick<OptimizerOptions, 'learningRate' | 'backboneLearningRate' | 'weightDecay'>): WeightGroup[] {
  const backbone = options.learningRate === 0 ? 1 : (options.backboneLearningRate ?? options.learningRate) / options.learningRate
  return models.flatMap(({ prefix, native: model, names }) => {
    const rank = new Map(model.weights().map(({ name, shape }) => [name, shape.length]))
    return names.map((name) => ({
      name: prefix + name,
      rate: /^(vin|cam|apm|fusion)\./.test(name) ? 1 : backbone,
      decay: (rank.get(name) ?? 0) >= 2 && !withoutDecay.test(name) ? options.weightDecay : 0
    }))
  })
}

export class Optimizer {
  readonly native: NativeTrainer
  readonly groups: readonly WeightGroup[]
  readonly #engine: NativeEngine
  readonly #names: readonly string[]

  constructor(engine: NativeEngine, models: readonly TrainedModel[], options: Pick<OptimizerOptions, 'learningRate' | 'backboneLearningRate' | 'weightDecay'>) {
    this.#engine = engine
    this.groups = weightGroups(models, options)
    this.native = engine.createTrainer(models.map((model) => model.native), models.map((model) => model.names))
    this.#names = this.native.names()
    if (this.#names.length !== this.groups.length) throw new Error(`the native trainer has ${this.#names.length} weights, not ${this.groups.length}`)
  }

  /** Live gradients by name; they change with the next step. */
  gradients(): Map<string, Gradient> {
    return new Map(this.groups.map(({ name }, index) => [name, new Gradient(this.#engine, this.native.gradient(this.#names[index]!))]))
  }

  /**
  One update; resolves with the rate it used and the gradient norm before clipping.

  @throws VinError ERR_VIN_NONFINITE {weight} for gradients that are not finite, or too large for the second moments; all is as before
  */
  async update(step: number, options: OptimizerOptions): Promise<{ gradNorm: number; learningRate: number }> {
    const learningRate = learningRateAt(step, options)
    const [squares = NaN] = await readNumbers(this.native.update({
      learningRates: this.groups.map(({ rate }) => rate * learningRate),
      weightDecays: this.groups.map(({ decay }) => decay),
      beta1: options.betas[0],
      beta2: options.betas[1],
      eps: 1e-8,
      maxGradNorm: options.maxGradNorm,
      step: step + 1
    }))
    const gradNorm = Math.sqrt(squares)
    await this.#checkUpdated(gradNorm, options.maxGradNorm)
    this.native.average(emaDecayAt(step, options.emaDecay))
    return { gradNorm, learningRate }
  }

  /** Throws for the gradients for which the device has left all as it was: clip_coefficient in csrc/ops.def. */
  async #checkUpdated(norm: number, maxGradNorm: number): Promise<void> {
    const clipped = maxGradNorm > 0 ? Math.min(norm, maxGradNorm) : norm
    if (Number.isFinite(norm) && clipped <= Math.sqrt(largestFloat32)) return
    if (Number.isFinite(norm)) {
      const message = `Expected gradients whose squares float32 holds but their norm is ${norm}, weights are as before; set maxGradNorm or lower the learning rate`
      throw new VinError('ERR_VIN_NONFINITE', message)
    }
    for (const weight of this.#names) {
      const gradient = this.native.gradient(weight)
      const [squares = NaN] = await readNumbers(this.#engine.op('sum_squares', { y: { shape: [1], dtype: 'float64' }, x: gradient })['y']!)
      gradient.dispose()
      if (Number.isFinite(squares)) continue
      const message = `Expected finite gradients but that of ${weight} holds NaN or Inf, weights are as before; lower the learning rate or leave out the videos of this step`
      throw new VinError('ERR_VIN_NONFINITE', message, { weight })
    }
  }
}

/** Reads a small native tensor and frees it. */
export async function readNumbers(tensor: NativeTensor): Promise<number[]> {
  try {
    const { data } = await tensor.read()
    return Array.from(data)
  } finally {
    tensor.dispose()
  }
}

/** @throws VinError ERR_VIN_NONFINITE before weights are touched */
export function checkFiniteLosses(losses: readonly number[], step: number): void {
  const bad = losses.findIndex((loss) => !Number.isFinite(loss))
  if (bad < 0) return
  const message = `Expected a finite loss at step ${step} but video ${bad} of the step has ${losses[bad]}; lower the learning rate or resume an earlier checkpoint`
  throw new VinError('ERR_VIN_NONFINITE', message, { step, video: bad })
}
