// Pixels as data sets hold them → pixels as the VAE takes them, and the clips that a VAE learns from, with a loss weight for every pixel.

import { types } from 'node:util'
import { checkPixels } from '../check.js'
import { expected, rangeError } from '../errors.js'
import type { TrainingExample, VideoPixels } from './dataset.js'

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

/** An example with a loss weight for every pixel [T,H,W]. */
export interface WeightedExample extends TrainingExample {
  weights?: Float32Array
}

/** Video frames of an example, and the weights of their pixels. */
export interface Clip {
  frames: VideoPixels
  weights: Float32Array | undefined
}

export function checkExample(example: WeightedExample): Clip {
  if (typeof example !== 'object' || example === null || example.frames === undefined) throw expected('frames in every example', 'VAETrainer', example, 'type')
  const frames = checkVideoPixels(example.frames)
  const { weights } = example
  const values = frames.data.length / 3
  if (weights !== undefined && !types.isFloat32Array(weights)) throw expected('a Float32Array', 'weights of an example', weights, 'type')
  if (weights !== undefined && weights.length !== values) throw expected(`${values} numbers, one for each pixel,`, 'weights of an example', weights, 'range')
  return { frames, weights }
}

/** Frames [begin, begin + length) of a clip. */
export function cut({ frames, weights }: Clip, begin: number, length: number): Clip {
  const [, height, width] = frames.shape
  const plane = height * width
  return {
    frames: { data: frames.data.subarray(begin * plane * 3, (begin + length) * plane * 3), shape: [length, height, width, 3] },
    weights: weights?.subarray(begin * plane, (begin + length) * plane)
  }
}

/** Clips one after another as one. */
export function concatenate(clips: readonly Clip[]): Clip {
  const first = clips[0]!
  const [, height, width] = first.frames.shape
  const frames = clips.reduce((sum, clip) => sum + clip.frames.shape[0], 0)
  const data = new Uint8Array(frames * height * width * 3)
  const weights = clips.some((clip) => clip.weights !== undefined) ? new Float32Array(frames * height * width).fill(1) : undefined
  let at = 0
  for (const clip of clips) {
    if (clip.frames.shape[1] !== height || clip.frames.shape[2] !== width) {
      throw expected(`frames of ${width}x${height}, as the others of the step`, 'VAETrainer', `${clip.frames.shape[2]}x${clip.frames.shape[1]}`, 'range')
    }
    data.set(clip.frames.data, at * 3)
    if (clip.weights !== undefined) weights?.set(clip.weights, at)
    at += clip.frames.shape[0] * height * width
  }
  return { frames: { data, shape: [frames, height, width, 3] }, weights }
}

/** Video frames that a latent frame stands for. */
const TEMPORAL_FACTOR = 4

/** Weight of a picture that was given: it must come back, and is one frame of a micro-batch. */
const GIVEN_WEIGHT = 4

/** The first or last frame of a clip, and its weights. */
export function pictureOf({ frames: { data, shape }, weights }: Clip, side: 'first' | 'last'): { data: Uint8Array; weights: Float32Array } {
  const plane = shape[1] * shape[2]
  const at = side === 'first' ? 0 : shape[0] - 1
  return { data: data.subarray(3 * at * plane, 3 * (at + 1) * plane), weights: weights?.subarray(at * plane, (at + 1) * plane) ?? new Float32Array(plane).fill(1) }
}

/** `frames` frames of one picture. */
export function standing(picture: Uint8Array, [, height, width]: VideoPixels['shape'], frames: number): VideoPixels {
  const repeated = new Uint8Array(frames * picture.length)
  for (let frame = 0; frame < frames; frame++) repeated.set(picture, frame * picture.length)
  return { data: repeated, shape: [frames, height, width, 3] }
}

/** What a clip that begins or ends with a picture of `source`, itself or another clip, is compared with. */
export function withPicture(clip: Clip, source: Clip, side: 'first' | 'last'): Clip {
  const frames = clip.frames.shape[0]
  const picture = pictureOf(source, side)
  const plane = picture.weights.length
  const data = clip.frames.data.slice()
  const weights = clip.weights?.slice() ?? new Float32Array(frames * plane).fill(1)
  const at = side === 'first' ? 0 : frames - 1
  const begin = side === 'first' || source === clip ? at : Math.max(0, frames - TEMPORAL_FACTOR)
  for (let frame = begin; frame <= at; frame++) {
    data.set(picture.data, 3 * frame * plane)
    weights.set(picture.weights, frame * plane)
  }
  for (let pixel = at * plane; pixel < (at + 1) * plane; pixel++) weights[pixel]! *= GIVEN_WEIGHT
  return { frames: { data, shape: clip.frames.shape }, weights }
}

/** Pixels along a side of what a 2D latent stands for. */
export const CELL = 8

/** Mean weight of the pixels that a 2D latent stands for: [T,H,W] → [T,⌊H/8⌋,⌊W/8⌋]. */
export function cellWeights(weights: Float32Array, [frames, height, width]: VideoPixels['shape']): Float32Array {
  const [rows, columns] = [Math.floor(height / CELL), Math.floor(width / CELL)]
  const means = new Float32Array(frames * rows * columns)
  for (let frame = 0; frame < frames; frame++) {
    for (let y = 0; y < rows * CELL; y++) {
      for (let x = 0; x < columns * CELL; x++) {
        means[(frame * rows + Math.floor(y / CELL)) * columns + Math.floor(x / CELL)]! += weights[(frame * height + y) * width + x]! / (CELL * CELL)
      }
    }
  }
  return means
}
