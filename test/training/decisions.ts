// What a training step decides, once more: model.md §4 and the order of draws that lib/training/trainer.ts states, on the random numbers of philox.ts.
import { Draws, noiseOf } from './philox.js'

/** Streams of training, lib/training/random.ts; block = step. */
const STEP = 0x10003
const VIDEO = 0x100000
const NOISE = 0x200000

export interface Sampling {
  /** { mean, std } of a logit-normal distribution; absent: uniform. */
  logitNormal?: { mean: number; std: number }
  /** Integers below 1000, else real numbers. */
  discrete: boolean
  /** r of opensora.md §2.1, where RFlow transforms times. */
  transform: boolean
}

export interface Shares {
  textDropout: number
  globalTokenDropout: number
  /** In the order in which model.md §4 lists the patterns. */
  maskRatios: [name: string, ratio: number][]
}

export interface Decision {
  timestep: number
  textDropped: boolean
  tokensDropped: boolean
  pattern: string | undefined
  /** 1 = denoised, 0 = conditioning; absent: all denoised. */
  frameMask: number[] | undefined
  noise: Float32Array
}

/** Φ(x) = ½ + Σ (−1)^k x^(2k+1) / (2^k k! (2k+1)) / √2π: terms up to e^(x²/2), so 1e-10 is left of fp64 at |x| = 5. */
export function normalDistribution(x: number): number {
  let term = x
  let sum = x
  for (let k = 1; k < 200; k++) {
    term *= (-x * x) / (2 * k)
    sum += term / (2 * k + 1)
  }
  return 0.5 + sum / Math.sqrt(2 * Math.PI)
}

/** Φ⁻¹ by bisection. */
function inverseNormal(p: number): number {
  let [low, high] = [-5, 5]
  for (let halving = 0; halving < 60; halving++) {
    const middle = (low + high) / 2
    if (normalDistribution(middle) < p) low = middle
    else high = middle
  }
  return (low + high) / 2
}

/** Video j takes u = (π(j) + U)/B; U lies in the middle of its 2⁻³², so that it is never 0. */
export function noiseLevels(seed: bigint, step: number, videos: number, { logitNormal }: Sampling): number[] {
  const draws = new Draws(seed, STEP, step)
  const inside = () => (draws.word() + 0.5) / 2 ** 32
  if (logitNormal === undefined) return Array.from({ length: videos }, inside)
  return draws.permutation(videos).map((stratum) => 1 / (1 + Math.exp(-logitNormal.mean - logitNormal.std * inverseNormal((stratum + inside()) / videos))))
}

/** Where chunks begin, model.md §1. */
export function chunkStarts(frames: number, chunkFrames: number, contextFrames: number): number[] {
  const starts = Array.from({ length: Math.ceil(frames / chunkFrames) }, (_, i) => i * chunkFrames)
  if (starts.length > 1 && frames - starts.at(-1)! < contextFrames) starts.pop()
  return starts
}

function maskOf(draws: Draws, pattern: string, frames: number, starts: readonly number[]): number[] | undefined {
  if (frames === 1) return undefined
  const all = [...Array(frames).keys()]
  const except = (clean: (frame: number) => boolean) => all.map((frame) => (clean(frame) ? 0 : 1))
  const run = () => (pattern.startsWith('quarter') ? 1 + draws.below(Math.max(1, Math.floor(frames / 4))) : 1)
  switch (pattern) {
    case 'random': {
      const share = 0.1 + 0.8 * draws.uniform()
      const clean = all.map(() => draws.uniform() < share)
      return except((frame) => clean[frame]! && frame < frames - 1)
    }
    case 'interpolate': {
      const first = draws.below(2)
      return except((frame) => frame % 2 === first)
    }
    case 'chunks': {
      if (starts.length === 1) return undefined
      let clean: boolean[]
      do clean = starts.map(() => draws.uniform() < 0.5)
      while (clean.every(Boolean) || !clean.some(Boolean))
      return except((frame) => clean[starts.filter((start) => start <= frame).length - 1]!)
    }
    case 'quarterRandom':
    case 'imageRandom': {
      const length = run()
      const begin = draws.below(frames - length + 1)
      return except((frame) => frame >= begin && frame < begin + length)
    }
    default: {
      const length = run()
      const [head, tail] = [/Head/.test(pattern), /Tail$/.test(pattern)]
      return except((frame) => (head && frame < length) || (tail && frame >= frames - length))
    }
  }
}

/** Everything that is drawn for video `video` of `step`, from the noise level it was given. */
export function decide(
  seed: bigint, step: number, video: number, level: number, shape: readonly [number, number, number, number], starts: readonly number[], sampling: Sampling, shares: Shares
): Decision {
  const [, frames, height, width] = shape
  const draws = new Draws(seed, VIDEO + video, step)
  const textDropped = draws.uniform() < shares.textDropout
  const tokensDropped = draws.uniform() < shares.globalTokenDropout
  const lot = draws.uniform()
  let edge = 0
  const pattern = shares.maskRatios.find(([, ratio]) => lot < (edge += ratio))?.[0]
  const r = sampling.transform ? Math.sqrt(((8 * height * 8 * width) / 512 ** 2) * frames) : 1
  const sigma = (r * level) / (1 + (r - 1) * level)
  return {
    timestep: sampling.discrete ? Math.floor(1000 * sigma) : 1000 * sigma,
    textDropped,
    tokensDropped,
    pattern,
    frameMask: pattern === undefined ? undefined : maskOf(draws, pattern, frames, starts),
    noise: noiseOf(new Draws(seed, NOISE + video, step), shape)
  }
}
