// DPM-Solver++ of order 2, midpoint form (2M): few steps for backbones that predict ε.
//   σ = √((1−ᾱ)/ᾱ)   α = 1/√(1+σ²)   s = ασ   λ = ln(α/s)   x0 = (x − s ε)/α   h = λ_next − λ
//   x ← (s_next/s) x − α_next · expm1(−h) · D,   D = x0 + ½ (x0 − x0_prev)/r,   r = (λ − λ_prev)/h
// D = x0 on the first step and on the last one, whose σ is 0.

import { checkInteger } from '../check.js'
import { rangeError } from '../errors.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { copyOf, linearCombination } from '../native/ops.js'
import { brand } from '../realms.js'
import { betaDefaults, betaRules, cumulativeAlphas } from './betas.js'
import { Scheduler, anything, checkConfig, combine, only } from './scheduler.js'
import type { NoiseTerms, SchedulerConfig } from './scheduler.js'
import { leading, linspace, trailing } from './spacing.js'

const rules = {
  ...betaRules,
  solver_order: only(1, 2),
  // The second names come from configs of DEIS and UniPC; diffusers takes them for the first.
  algorithm_type: only('dpmsolver++', 'deis'),
  solver_type: only('midpoint', 'logrho', 'bh1', 'bh2'),
  // With a last σ of 0 the last step is of first order whatever these say.
  lower_order_final: only(true, false),
  euler_at_final: only(false, true),
  use_karras_sigmas: only(false),
  use_exponential_sigmas: only(false),
  use_beta_sigmas: only(false),
  use_lu_lambdas: only(false),
  use_flow_sigmas: only(false),
  flow_shift: anything,
  final_sigmas_type: only('zero'),
  // diffusers writes -Infinity; other writers of JSON make null or a word of it.
  lambda_min_clipped: only(null, -Infinity, '-inf', '-Infinity'),
  variance_type: only(null),
  use_dynamic_shifting: only(false),
  time_shift_type: anything
}
const defaults = {
  ...betaDefaults,
  solver_order: 2,
  algorithm_type: 'dpmsolver++',
  solver_type: 'midpoint',
  lower_order_final: true,
  euler_at_final: false,
  final_sigmas_type: 'zero',
  timestep_spacing: 'linspace'
}

interface Level {
  alpha: number
  s: number
  lambda: number
}

function level(sigma: number): Level {
  const alpha = 1 / Math.sqrt(1 + sigma * sigma)
  const s = alpha * sigma
  return { alpha, s, lambda: Math.log(alpha) - Math.log(s) }
}

interface Previous {
  index: number
  engine: NativeEngine
  x0: NativeTensor
}

export class DPMSolverMultistepScheduler extends Scheduler {
  static {
    brand(this, 'DPMSolverMultistepScheduler')
  }

  readonly target = { sample: 0, noise: 1 } as const
  readonly discrete = true
  readonly #alphas: Float32Array
  #levels: Level[] = []
  #previous: Previous | undefined

  /** From a diffusers config, or the path of one. */
  static fromConfig(config: SchedulerConfig | string = {}): DPMSolverMultistepScheduler {
    // −∞ is what an absent key means too, and JSON, which the config may be written to, has no word for it.
    const checked = checkConfig('DPMSolverMultistepScheduler', config, rules, defaults)
    delete checked['lambda_min_clipped']
    return new DPMSolverMultistepScheduler(checked)
  }

  private constructor(config: SchedulerConfig) {
    super(config)
    this.#alphas = cumulativeAlphas(config)
  }

  override setTimesteps(numInferenceSteps: number): void {
    const train = this.#alphas.length
    const { timestep_spacing: spacing, steps_offset: offset } = this.config
    // All but trailing divide into one part more, and drop the last.
    const n = checkInteger(numInferenceSteps, 'numInferenceSteps', 1, spacing === 'trailing' ? train : train - 1)
    const timesteps = spacing === 'trailing' ? trailing(train, n) : (spacing === 'leading' ? leading(train, n + 1, n + 1, Number(offset)) : linspace(train - 1, n + 1)).slice(0, n)
    if ((timesteps[0] ?? 0) >= train) throw rangeError(`Expected timesteps below ${train} but steps_offset ${String(offset)} with ${n} steps gives ${timesteps[0]}`)
    this.timesteps = timesteps
    this.#levels = [...this.timesteps.map((t) => level(this.#sigma(t))), level(0)]
    this.reset()
  }

  #sigma(timestep: number): number {
    const alpha = this.#alphas[timestep] ?? NaN
    return Math.sqrt((1 - alpha) / alpha)
  }

  override noiseTerms(timestep: number): NoiseTerms {
    const alpha = this.#alphas[checkInteger(timestep, 'timestep', 0, this.#alphas.length - 1)] ?? NaN
    return { sample: Math.sqrt(alpha), noise: Math.sqrt(1 - alpha) }
  }

  override queueStep(engine: NativeEngine, output: NativeTensor, timestep: number, sample: NativeTensor): NativeTensor {
    const index = this.indexOf(timestep)
    const now = this.#levels[index] as Level
    const next = this.#levels[index + 1] as Level
    const last = index === this.timesteps.length - 1
    const h = next.lambda - now.lambda
    const factor = -next.alpha * Math.expm1(-h)
    const carried = next.s / now.s
    const x0 = last ? undefined : linearCombination(engine, [{ factor: 1 / now.alpha, tensor: sample }, { factor: -now.s / now.alpha, tensor: output }])
    const previous = this.#previous
    const second = !last && this.config['solver_order'] === 2 && previous !== undefined && previous.index === index - 1
    const r = second ? (now.lambda - (this.#levels[index - 1] as Level).lambda) / h : Infinity
    // D = (1 + 1/2r) x0 − x0_prev/2r, with x0 written out in x and ε.
    const ofX0 = factor * (1 + 0.5 / r)
    const terms = { sample: carried + ofX0 / now.alpha, output: (-ofX0 * now.s) / now.alpha }
    const result = combine(engine, terms, output, sample, undefined, second ? { factor: (-factor * 0.5) / r, tensor: this.#onEngine(previous, engine) } : undefined)
    this.reset()
    if (x0 !== undefined) this.#previous = { index, engine, x0 }
    return result
  }

  #onEngine(previous: Previous, engine: NativeEngine): NativeTensor {
    if (previous.engine !== engine) throw new TypeError('Expected all steps of a run on one device, but the sample moved to another')
    return previous.x0
  }

  override state(): Record<string, NativeTensor> {
    return this.#previous === undefined ? {} : { previous_x0: this.#previous.x0 }
  }

  override restore(state: Record<string, NativeTensor>, index: number, engine: NativeEngine): void {
    this.reset()
    const x0 = state['previous_x0']
    if (x0 !== undefined) this.#previous = { index: index - 1, engine, x0: copyOf(engine, x0) }
  }

  override reset(): void {
    this.#previous?.x0.dispose()
    this.#previous = undefined
  }
}
