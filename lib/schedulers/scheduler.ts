// What every scheduler has in common. A scheduler is arithmetic on numbers plus one linear combination of tensors: semantics and config keys are diffusers'.

import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { VinError, expected, native, notSupported, rangeError, show } from '../errors.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { commonEngine } from '../native/engine.js'
import { loadBinding } from '../native/load.js'
import { linearCombination } from '../native/ops.js'
import type { Term } from '../native/ops.js'
import { Scope, Tensor, checkShape, toNative, toResult } from '../native/tensor.js'
import type { TensorLike } from '../native/tensor.js'
import { checkNumber } from '../options/check.js'
import { brand } from '../realms.js'

export type SchedulerConfig = Record<string, unknown>

/** What timesteps may depend on beside their number. */
export interface TimestepSize {
  /** Pixels. */
  height?: number | undefined
  width?: number | undefined
  /** Latent frames of the whole video. */
  latentFrames?: number | undefined
}

export interface StepOptions<T extends TensorLike = TensorLike> {
  /**
  Share of fresh noise (DDIM).

  @default 0
  */
  eta?: number | undefined
  /** The fresh noise, in the shape of the sample; needed when eta is not 0. */
  noise?: T | undefined
}

/** Terms over (output, sample, noise): what the next sample is. */
export interface StepTerms {
  output: number
  sample: number
  noise?: number
}

/** x_t = sample · x_0 + noise · ε. */
export interface NoiseTerms {
  sample: number
  noise: number
}

export abstract class Scheduler {
  static {
    brand(this, 'Scheduler')
  }

  /** The config as given, defaults included. */
  readonly config: Readonly<SchedulerConfig>
  /** In the order of sampling, after `setTimesteps`. */
  timesteps: number[] = []

  constructor(config: SchedulerConfig) {
    this.config = Object.freeze({ ...config })
  }

  get className(): string {
    return String(this.config['_class_name'])
  }

  /** Timesteps of training: the noise level σ of flow match is timestep / numTrainTimesteps. */
  get numTrainTimesteps(): number {
    return Number(this.config['num_train_timesteps'])
  }

  /** Chooses n timesteps and forgets what earlier steps left. */
  abstract setTimesteps(numInferenceSteps: number, size?: TimestepSize): void

  /** x_t of training and of `addNoise`. */
  abstract noiseTerms(timestep: number): NoiseTerms

  /** What the model is trained to predict: sample · x_0 + noise · ε. */
  abstract readonly target: Readonly<NoiseTerms>

  /** Whether timesteps are integers below `num_train_timesteps` (else real numbers up to it, without 0). */
  abstract readonly discrete: boolean

  /** How training draws noise levels in (0, 1) where its options do not say it: uniformly, or the sigmoid of a normal distribution. */
  get timestepSampling(): 'uniform' | { mean: number; std: number } {
    return 'uniform'
  }

  /** The noise level that a video of this size is trained at, of the one that was drawn for it. */
  trainingNoiseLevel(drawn: number, _size: TimestepSize): number {
    return drawn
  }

  /** Queues one step on the engine and returns the next sample; the caller owns it. Coefficients are computed in double. */
  abstract queueStep(engine: NativeEngine, output: NativeTensor, timestep: number, sample: NativeTensor, options?: { eta?: number; noise?: NativeTensor }): NativeTensor

  /** Tensors that the next step needs beside the sample, by name; still owned by the scheduler. */
  state(): Record<string, NativeTensor> {
    return {}
  }

  /** Takes a copy of a state back, as it was before the step at `index`. */
  restore(_state: Record<string, NativeTensor>, _index: number, _engine: NativeEngine): void {}

  /** Frees the tensors of `state()`. */
  reset(): void {}

  /** Position of a timestep in `timesteps`. */
  protected indexOf(timestep: number): number {
    if (this.timesteps.length === 0) throw rangeError('Expected setTimesteps(n) before step, but no timesteps are set')
    checkNumber(timestep, 'timestep', 0, 1e6)
    let index = 0
    this.timesteps.forEach((candidate, i) => {
      if (Math.abs(candidate - timestep) < Math.abs((this.timesteps[index] ?? Infinity) - timestep)) index = i
    })
    const found = this.timesteps[index] ?? NaN
    if (Math.abs(found - timestep) > 1e-3) throw rangeError(`Expected one of the ${this.timesteps.length} timesteps for timestep but received ${show(timestep)}; the nearest is ${show(found)}`)
    return index
  }

  /**
  One step from `sample` at `timestep` to the next one. A handle gives a handle, plain data gives plain data.

  @throws RangeError when `timestep` is not one of `timesteps` or shapes differ; TypeError for an eta without noise
  */
  async step<T extends TensorLike>(output: TensorLike | PromiseLike<TensorLike>, timestep: number, sample: T | PromiseLike<T>, options: StepOptions = {}): Promise<T> {
    const given = await sample
    const prediction = await output
    const { eta = 0, noise } = options
    checkNumber(eta, 'eta', 0, 1)
    if (eta > 0 && noise === undefined) throw expected('a tensor', 'noise (eta is not 0)', noise, 'type')
    const shape = checkShape(given, 'sample', given.shape)
    checkShape(prediction, 'output', shape)
    if (noise !== undefined) checkShape(noise, 'noise', shape)
    const engine = given instanceof Tensor ? given.engine : commonEngine().native
    const scope = new Scope()
    try {
      const [nativeOutput, nativeSample] = [await toNative(engine, prediction, scope), await toNative(engine, given, scope)]
      const nativeNoise = noise === undefined ? undefined : await toNative(engine, noise, scope)
      const next = this.queueStep(engine, nativeOutput, timestep, nativeSample, { eta, ...(nativeNoise === undefined ? {} : { noise: nativeNoise }) })
      return await toResult(engine, given, next)
    } finally {
      scope.dispose()
    }
  }

  /** The noisy sample of `timestep`: a handle for a handle, plain data for plain data. */
  async addNoise<T extends TensorLike>(x0: T | PromiseLike<T>, noise: TensorLike | PromiseLike<TensorLike>, timestep: number): Promise<T> {
    const clean = await x0
    const epsilon = await noise
    const shape = checkShape(clean, 'x0', clean.shape)
    checkShape(epsilon, 'noise', shape)
    const terms = this.noiseTerms(timestep)
    const engine = clean instanceof Tensor ? clean.engine : commonEngine().native
    const scope = new Scope()
    try {
      const [a, b] = [await toNative(engine, clean, scope), await toNative(engine, epsilon, scope)]
      const noisy = linearCombination(engine, [
        { factor: terms.sample, tensor: a },
        { factor: terms.noise, tensor: b }
      ])
      return await toResult(engine, clean, noisy)
    } finally {
      scope.dispose()
    }
  }
}

/** Combines what a step's terms name. */
export function combine(engine: NativeEngine, terms: StepTerms, output: NativeTensor, sample: NativeTensor, noise?: NativeTensor, extra?: Term): NativeTensor {
  const list: Term[] = [
    { factor: terms.sample, tensor: sample },
    { factor: terms.output, tensor: output }
  ]
  if (terms.noise !== undefined && terms.noise !== 0 && noise !== undefined) list.push({ factor: terms.noise, tensor: noise })
  if (extra !== undefined) list.push(extra)
  return linearCombination(engine, list)
}

/** What one config key may hold: a check that says yes or no. Keys that only matter beside a refused value take anything. */
export type KeyRule = (value: unknown) => boolean

export const anything: KeyRule = () => true
export const only =
  (...values: unknown[]): KeyRule =>
  (value) =>
    values.includes(value)
export const number =
  (minimum: number, maximum: number): KeyRule =>
  (value) =>
    typeof value === 'number' && Number.isFinite(value) && value >= minimum && value <= maximum
export const integer =
  (minimum: number, maximum: number): KeyRule =>
  (value) =>
    Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum

/** Defaults under the config's own values. A key or value that the scheduler does not know is an error that names it. */
export function checkConfig(className: string, config: SchedulerConfig, rules: Record<string, KeyRule>, defaults: SchedulerConfig): SchedulerConfig {
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('_')) continue
    const rule = rules[key]
    if (rule === undefined) throw notSupported(key, `Expected a config of ${className} but it has the key ${key}, which this version does not know`)
    if (value !== undefined && !rule(value)) throw notSupported(key, `Expected a supported value for ${key} of ${className} but received ${show(value)}`)
  }
  const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined))
  return { ...defaults, ...given, _class_name: className }
}

/** A config given as an object, or read from scheduler_config.json (a file, or the folder that holds it). */
export function readSchedulerConfig(source: SchedulerConfig | string): SchedulerConfig {
  if (typeof source === 'object' && source !== null && !Array.isArray(source)) return source
  if (typeof source !== 'string') throw expected('a config object or a path', 'the scheduler config', source, 'type')
  const file = existsSync(source) && statSync(source).isDirectory() ? join(source, 'scheduler_config.json') : source
  if (!existsSync(file)) throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected a scheduler config at ${file} but there is no such file`, { component: 'scheduler', file })
  const config = native(() => loadBinding().parseJson(readFileSync(file), file))
  if (typeof config !== 'object' || config === null || Array.isArray(config)) throw new VinError('ERR_VIN_FORMAT', `Expected a JSON object in ${file}`, { file })
  return { ...config }
}
