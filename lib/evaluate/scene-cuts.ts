// Scene cuts as PySceneDetect finds them (0.6.6): the mean change of hue, saturation and value between neighbouring frames, and two rules over it. methods.md §7.2.

import type { Picture } from '../video/index.js'
import type { Meter } from './meter.js'
import { roundHalfEven } from './rounding.js'

/** Frames between two cuts. */
const LEAST_LENGTH = 15
/** Frames on each side that a score is compared with. */
const WINDOW = 2
const LEAST_RATIO = 3
const LEAST_SCORE = 15
const LONGEST_SIDE = 256

/** Factors of 2¹² by which 8-bit colours become saturations of 0 … 255 and hues of 0 … 180. */
const saturations = Int32Array.from({ length: 256 }, (_, value) => (value === 0 ? 0 : roundHalfEven((255 * 4096) / value)))
const hues = Int32Array.from({ length: 256 }, (_, range) => (range === 0 ? 0 : roundHalfEven((180 * 4096) / (6 * range))))

/** RGB → hue of 0 … 179 (two degrees each), saturation and value of 0 … 255, in integers. */
export function toHsv({ data }: Picture): Uint8Array {
  const hsv = new Uint8Array(data.length)
  for (let at = 0; at < data.length; at += 3) {
    const red = data[at]!
    const green = data[at + 1]!
    const blue = data[at + 2]!
    const value = Math.max(red, green, blue)
    const range = value - Math.min(red, green, blue)
    const sector = value === red ? green - blue : value === green ? blue - red + 2 * range : red - green + 4 * range
    const hue = (sector * hues[range]! + 2048) >> 12
    hsv[at] = hue < 0 ? hue + 180 : hue
    hsv[at + 1] = (range * saturations[value]! + 2048) >> 12
    hsv[at + 2] = value
  }
  return hsv
}

/** A frame whose longer side is above 256 pixels, scaled to that: linear samples in integers, cut off as OpenCV cuts them off. */
export function scaledDown(frame: Picture): Picture {
  const { data, width, height } = frame
  const longest = Math.max(width, height)
  if (longest <= LONGEST_SIDE) return frame
  const side = (size: number): number => Math.max(1, roundHalfEven((size * LONGEST_SIDE) / longest))
  const [toWidth, toHeight] = [side(width), side(height)]
  const columns = samplesOf(width, toWidth)
  const rows = samplesOf(height, toHeight)
  const result = new Uint8Array(toWidth * toHeight * 3)
  for (let y = 0; y < toHeight; y++) {
    const top = rows.first[y]! * width
    const bottom = rows.second[y]! * width
    for (let x = 0; x < toWidth; x++) {
      const left = columns.first[x]!
      const right = columns.second[x]!
      const share = columns.share[x]!
      for (let c = 0; c < 3; c++) {
        const above = (data[(top + left) * 3 + c]! * (2048 - share) + data[(top + right) * 3 + c]! * share) >> 4
        const below = (data[(bottom + left) * 3 + c]! * (2048 - share) + data[(bottom + right) * 3 + c]! * share) >> 4
        result[(y * toWidth + x) * 3 + c] = (((above * (2048 - rows.share[y]!)) >> 16) + ((below * rows.share[y]!) >> 16) + 2) >> 2
      }
    }
  }
  return { data: result, width: toWidth, height: toHeight }
}

/** For each of `count` samples of a row of `size` pixels, the two pixels that it lies between and the second one's share, in 2⁻¹¹. */
function samplesOf(size: number, count: number): { first: Int32Array; second: Int32Array; share: Int32Array } {
  const place = (i: number): number => Math.min(size - 1, Math.max(0, Math.fround((i + 0.5) * (size / count) - 0.5)))
  const first = Int32Array.from({ length: count }, (_, i) => Math.floor(place(i)))
  return { first, second: first.map((at) => Math.min(size - 1, at + 1)), share: first.map((at, i) => roundHalfEven((place(i) - at) * 2048)) }
}

/** s_t of one frame after another: the mean of the mean absolute differences of hue, saturation and value; 0 for the first. Keeps one small frame. */
export class ContentScores {
  #before: Uint8Array | undefined

  next(frame: Picture): number {
    const hsv = toHsv(scaledDown(frame))
    const before = this.#before
    this.#before = hsv
    if (before === undefined) return 0
    const sums = [0, 0, 0] as [number, number, number]
    for (let at = 0; at < hsv.length; at += 3) {
      sums[0] += Math.abs(hsv[at]! - before[at]!)
      sums[1] += Math.abs(hsv[at + 1]! - before[at + 1]!)
      sums[2] += Math.abs(hsv[at + 2]! - before[at + 2]!)
    }
    const pixels = hsv.length / 3
    return (sums[0] / pixels + sums[1] / pixels + sums[2] / pixels) / 3
  }
}

/** Cuts of scores s_t: where one is 3 times the mean of the four around it, and 15 at least. */
export class AdaptiveCuts {
  readonly cuts: number[] = []
  readonly #scores: number[] = []
  #frames = 0
  #last = 0

  /** The ratio of the frame two before, if it has four frames around it. */
  add(score: number): number | undefined {
    this.#scores.push(score)
    const frame = this.#frames++
    if (this.#scores.length < 2 * WINDOW + 1) return undefined
    const [a, b, target, c, d] = this.#scores as [number, number, number, number, number]
    this.#scores.shift()
    const mean = (a + b + c + d) / (2 * WINDOW)
    const ratio = Math.abs(mean) >= 1e-5 ? Math.min(target / mean, 255) : target >= LEAST_SCORE ? 255 : 0
    if (ratio >= LEAST_RATIO && target >= LEAST_SCORE && frame - this.#last >= LEAST_LENGTH) {
      this.#last = frame - WINDOW
      this.cuts.push(this.#last)
    }
    return ratio
  }
}

/**
Cuts of scores s_t: where one reaches the threshold and none of the 15 frames before it did. Frames above it that follow closer than that are one cut, after the
last of them, if they last 15 frames and end with 15 below it; before the first cut they are none.
*/
export class ContentCuts {
  readonly cuts: number[] = []
  readonly #threshold: number
  #frames = 0
  #lastAbove = 0
  /** The first frame of a run that is one cut. */
  #run: number | undefined

  constructor(threshold: number) {
    this.#threshold = threshold
  }

  add(score: number): void {
    const frame = this.#frames++
    const above = score >= this.#threshold
    const far = frame - this.#lastAbove >= LEAST_LENGTH
    if (above) this.#lastAbove = frame
    if (this.#run !== undefined) {
      if (above || !far || this.#lastAbove - this.#run < LEAST_LENGTH) return
      this.#run = undefined
      this.cuts.push(this.#lastAbove)
    } else if (above && far) this.cuts.push(frame)
    else if (above && this.cuts.length > 0) this.#run = frame
  }
}

/** First frames of new scenes, by the adaptive rule. Keeps one small frame and five scores. */
export class SceneCuts implements Meter<number[]> {
  readonly #scores = new ContentScores()
  readonly #cuts = new AdaptiveCuts()

  add(frame: Picture): void {
    this.#cuts.add(this.#scores.next(frame))
  }

  get value(): number[] {
    return this.#cuts.cuts
  }
}
