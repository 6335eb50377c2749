// What the decoders of a VAE learn to bear: latents as a transformer makes them, which are not those of a real video, and a last latent frame that was given as a
// picture (`lastImage`: the picture repeated over one micro-batch) behind latent frames of something that moves, or of something else.

import type { TensorData } from '../native/tensor.js'

/** Adds noise to a clip's latents [C,N,h,w]: `level` standard deviations of each channel, over the latent frames before `end`. `noise` is standard normal, of the same shape. */
export function disturbLatents({ data, shape }: TensorData, noise: Float32Array, level: number, end: number): void {
  const [channels, frames, height, width] = shape as [number, number, number, number]
  const plane = height * width
  const values = frames * plane
  for (let channel = 0; channel < channels; channel++) {
    const own = data.subarray(channel * values, (channel + 1) * values)
    const mean = own.reduce((sum, value) => sum + value, 0) / values
    const deviation = Math.sqrt(own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values)
    for (let at = 0; at < end * plane; at++) own[at]! += level * deviation * noise[channel * values + at]!
  }
}

/** Replaces the last latent frame of [C,N,h,w] by that of `other`, which has as many or fewer latent frames. */
export function replaceLastLatentFrame(latents: TensorData, other: TensorData): void {
  const [channels, frames, height, width] = latents.shape as [number, number, number, number]
  const otherFrames = other.shape[1]!
  const plane = height * width
  for (let channel = 0; channel < channels; channel++) {
    const from = ((channel + 1) * otherFrames - 1) * plane
    latents.data.set(other.data.subarray(from, from + plane), ((channel + 1) * frames - 1) * plane)
  }
}
