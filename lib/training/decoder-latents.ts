// What the decoders of a VAE learn to bear: latents as a transformer makes them, which are not those of a real video, beside a first or last latent frame that was given
// as a picture (`image`, `lastImage`) and may show something else.

import type { TensorData } from '../native/tensor.js'

/** Adds noise to latent frames [begin, end) of a clip's latents [C,N,h,w]: `level` standard deviations of each channel of the clip. `noise` is standard normal, of the same shape. */
export function disturbLatents({ data, shape }: TensorData, noise: Float32Array, level: number, begin: number, end: number): void {
  const [channels, frames, height, width] = shape as [number, number, number, number]
  const plane = height * width
  const values = frames * plane
  for (let channel = 0; channel < channels; channel++) {
    const own = data.subarray(channel * values, (channel + 1) * values)
    const mean = own.reduce((sum, value) => sum + value, 0) / values
    const deviation = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values)
    for (let at = begin * plane; at < end * plane; at++) own[at]! += level * deviation * noise[channel * values + at]!
  }
}

/** Latent frame `at` of [C,N,h,w] becomes latent frame `from` of `other`. */
export function replaceLatentFrame(latents: TensorData, at: number, other: TensorData, from: number): void {
  const [channels, frames, height, width] = latents.shape as [number, number, number, number]
  const otherFrames = other.shape[1]!
  const plane = height * width
  for (let channel = 0; channel < channels; channel++) {
    const begin = (channel * otherFrames + from) * plane
    latents.data.set(other.data.subarray(begin, begin + plane), (channel * frames + at) * plane)
  }
}
