// VAEs of random weights of which every one counts: an untrained one has norms of 1 and 0, which hide that they are left out.
import { VAE } from '../../lib/index.js'
import type { ModelOptions, TensorData } from '../../lib/index.js'
import type { Config } from '../../lib/native/binding.js'

/** Uniform numbers in [−1, 1), the same for the same seed: a 32-bit linear congruential generator, its bits mixed. */
function uniform(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d)
    return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 31 - 1
  }
}

/** Kernels that roughly keep the size of what goes through them, norms and biases far from 1 and 0, a shift and a scale per channel. */
export function countingWeights(weights: readonly { name: string; shape: number[] }[], seed: number): Record<string, TensorData> {
  const next = uniform(seed)
  const value = (name: string, inputs: number): number => {
    if (name === 'scale') return 1.5 + next()
    if (name.includes('norm') && name.endsWith('.weight')) return 1 + 0.5 * next()
    if (name === 'shift' || name.endsWith('.bias')) return 0.5 * next()
    return Math.sqrt(3 / inputs) * next()
  }
  return Object.fromEntries(
    weights.map(({ name, shape }) => {
      const inputs = shape.slice(1).reduce((product, size) => product * size, 1)
      return [name, { data: Float32Array.from({ length: shape.reduce((product, size) => product * size, 1) }, () => value(name, inputs)), shape }]
    })
  )
}

/** A VAE with such weights, and the weights. */
export async function countingVAE(config: Config, seed: number, options: ModelOptions = {}): Promise<{ vae: VAE; weights: Record<string, TensorData> }> {
  const vae = await VAE.fromConfig(config, { device: 'cpu', ...options })
  const weights = countingWeights(vae.weights(), seed)
  for (const [name, weight] of Object.entries(weights)) vae.writeWeight(name, weight)
  return { vae, weights }
}

/** Smooth moving pictures [3, T, H, W], without a random generator. */
export function pictures(T: number, H: number, W: number): TensorData {
  const data = new Float32Array(3 * T * H * W)
  let i = 0
  for (let c = 0; c < 3; c++) for (let t = 0; t < T; t++) for (let y = 0; y < H; y++) for (let x = 0; x < W; x++) data[i++] = Math.sin(0.31 * x + 0.17 * y * (c + 1) + 0.4 * t)
  return { data, shape: [3, T, H, W] }
}
