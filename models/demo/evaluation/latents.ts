// Latents [C, N, H, W] as plain data: parts of them in time, and noise.

import type { TensorData } from 'vin-native'

/** Latent frames [begin, end). */
export function latentFrames({ data, shape }: TensorData, begin: number, end: number): TensorData {
  const [channels = 0, frames = 0, height = 0, width = 0] = shape
  const plane = height * width
  const out = new Float32Array(channels * (end - begin) * plane)
  for (let channel = 0; channel < channels; channel++) out.set(data.subarray((channel * frames + begin) * plane, (channel * frames + end) * plane), channel * (end - begin) * plane)
  return { data: out, shape: [channels, end - begin, height, width] }
}

/** Frames before `border` from one, those from it on from another. */
export function spliced(before: TensorData, after: TensorData, border: number): TensorData {
  const [channels = 0, frames = 0, height = 0, width = 0] = before.shape
  const plane = height * width
  const data = before.data.slice()
  for (let channel = 0; channel < channels; channel++) {
    const [from, to] = [(channel * frames + border) * plane, (channel + 1) * frames * plane]
    data.set(after.data.subarray(from, to), from)
  }
  return { data, shape: before.shape }
}

/** x_t = sample · x_0 + noise · ε. */
export function noisy(x0: TensorData, noise: Float32Array, terms: { sample: number; noise: number }): TensorData {
  return { data: x0.data.map((value, at) => terms.sample * value + terms.noise * noise[at]!), shape: x0.shape }
}
