// Seam score: how much more than elsewhere a video changes where its chunks meet. Mean difference of the frames on both sides of the borders over the median
// difference of neighbouring frames; 1 is no seam. methods.md §7.2.

import type { Picture } from '../video/index.js'
import type { Meter } from './meter.js'
import { meanDifference } from './temporal-flickering.js'

/** Keeps one frame, and a number for each. */
export class SeamScore implements Meter<number> {
  readonly #borders: readonly number[]
  readonly #differences: number[] = []
  #before: Picture | undefined

  /** @param borders first video frame of every chunk but the first */
  constructor(borders: readonly number[]) {
    this.#borders = borders
  }

  add(frame: Picture): void {
    if (this.#before !== undefined) this.#differences.push(meanDifference(this.#before.data, frame.data))
    this.#before = frame
  }

  get value(): number | undefined {
    return seamsOver(this.#differences, this.#borders)
  }
}

/** Of the difference of each frame but the first to the one before it. Undefined without a border in the video, and where most neighbouring frames are equal. */
export function seamsOver(differences: readonly number[], borders: readonly number[]): number | undefined {
  const seams = differences.filter((_, at) => borders.includes(at + 1))
  const sorted = [...differences].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return seams.length === 0 || median === 0 ? undefined : seams.reduce((a, b) => a + b, 0) / seams.length / median
}
