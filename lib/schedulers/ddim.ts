// Denoising diffusion implicit models, for backbones that predict ε.
//   x0 = (x − √(1−ᾱ_t) ε)/√ᾱ_t        x_prev = √ᾱ_p x0 + √(1−ᾱ_p−σ²) ε + σ z        σ = η √((1−ᾱ_p)/(1−ᾱ_t)) √(1−ᾱ_t/ᾱ_p)
// ᾱ_p belongs to t − ⌊1000/n⌋, which is not always the next entry of the list.

import { checkInteger } from '../check.js'
import { rangeError, typeError } from '../errors.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { brand } from '../realms.js'
import { betaDefaults, betaRules, cumulativeAlphas } from './betas.js'
import { Scheduler, anything, checkConfig, combine, only } from './scheduler.js'
import type { NoiseTerms, SchedulerConfig, StepTerms } from './scheduler.js'
import { leading, linspace, trailing } from './spacing.js'

const rules = { ...betaRules, clip_sample: only(false), clip_sample_range: anything, set_alpha_to_one: only(true, false) }
const defaults = { ...betaDefaults, clip_sample: false, set_alpha_to_one: true, timestep_spacing: 'leading' }
/** What a file means that does not say it; in latents nothing is clipped. */
const fileDefaults = { clip_sample: true }

export class DDIMScheduler extends Scheduler {
  static {
    brand(this, 'DDIMScheduler')
  }

  readonly target = { sample: 0, noise: 1 } as const
  readonly discrete = true
  readonly #alphas: Float32Array
  #numInferenceSteps = 0

  /**
  From a diffusers config, or the path of one.

  @throws ERR_VIN_NOT_SUPPORTED naming the key that is not computed with: `clip_sample` too where a file does not say false, as it is true then
  */
  static fromConfig(config: SchedulerConfig | string = {}): DDIMScheduler {
    return new DDIMScheduler(checkConfig('DDIMScheduler', config, rules, defaults, fileDefaults))
  }

  private constructor(config: SchedulerConfig) {
    super(config)
    this.#alphas = cumulativeAlphas(config)
  }

  override setTimesteps(numInferenceSteps: number): void {
    const train = this.#alphas.length
    const n = checkInteger(numInferenceSteps, 'numInferenceSteps', 1, train)
    const { timestep_spacing: spacing, steps_offset: offset } = this.config
    const timesteps = spacing === 'leading' ? leading(train, n, n, Number(offset)) : spacing === 'trailing' ? trailing(train, n) : linspace(train - 1, n)
    if ((timesteps[0] ?? 0) >= train) throw rangeError(`Expected timesteps below ${train} but steps_offset ${String(offset)} with ${n} steps gives ${timesteps[0]}`)
    this.timesteps = timesteps
    this.#numInferenceSteps = n
  }

  override noiseTerms(timestep: number): NoiseTerms {
    const alpha = this.#alpha(checkInteger(timestep, 'timestep', 0, this.#alphas.length - 1))
    return { sample: Math.sqrt(alpha), noise: Math.sqrt(1 - alpha) }
  }

  #alpha(timestep: number): number {
    if (timestep >= 0) return this.#alphas[timestep] ?? NaN
    return this.config['set_alpha_to_one'] === true ? 1 : (this.#alphas[0] ?? NaN)
  }

  #terms(timestep: number, eta: number): StepTerms {
    const alpha = this.#alpha(timestep)
    const alphaPrevious = this.#alpha(timestep - Math.floor(this.#alphas.length / this.#numInferenceSteps))
    const sigma = eta * Math.sqrt((1 - alphaPrevious) / (1 - alpha)) * Math.sqrt(1 - alpha / alphaPrevious)
    const sample = Math.sqrt(alphaPrevious) / Math.sqrt(alpha)
    return { sample, output: Math.sqrt(1 - alphaPrevious - sigma * sigma) - sample * Math.sqrt(1 - alpha), noise: sigma }
  }

  override queueStep(engine: NativeEngine, output: NativeTensor, timestep: number, sample: NativeTensor, options: { eta?: number; noise?: NativeTensor } = {}): NativeTensor {
    if (this.#numInferenceSteps === 0) throw rangeError('Expected setTimesteps(n) before step, but no timesteps are set')
    const t = checkInteger(timestep, 'timestep', 0, this.#alphas.length - 1)
    const { eta = 0, noise } = options
    if (eta > 0 && noise === undefined) throw typeError('Expected a tensor for noise (eta is not 0) but received undefined')
    return combine(engine, this.#terms(t, eta), output, sample, noise)
  }
}
