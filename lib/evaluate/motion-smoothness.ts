// VBench's motion smoothness: odd frames are left out and interpolated from the even ones; (255 − mean |interpolated − true|) / 255. methods.md §7.3.

import { types } from 'node:util'
import { expected } from '../errors.js'
import type { Picture } from '../video/index.js'
import type { Meter } from './meter.js'
import { estimateFlow } from './optical-flow.js'
import { Slices } from './slices.js'

/** Makes the frame between two. Numbers measured with different ones cannot be compared with each other. */
export interface FrameInterpolator {
  /** Stands in every result. */
  name: string
  /** RGB of 0 … 255, [height, width, 3], of the moment in the middle; values are clipped and truncated as VBench does. */
  between(before: Picture, after: Picture, signal?: AbortSignal): ArrayLike<number> | PromiseLike<ArrayLike<number>>
}

export interface MotionSmoothness {
  value: number
  /** What made the frames that were left out. VBench's is AMT-S. */
  interpolator: string
}

/** Both frames moved half the way to each other along the built-in flow, and averaged. */
export const builtInInterpolator: FrameInterpolator = {
  name: 'built-in',
  async between(before, after, signal) {
    const { data } = await estimateFlow(before, after, signal)
    const { width, height } = before
    const pixels = width * height
    const result = new Float32Array(3 * pixels)
    await new Slices(signal).rows(height, width, (begin, end) => {
      for (let y = begin; y < end; y++) {
        for (let x = 0; x < width; x++) {
          const at = y * width + x
          const u = data[at]! / 2
          const v = data[pixels + at]! / 2
          for (let c = 0; c < 3; c++) result[3 * at + c] = 0.5 * (sample(before, x - u, y - v, c) + sample(after, x + u, y + v, c))
        }
      }
    })
    return result
  }
}

/** Bilinear; beyond the frame its border goes on. */
function sample({ data, width, height }: Picture, placeX: number, placeY: number, c: number): number {
  const x = Math.min(width - 1, Math.max(0, placeX))
  const y = Math.min(height - 1, Math.max(0, placeY))
  const left = Math.floor(x)
  const top = Math.floor(y)
  const right = Math.min(width - 1, left + 1)
  const bottom = Math.min(height - 1, top + 1)
  const above = data[(top * width + left) * 3 + c]! * (1 - x + left) + data[(top * width + right) * 3 + c]! * (x - left)
  const below = data[(bottom * width + left) * 3 + c]! * (1 - x + left) + data[(bottom * width + right) * 3 + c]! * (x - left)
  return above * (1 - y + top) + below * (y - top)
}

/** Keeps two frames. */
export class MotionSmoothnessMeter implements Meter<MotionSmoothness> {
  readonly #interpolator: FrameInterpolator
  readonly #signal: AbortSignal | undefined
  #frames = 0
  #even: Picture | undefined
  #odd: Picture | undefined
  #sum = 0
  #count = 0

  constructor(interpolator: FrameInterpolator, signal?: AbortSignal) {
    this.#interpolator = interpolator
    this.#signal = signal
  }

  async add(frame: Picture): Promise<void> {
    if (this.#frames++ % 2 === 1) {
      this.#odd = frame
      return
    }
    const before = this.#even
    this.#even = frame
    if (before === undefined || this.#odd === undefined) return
    const predicted = await this.#interpolator.between(before, frame, this.#signal)
    const { data } = this.#odd
    if ((!types.isTypedArray(predicted) && !Array.isArray(predicted)) || predicted.length !== data.length) {
      throw expected(`${data.length} numbers (RGB, ${frame.width} × ${frame.height})`, 'the result of interpolator.between', predicted, 'type')
    }
    let sum = 0
    for (let at = 0; at < data.length; at++) sum += Math.abs(Math.trunc(Math.min(255, Math.max(0, predicted[at]!))) - data[at]!)
    this.#sum += sum / data.length
    this.#count += 1
  }

  /** Undefined for fewer than three frames. */
  get value(): MotionSmoothness | undefined {
    return this.#count === 0 ? undefined : { value: (255 - this.#sum / this.#count) / 255, interpolator: this.#interpolator.name }
  }
}
