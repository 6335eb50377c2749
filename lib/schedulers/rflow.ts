// Open-Sora 1.2's own sampler: rectified flow with a timestep transform that depends on the size of the video; the backbone predicts v = x0 − ε.
//   u_i = 1 − i/n    t_i = 1000 · r u/(1 + (r−1) u),  r = √(height · width/512²) · √(latent frames)    z += v · (t_i − t_{i+1})/1000
// Training draws u uniformly or logit-normally and transforms it the same way.

import { checkInteger, checkNumber } from '../check.js'
import { typeError } from '../errors.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { brand } from '../realms.js'
import { Scheduler, anything, checkConfig, combine, integer, number, only } from './scheduler.js'
import type { NoiseTerms, SchedulerConfig, TimestepSize } from './scheduler.js'

const rules = {
  num_train_timesteps: integer(2, 100_000),
  num_timesteps: only(1000),
  num_sampling_steps: anything,
  cfg_scale: anything,
  use_discrete_timesteps: only(false),
  use_timestep_transform: only(true, false),
  // How training draws u; sampling does not depend on it.
  sample_method: only('uniform', 'logit-normal'),
  loc: number(-20, 20),
  scale: number(1e-6, 20),
  transform_scale: only(1)
}
const defaults = { num_train_timesteps: 1000, use_discrete_timesteps: false, use_timestep_transform: true }
/** What a file means that does not say it, as upstream. */
const fileDefaults = { use_timestep_transform: false }

/** r u/(1 + (r − 1) u): 0 and 1 stay, r above 1 moves times towards noise. */
function transformed(u: number, r: number): number {
  return (r * u) / (1 + (r - 1) * u)
}

export class RFlowScheduler extends Scheduler {
  static {
    brand(this, 'RFlowScheduler')
  }

  readonly target = { sample: 1, noise: -1 } as const
  readonly discrete = false

  /** From a config, or the path of one; the timestep transform is on unless the config, or a file by its silence, says no. */
  static fromConfig(config: SchedulerConfig | string = {}): RFlowScheduler {
    return new RFlowScheduler(checkConfig('RFlowScheduler', config, rules, defaults, fileDefaults))
  }

  private constructor(config: SchedulerConfig) {
    super(config)
  }

  /** @throws TypeError when the timestep transform is on and height, width or latentFrames is missing */
  override setTimesteps(numInferenceSteps: number, size: TimestepSize = {}): void {
    const n = checkInteger(numInferenceSteps, 'numInferenceSteps', 1, 1000)
    const r = this.#ratio(size)
    this.timesteps = Array.from({ length: n }, (_, i) => this.numTrainTimesteps * transformed(1 - i / n, r))
  }

  override get timestepSampling(): 'uniform' | { mean: number; std: number } {
    const { sample_method: method, loc = 0, scale = 1 } = this.config
    return method === 'logit-normal' ? { mean: Number(loc), std: Number(scale) } : 'uniform'
  }

  override trainingNoiseLevel(drawn: number, size: TimestepSize): number {
    return transformed(drawn, this.#ratio(size))
  }

  /** The r of a video; 1, which changes nothing, without the timestep transform. */
  #ratio({ height, width, latentFrames }: TimestepSize): number {
    if (this.config['use_timestep_transform'] !== true) return 1
    if (height === undefined || width === undefined || latentFrames === undefined) {
      throw typeError('Expected { height, width, latentFrames } for setTimesteps of RFlowScheduler, whose timestep transform depends on them')
    }
    checkNumber(height, 'height', 1, 1e6)
    checkNumber(width, 'width', 1, 1e6)
    checkInteger(latentFrames, 'latentFrames', 1, 1e6)
    return Math.sqrt((height * width) / (512 * 512)) * Math.sqrt(latentFrames)
  }

  override noiseTerms(timestep: number): NoiseTerms {
    const t = checkNumber(timestep, 'timestep', 0, this.numTrainTimesteps) / this.numTrainTimesteps
    return { sample: 1 - t, noise: t }
  }

  override queueStep(engine: NativeEngine, output: NativeTensor, timestep: number, sample: NativeTensor): NativeTensor {
    const index = this.indexOf(timestep)
    const next = this.timesteps[index + 1] ?? 0
    return combine(engine, { sample: 1, output: ((this.timesteps[index] ?? NaN) - next) / this.numTrainTimesteps }, output, sample)
  }
}
