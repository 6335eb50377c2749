// Open-Sora 1.2's own sampler: rectified flow with a timestep transform that depends on the size of the video; the backbone predicts v = x0 − ε.
//   u_i = 1 − i/n    t_i = 1000 · r u/(1 + (r−1) u),  r = √(height · width/512²) · √(latent frames)    z += v · (t_i − t_{i+1})/1000

import { typeError } from '../errors.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { checkInteger, checkNumber } from '../options/check.js'
import { Scheduler, anything, checkConfig, combine, integer, only, readSchedulerConfig } from './scheduler.js'
import type { NoiseTerms, SchedulerConfig, TimestepSize } from './scheduler.js'

const rules = {
  num_train_timesteps: integer(2, 100_000),
  num_timesteps: only(1000),
  num_sampling_steps: anything,
  cfg_scale: anything,
  use_discrete_timesteps: only(false),
  use_timestep_transform: only(true, false),
  // How training draws times; sampling does not depend on it.
  sample_method: anything,
  loc: anything,
  scale: anything,
  transform_scale: only(1)
}
const defaults = { num_train_timesteps: 1000, use_discrete_timesteps: false, use_timestep_transform: true }

export class RFlowScheduler extends Scheduler {
  readonly target = { sample: 1, noise: -1 } as const
  readonly discrete = false

  /** From a config, or the path of one. */
  static fromConfig(config: SchedulerConfig | string = {}): RFlowScheduler {
    return new RFlowScheduler(checkConfig('RFlowScheduler', readSchedulerConfig(config), rules, defaults))
  }

  private constructor(config: SchedulerConfig) {
    super(config)
  }

  get #train(): number {
    return Number(this.config['num_train_timesteps'])
  }

  /** @throws TypeError when the timestep transform is on and height, width or latentFrames is missing */
  override setTimesteps(numInferenceSteps: number, size: TimestepSize = {}): void {
    const n = checkInteger(numInferenceSteps, 'numInferenceSteps', 1, 1000)
    const r = this.config['use_timestep_transform'] === true ? this.#ratio(size) : 1
    this.timesteps = Array.from({ length: n }, (_, i) => {
      const u = 1 - i / n
      return (this.#train * r * u) / (1 + (r - 1) * u)
    })
  }

  #ratio({ height, width, latentFrames }: TimestepSize): number {
    if (height === undefined || width === undefined || latentFrames === undefined) {
      throw typeError('Expected { height, width, latentFrames } for setTimesteps of RFlowScheduler, whose timestep transform depends on them')
    }
    checkNumber(height, 'height', 1, 1e6)
    checkNumber(width, 'width', 1, 1e6)
    checkInteger(latentFrames, 'latentFrames', 1, 1e6)
    return Math.sqrt((height * width) / (512 * 512)) * Math.sqrt(latentFrames)
  }

  override noiseTerms(timestep: number): NoiseTerms {
    const t = checkNumber(timestep, 'timestep', 0, this.#train) / this.#train
    return { sample: 1 - t, noise: t }
  }

  override queueStep(engine: NativeEngine, output: NativeTensor, timestep: number, sample: NativeTensor): NativeTensor {
    const index = this.indexOf(timestep)
    const next = this.timesteps[index + 1] ?? 0
    return combine(engine, { sample: 1, output: ((this.timesteps[index] ?? NaN) - next) / this.#train }, output, sample)
  }
}
