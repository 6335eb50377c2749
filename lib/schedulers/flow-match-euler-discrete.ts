// Euler steps along the straight line x_t = (1 − σ) x0 + σ ε; the backbone predicts ε − x0.
//   S(u) = r u/(1 + (r−1) u)    σ = S(linspace(S(1), S(1/1000), n)), then 0    t = 1000 σ, not rounded    x += (σ_next − σ) · output

import { checkInteger, checkNumber } from '../check.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { brand } from '../realms.js'
import { Scheduler, anything, checkConfig, combine, integer, number, only } from './scheduler.js'
import type { NoiseTerms, SchedulerConfig } from './scheduler.js'

const rules = {
  num_train_timesteps: integer(2, 100_000),
  shift: number(1e-3, 1000),
  use_dynamic_shifting: only(false),
  base_shift: anything,
  max_shift: anything,
  base_image_seq_len: anything,
  max_image_seq_len: anything,
  invert_sigmas: only(false),
  shift_terminal: only(null),
  use_karras_sigmas: only(false),
  use_exponential_sigmas: only(false),
  use_beta_sigmas: only(false),
  time_shift_type: anything,
  stochastic_sampling: only(false)
}
const defaults = { num_train_timesteps: 1000, shift: 1, use_dynamic_shifting: false }

/** n numbers from `start` to `end` inclusive. */
function linspace(start: number, end: number, n: number): number[] {
  if (n === 1) return [start]
  return Array.from({ length: n }, (_, i) => (i === n - 1 ? end : start + (i * (end - start)) / (n - 1)))
}

export class FlowMatchEulerDiscreteScheduler extends Scheduler {
  static {
    brand(this, 'FlowMatchEulerDiscreteScheduler')
  }

  readonly target = { sample: -1, noise: 1 } as const
  readonly discrete = false
  #sigmas: number[] = []

  /** From a diffusers config, or the path of one. */
  static fromConfig(config: SchedulerConfig | string = {}): FlowMatchEulerDiscreteScheduler {
    return new FlowMatchEulerDiscreteScheduler(checkConfig('FlowMatchEulerDiscreteScheduler', config, rules, defaults))
  }

  private constructor(config: SchedulerConfig) {
    super(config)
  }

  #shifted(u: number): number {
    const shift = Number(this.config['shift'])
    return (shift * u) / (1 + (shift - 1) * u)
  }

  override setTimesteps(numInferenceSteps: number): void {
    const n = checkInteger(numInferenceSteps, 'numInferenceSteps', 1, 1000)
    this.#sigmas = [...linspace(this.#shifted(1), this.#shifted(1 / this.numTrainTimesteps), n).map((u) => this.#shifted(u)), 0]
    this.timesteps = this.#sigmas.slice(0, n).map((sigma) => sigma * this.numTrainTimesteps)
  }

  override noiseTerms(timestep: number): NoiseTerms {
    const sigma = checkNumber(timestep, 'timestep', 0, this.numTrainTimesteps) / this.numTrainTimesteps
    return { sample: 1 - sigma, noise: sigma }
  }

  override queueStep(engine: NativeEngine, output: NativeTensor, timestep: number, sample: NativeTensor): NativeTensor {
    const index = this.indexOf(timestep)
    return combine(engine, { sample: 1, output: (this.#sigmas[index + 1] ?? NaN) - (this.#sigmas[index] ?? NaN) }, output, sample)
  }
}
