// Pixels as data sets hold them → pixels as the VAE takes them.

import { types } from 'node:util'
import { checkPixels } from '../check.js'
import { expected, rangeError } from '../errors.js'
import type { VideoPixels } from './dataset.js'

/**
Pixels of an example, checked as the frames of `generate` are: uint8 RGB [T,H,W,3], H and W multiples of 8.

@throws TypeError or RangeError that says what came
*/
export function checkVideoPixels(value: unknown): VideoPixels {
  const what = '{ data, shape } with uint8 RGB pixels [T, H, W, 3]'
  if (typeof value !== 'object' || value === null) throw expected(what, 'frames', value, 'type')
  const { data, shape } = value as { data?: unknown; shape?: unknown }
  if (!types.isUint8Array(data)) throw expected('a Uint8Array (0 to 255, RGB)', 'frames.data', data, 'type')
  if (!Array.isArray(shape) || !shape.every((size) => typeof size === 'number')) throw expected('four numbers [T, H, W, 3]', 'frames.shape', shape, 'type')
  const [frames = 0, height = 0, width = 0, channels] = shape as number[]
  const found = `[${shape.join(', ')}]`
  if (shape.length !== 4 || channels !== 3) throw rangeError(`Expected [T, H, W, 3]${channels === 4 ? ' without an alpha channel' : ''} for frames.shape but received ${found}`)
  if (![frames, height, width].every((size) => Number.isInteger(size) && size >= 1)) throw rangeError(`Expected positive integers for frames.shape but received ${found}`)
  checkPixels(height, 'height', 65_536)
  checkPixels(width, 'width', 65_536)
  const values = frames * height * width * 3
  if (data.length !== values) throw rangeError(`Expected ${values} bytes for frames.data of shape ${found} but received ${data.length}`)
  return { data, shape: [frames, height, width, 3] }
}

/** uint8 RGB frames [T,H,W,3] → planes [3,T,H,W] in −1 … 1, as `vae.encode` takes them. */
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
