// VBench's form of subject and background consistency, with any encoder's features: how alike each frame is to the one before it and to the first. methods.md §7.3.
//   1/(n − 1) Σ_{i ≥ 1} ½ (max(0, f_{i−1}·f_i) + max(0, f_0·f_i)), f_i unit features

import { types } from 'node:util'
import { expected, rangeError } from '../errors.js'
import type { Picture } from '../video/index.js'

/** Makes features of frames. Numbers measured with different ones cannot be compared with each other. */
export interface FrameEncoder {
  /** Stands in every result. */
  name: string
  /** As many numbers for every frame, of any length as a vector. */
  encode(frame: Picture, signal?: AbortSignal): Float32Array | PromiseLike<Float32Array>
}

export interface Consistency {
  value: number
  /** The encoder of the features. VBench's are DINO for the subject and CLIP for the background: any other gives a number of VBench's form only. */
  encoder: string
  form: 'VBench-form'
}

/** The unit vector of a frame's features. */
export async function encodeFrame(encoder: FrameEncoder, frame: Picture, signal?: AbortSignal): Promise<Float32Array> {
  const features = await encoder.encode(frame, signal)
  if (!types.isFloat32Array(features) || features.length === 0) throw expected('a Float32Array of features', 'the result of encoder.encode', features, 'type')
  return unit(features)
}

function unit(features: Float32Array): Float32Array {
  let squares = 0
  for (const value of features) squares += value * value
  // PyTorch's bound.
  const length = Math.max(Math.sqrt(squares), 1e-12)
  return features.map((value) => value / length)
}

export function dot(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw rangeError(`Expected ${a.length} features of encoder.encode, as for the frames before, but received ${b.length}`)
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += a[at]! * b[at]!
  return sum
}

/** Sums over unit features in order. Keeps two of them. */
export class ConsistencySums {
  #first: Float32Array | undefined
  #before: Float32Array | undefined
  #sum = 0
  #count = 0

  add(features: Float32Array): void {
    if (this.#first === undefined || this.#before === undefined) this.#first = features
    else {
      this.#sum += (Math.max(0, dot(this.#before, features)) + Math.max(0, dot(this.#first, features))) / 2
      this.#count += 1
    }
    this.#before = features
  }

  /** Undefined for fewer than two frames. */
  get value(): number | undefined {
    return this.#count === 0 ? undefined : this.#sum / this.#count
  }
}
