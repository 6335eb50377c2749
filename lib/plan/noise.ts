// FreeNoise's rescheduling, methods.md §3: the noise of the first window's frames, then each block of them again in a random order.

import { PhiloxRandom } from './random.js'

/** Of the permutations; the noise itself is stream 0. */
const STREAM = 0x5f

/** The largest divisor of the window that is at most a quarter of it, or 1. */
export function strideOf(window: number): number {
  let stride = Math.max(1, Math.floor(window / 4))
  while (window % stride !== 0) stride--
  return stride
}

/** For each latent frame the one whose noise it has. Every window of `window` frames that begins at a multiple of the stride holds the noise of each of the first frames once. */
export function rescheduledNoise(latentFrames: number, window: number, seed: number | bigint): number[] {
  const stride = strideOf(window)
  const random = new PhiloxRandom(seed, STREAM)
  const sources = Array.from({ length: Math.min(latentFrames, window) }, (_, frame) => frame)
  while (sources.length < latentFrames) {
    const begin = sources.length - window
    for (const place of random.permutation(stride)) if (sources.length < latentFrames) sources.push(sources[begin + place]!)
  }
  return sources
}
