// Pixels as data sets hold them → pixels as the VAE takes them.

import type { VideoPixels } from './dataset.js'

/** uint8 [T,H,W,3] → planes [3,T,H,W] in −1 … 1. */
export function pixelPlanes({ data, shape }: VideoPixels): { data: Float32Array; shape: number[] } {
  const [frames, height, width] = shape
  const plane = frames * height * width
  const out = new Float32Array(3 * plane)
  for (let at = 0; at < plane; at++) {
    out[at] = data[3 * at]! / 127.5 - 1
    out[plane + at] = data[3 * at + 1]! / 127.5 - 1
    out[2 * plane + at] = data[3 * at + 2]! / 127.5 - 1
  }
  return { data: out, shape: [3, frames, height, width] }
}
