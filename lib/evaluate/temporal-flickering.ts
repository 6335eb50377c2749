// VBench's temporal flickering: (255 − mean over neighbours of mean |a − b|) / 255, of 8-bit RGB frames.

import type { Picture } from '../video/index.js'
import type { Meter } from './meter.js'

/** Mean |a − b| of all values of two frames. */
export function meanDifference(a: Uint8Array, b: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += Math.abs(a[at]! - b[at]!)
  return sum / a.length
}

/** Keeps one frame. */
export class TemporalFlickering implements Meter<number> {
  #before: Picture | undefined
  #sum = 0
  #pairs = 0

  add(frame: Picture): void {
    if (this.#before !== undefined) {
      this.#sum += meanDifference(this.#before.data, frame.data)
      this.#pairs += 1
    }
    this.#before = frame
  }

  /** Undefined without a pair of frames. */
  get value(): number | undefined {
    return this.#pairs === 0 ? undefined : (255 - this.#sum / this.#pairs) / 255
  }
}
