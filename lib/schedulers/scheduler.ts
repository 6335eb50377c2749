// What every scheduler has in common. A scheduler is arithmetic on numbers plus one linear combination of tensors: semantics and config keys are diffusers'.

import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { checkNames, checkNumber } from '../check.js'
import { VinError, checkMade, expected, notSupported, rangeError, show } from '../errors.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { commonEngine } from '../native/engine.js'
import { loadBinding } from '../native/load.js'
import { linearCombination } from '../native/ops.js'
import type { Term } from '../native/ops.js'
import { Scope, Tensor, checkShape, isPromiseLike, toNative, toResult } from '../native/tensor.js'
import type { TensorLike } from '../native/tensor.js'
import { brand } from '../realms.js'
import { diffusersKeys } from './foreign-keys.js'

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

/** Configs that `checkConfig` returned, which a scheduler is made of, and then those of schedulers; of each the names of the values that may differ. */
const checked = new WeakMap<Readonly<SchedulerConfig>, readonly string[]>()

export abstract class Scheduler {
  static {
    brand(this, 'Scheduler')
  }

  /** The config as given, defaults included. */
  readonly config: Readonly<SchedulerConfig>
  /** In the order of sampling, after `setTimesteps`. */
  timesteps: number[] = []

  constructor(config: SchedulerConfig) {
    const settings = checked.get(config)
    checkMade(settings !== undefined, new.target.name, 'a scheduler of fromConfig, as DDIMScheduler.fromConfig(config),')
    this.config = Object.freeze({ ...config })
    checked.set(this.config, settings ?? [])
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

  @throws RangeError when `timestep` is not one of `timesteps`, shapes differ, or `output` is what `denoise` of a model with another target gave; TypeError for an eta without noise
  */
  async step<T extends TensorLike>(output: TensorLike | PromiseLike<TensorLike>, timestep: number, sample: T | PromiseLike<T>, options: StepOptions = {}): Promise<T> {
    const given = isPromiseLike(sample) ? await sample : sample
    const prediction = isPromiseLike(output) ? await output : output
    const own = predictions.get(prediction)
    if (own !== undefined) checkTarget(this, own)
    checkNames(options, 'step', ['eta', 'noise'])
    const { eta = 0, noise } = options
    checkNumber(eta, 'eta', 0, 1)
    if (eta > 0 && noise === undefined) throw expected('a tensor', 'noise (eta is not 0)', noise, 'type')
    const shape = checkShape(given, 'sample', given.shape)
    checkShape(prediction, 'output', shape)
    if (noise !== undefined) checkShape(noise, 'noise', shape)
    const engine = given instanceof Tensor ? given.engine : commonEngine().native
    const scope = new Scope()
    try {
      const [nativeOutput, nativeSample, nativeNoise] = await Promise.all([toNative(engine, prediction, scope), toNative(engine, given, scope), noise === undefined ? undefined : toNative(engine, noise, scope)])
      const next = this.queueStep(engine, nativeOutput, timestep, nativeSample, { eta, ...(nativeNoise === undefined ? {} : { noise: nativeNoise }) })
      return await toResult(engine, given, next)
    } finally {
      scope.dispose()
    }
  }

  /** The noisy sample of `timestep`: a handle for a handle, plain data for plain data. */
  async addNoise<T extends TensorLike>(x0: T | PromiseLike<T>, noise: TensorLike | PromiseLike<TensorLike>, timestep: number): Promise<T> {
    const clean = isPromiseLike(x0) ? await x0 : x0
    const epsilon = isPromiseLike(noise) ? await noise : noise
    const shape = checkShape(clean, 'x0', clean.shape)
    checkShape(epsilon, 'noise', shape)
    const terms = this.noiseTerms(timestep)
    const engine = clean instanceof Tensor ? clean.engine : commonEngine().native
    const scope = new Scope()
    try {
      const [a, b] = await Promise.all([toNative(engine, clean, scope), toNative(engine, epsilon, scope)])
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

/** What sampling depends on of a scheduler's config, always in one order: without notes of other programs, keys of other classes, and those that take one value alone. */
export function settingsOf({ config }: Scheduler): SchedulerConfig {
  return Object.fromEntries(['_class_name', ...(checked.get(config) ?? [])].map((name) => [name, config[name]]))
}

/** What a model predicts, in the words of model.md. */
function targetName({ sample, noise }: Readonly<NoiseTerms>): string {
  return sample === 0 ? 'ε' : noise > 0 ? 'ε − x_0' : 'x_0 − ε'
}

/**
Whether a scheduler can sample a model that was trained with `own`: the signs of its target must be theirs.

@throws RangeError naming both
*/
export function checkTarget(given: Scheduler, own: Scheduler): void {
  if (given.target.sample === own.target.sample && given.target.noise === own.target.noise) return
  const [wanted, found] = [targetName(own.target), targetName(given.target)]
  throw rangeError(`Expected a scheduler for predictions of ${wanted}, as the model's own ${own.className}, for scheduler but received ${given.className}, which is for ${found}`)
}

const predictions = new WeakMap<object, Scheduler>()

/** Says of a model's output which scheduler the model was trained with; `step` of another target refuses it. */
export function markPrediction<T extends TensorLike>(output: T, own: Scheduler | undefined): T {
  if (own !== undefined) predictions.set(output, own)
  return output
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

/** What one config key may hold. */
export interface KeyRule {
  fits: (value: unknown) => boolean
  /** In words. */
  what: string
}

/** Of keys that only matter beside a refused value. */
export const anything: KeyRule = { fits: () => true, what: 'anything' }
export const only = (...values: unknown[]): KeyRule => ({ fits: (value) => values.includes(value), what: values.map((value) => show(value)).join(' or ') })
export const number = (minimum: number, maximum: number): KeyRule => ({
  fits: (value) => typeof value === 'number' && Number.isFinite(value) && value >= minimum && value <= maximum,
  what: `a number from ${show(minimum)} to ${show(maximum)}`
})
export const integer = (minimum: number, maximum: number): KeyRule => ({
  fits: (value) => Number.isInteger(value) && (value as number) >= minimum && (value as number) <= maximum,
  what: `an integer from ${show(minimum)} to ${show(maximum)}`
})

/**
The config of a class: its own values over defaults. A key that no scheduler knows, and a value that this class does not compute with, is an error that names it; keys of
other classes are left alone. What a file does not say means what it means to the program that wrote it: `fileDefaults`, where they are not ours.
*/
export function checkConfig(className: string, source: SchedulerConfig | string, rules: Record<string, KeyRule>, defaults: SchedulerConfig, fileDefaults: SchedulerConfig = {}): SchedulerConfig {
  const config = Object.fromEntries(Object.entries(readSchedulerConfig(source)).filter(([, value]) => value !== undefined))
  for (const [key, value] of Object.entries(config)) {
    if (key.startsWith('_')) continue
    const rule = Object.hasOwn(rules, key) ? rules[key] : undefined
    if (rule === undefined && !diffusersKeys.has(key)) throw notSupported(key, `Expected a config of ${className} but it has the key ${key}, which this version does not know`)
    if (rule?.fits(value) === false) throw notSupported(key, `Expected ${rule.what} for ${key} of ${className} but received ${show(value)}, which this version does not compute with`)
  }
  const absent = typeof source === 'string' ? fileDefaults : {}
  for (const [key, value] of Object.entries(absent)) {
    const rule = rules[key]
    if (Object.hasOwn(config, key) || rule === undefined || rule.fits(value)) continue
    throw notSupported(key, `Expected ${rule.what} for ${key} of ${className} but ${source as string} does not say it, which means ${show(value)}; write "${key}": ${rule.what} into it`)
  }
  const whole = { ...defaults, ...absent, ...config, _class_name: className }
  checked.set(whole, Object.keys(defaults))
  return whole
}

const maxConfigBytes = 1 << 20

/** A config given as an object, or read from scheduler_config.json (a file, or the folder that holds it). */
export function readSchedulerConfig(source: SchedulerConfig | string): SchedulerConfig {
  if (typeof source === 'object' && source !== null && !Array.isArray(source)) return source
  if (typeof source !== 'string') throw expected('a config object or a path', 'the scheduler config', source, 'type')
  const file = existsSync(source) && statSync(source).isDirectory() ? join(source, 'scheduler_config.json') : source
  const missing = (found: string, cause?: unknown): VinError =>
    new VinError('ERR_VIN_MISSING_COMPONENT', `Expected a scheduler config at ${file} but ${found}`, { component: 'scheduler', file }, { cause })
  const stats = existsSync(file) ? statSync(file) : undefined
  if (stats === undefined) throw missing('there is no such file')
  if (!stats.isFile()) throw missing('that is no file')
  if (stats.size > maxConfigBytes) throw new VinError('ERR_VIN_FORMAT', `Expected at most ${maxConfigBytes} bytes in ${file} but it has ${stats.size}`, { file })
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (error) {
    throw missing('it cannot be read', error)
  }
  const config = loadBinding().parseJson(bytes, file, { nonfinite: true })
  if (typeof config !== 'object' || config === null || Array.isArray(config)) throw new VinError('ERR_VIN_FORMAT', `Expected a JSON object in ${file} but found ${show(config)}`, { file })
  return { ...config }
}
