// The noise schedule of ε models: β, and ᾱ = cumulative product of 1 − β, held in fp32 as the checkpoints were trained with it.

import { only, number, integer, anything } from './scheduler.js'
import type { KeyRule, SchedulerConfig } from './scheduler.js'

/** n numbers from `start` to `end` in fp32, counted from both ends as PyTorch does. */
function linspace32(start: number, end: number, n: number): Float32Array {
  const values = new Float32Array(n)
  const step = Math.fround((end - start) / (n - 1))
  for (let i = 0; i < n; i++) values[i] = i < n / 2 ? start + step * i : end - step * (n - 1 - i)
  return values
}

/** ᾱ of index 0 … n − 1: products of fp32 factors, rounded to fp32 each. */
export function cumulativeAlphas(config: SchedulerConfig): Float32Array {
  const n = config['num_train_timesteps'] as number
  const start = config['beta_start'] as number
  const end = config['beta_end'] as number
  const scaled = config['beta_schedule'] === 'scaled_linear'
  const line = scaled ? linspace32(Math.sqrt(start), Math.sqrt(end), n) : linspace32(Math.fround(start), Math.fround(end), n)
  const alphas = new Float32Array(n)
  let product = 1
  for (let i = 0; i < n; i++) {
    const beta = scaled ? Math.fround((line[i] ?? 0) ** 2) : (line[i] ?? 0)
    product *= Math.fround(1 - beta)
    alphas[i] = product
  }
  return alphas
}

/** Config keys that DDIM and DPM-Solver share. */
export const betaRules: Record<string, KeyRule> = {
  num_train_timesteps: integer(2, 100_000),
  beta_start: number(1e-9, 0.999),
  beta_end: number(1e-9, 0.999),
  beta_schedule: only('linear', 'scaled_linear'),
  trained_betas: only(null),
  prediction_type: only('epsilon'),
  thresholding: only(false),
  dynamic_thresholding_ratio: anything,
  sample_max_value: anything,
  steps_offset: integer(0, 1000),
  timestep_spacing: only('leading', 'trailing', 'linspace'),
  rescale_betas_zero_snr: only(false)
}

export const betaDefaults: SchedulerConfig = {
  num_train_timesteps: 1000,
  beta_start: 1e-4,
  beta_end: 0.02,
  beta_schedule: 'linear',
  prediction_type: 'epsilon',
  thresholding: false,
  steps_offset: 0,
  rescale_betas_zero_snr: false
}
