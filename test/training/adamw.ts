// One update in float64: mean of the videos' gradients → norm → clip → AdamW → average (model.md §4, api.md "Trainer").
import type { Weights } from './t5.js'

export interface Recipe {
  learningRate: number
  backboneLearningRate: number
  weightDecay: number
  betas: readonly [number, number]
  maxGradNorm: number
  warmupSteps: number
  totalSteps: number
  decayFrom: number
  emaMax: number
}

/** Looked up or added, never multiplied. */
const withoutDecay = new Set(['y_embedding', 'global_tokens', 'scale_shift_table', 'shared.weight', 'relative_attention_bias.weight'])

export class Optimum {
  readonly weights: Weights
  readonly averages: Weights
  readonly #first: Weights
  readonly #second: Weights
  readonly #ranks: Map<string, number>
  readonly #recipe: Recipe
  #step = 0

  /** Weights that train, by name, with the number of their dimensions. */
  constructor(weights: Weights, ranks: Map<string, number>, recipe: Recipe) {
    const zeros = () => new Map([...weights].map(([name, { length }]) => [name, new Float64Array(length)] as const))
    this.weights = weights
    this.averages = new Map([...weights].map(([name, values]) => [name, values.slice()] as const))
    this.#first = zeros()
    this.#second = zeros()
    this.#ranks = ranks
    this.#recipe = recipe
  }

  update(gradients: Weights): { gradNorm: number; learningRate: number } {
    const { learningRate: highest, backboneLearningRate, weightDecay, betas, maxGradNorm, warmupSteps, totalSteps, decayFrom, emaMax } = this.#recipe
    const step = this.#step++
    const falls = decayFrom * totalSteps
    const share = Math.min(1, (step + 1) / warmupSteps) * (step <= falls ? 1 : (totalSteps - step) / (totalSteps - falls))
    let squares = 0
    for (const values of gradients.values()) for (const value of values) squares += value * value
    const gradNorm = Math.sqrt(squares)
    const clip = Math.min(1, maxGradNorm / (gradNorm + 1e-6))
    const ema = Math.min(emaMax, (1 + step) / (20 + step))
    for (const [name, w] of this.weights) {
      const rate = share * (name.startsWith('vin.') ? highest : backboneLearningRate)
      const decays = this.#ranks.get(name)! >= 2 && ![...withoutDecay].some((suffix) => name.endsWith(suffix))
      const [g, m, v, average] = [gradients, this.#first, this.#second, this.averages].map((all) => all.get(name)!) as [Float64Array, Float64Array, Float64Array, Float64Array]
      for (let i = 0; i < w.length; i++) {
        const gradient = clip * g[i]!
        m[i] = betas[0] * m[i]! + (1 - betas[0]) * gradient
        v[i] = betas[1] * v[i]! + (1 - betas[1]) * gradient * gradient
        const direction = m[i]! / (1 - betas[0] ** (step + 1)) / (Math.sqrt(v[i]! / (1 - betas[1] ** (step + 1))) + 1e-8)
        w[i] = w[i]! - rate * direction - rate * (decays ? weightDecay : 0) * w[i]!
        average[i] = ema * average[i]! + (1 - ema) * w[i]!
      }
    }
    return { gradNorm, learningRate: share * highest }
  }
}
