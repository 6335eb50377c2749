// Random numbers of training and of the demo world, and their streams.

import { PhiloxRandom } from '../plan/random.js'

/** Streams that training draws from (model.md §6: 0x10000 … 0x7fffffff). `video` and `noise` are followed by one stream per video of the step. */
export const streams = {
  /** Parameters of demo-world videos; block = video. */
  world: 0x10000,
  /** Captions; block = use of a video. */
  caption: 0x10001,
  /** Order of a data set; block = epoch. */
  order: 0x10002,
  /** What is drawn once per step: bucket, timestep permutation. */
  step: 0x10003,
  /** VAE training: which frames, and the noise of the posterior sample. */
  pixels: 0x10004,
  posterior: 0x10005,
  /** Embeddings of words that are drawn anew; block = token id. */
  embedding: 0x10006,
  /** Noise of held-out videos; block = evaluation within a pass over them. */
  heldOut: 0x10007,
  /** Dropout, timestep and mask of video j of a step are stream `video + j`, its noise is stream `noise + j`; block = step. */
  video: 0x100000,
  noise: 0x200000
} as const

/** Noise of latents [C,N,H,W]; elements are drawn frame by frame (model.md §6), so the noise of a frame does not depend on how many follow. */
export function latentNoise(random: PhiloxRandom, shape: readonly [number, number, number, number]): Float32Array {
  const [channels, frames, height, width] = shape
  const plane = height * width
  const drawn = random.normals(channels * frames * plane)
  const out = new Float32Array(drawn.length)
  for (let frame = 0; frame < frames; frame++) {
    for (let channel = 0; channel < channels; channel++) {
      const from = (frame * channels + channel) * plane
      out.set(drawn.subarray(from, from + plane), (channel * frames + frame) * plane)
    }
  }
  return out
}
