// VBench's dynamic degree: does a video move? Every k-th frame, k = max(1, round(fps / 8)); a pair's score is the mean of the longest 5 % of its flow; it moves
// if enough pairs exceed a threshold that grows with the frame. methods.md §7.3.

import type { Picture } from '../video/index.js'
import type { Meter } from './meter.js'
import { roundHalfEven } from './rounding.js'
import { checkFlow } from './optical-flow.js'
import type { FlowField, OpticalFlow } from './optical-flow.js'

export interface DynamicDegree {
  /** 1 of VBench's 0 and 1. */
  moves: boolean
  /** For each pair of picked frames, pixels. */
  scores: number[]
  /** Pixels that a pair's score must exceed, and pairs that must. */
  threshold: number
  needed: number
  /** The optical flow it was measured with. VBench's is RAFT's. */
  flow: string
}

/** Video frames from one picked frame to the next. */
export function pickInterval(fps: number): number {
  return Math.max(1, roundHalfEven(fps / 8))
}

/** Pairs of n picked frames that must move. */
export function pairsNeeded(picked: number): number {
  return roundHalfEven((4 * picked) / 16)
}

/** Mean length of the longest 5 % of a flow. */
export function pairScore({ data, width, height }: FlowField): number {
  const pixels = width * height
  const lengths = new Float64Array(pixels)
  for (let at = 0; at < pixels; at++) lengths[at] = Math.hypot(data[at]!, data[pixels + at]!)
  const count = Math.max(1, Math.floor(0.05 * pixels))
  return lengths.sort().subarray(pixels - count).reduce((sum, length) => sum + length, 0) / count
}

/** Keeps one frame, and a number for each picked one. */
export class DynamicDegreeMeter implements Meter<DynamicDegree> {
  readonly #interval: number
  readonly #flow: OpticalFlow
  readonly #signal: AbortSignal | undefined
  readonly #scores: number[] = []
  #frames = 0
  #picked = 0
  #before: Picture | undefined
  #shorterSide = 0

  constructor(fps: number, flow: OpticalFlow, signal?: AbortSignal) {
    this.#interval = pickInterval(fps)
    this.#flow = flow
    this.#signal = signal
  }

  async add(frame: Picture): Promise<void> {
    if (this.#frames++ % this.#interval !== 0) return
    this.#picked += 1
    this.#shorterSide = Math.min(frame.width, frame.height)
    const before = this.#before
    this.#before = frame
    if (before === undefined) return
    this.#scores.push(pairScore(checkFlow(await this.#flow.estimate(before, frame, this.#signal), frame, false)))
  }

  get value(): DynamicDegree | undefined {
    if (this.#picked === 0) return undefined
    const threshold = (6 * this.#shorterSide) / 256
    const needed = pairsNeeded(this.#picked)
    const moving = this.#scores.filter((score) => score > threshold).length
    // Of one picked frame nothing is asked and nothing is seen.
    const moves = needed === 0 ? this.#scores.length > 0 : moving >= needed
    return { moves, scores: this.#scores, threshold, needed, flow: this.#flow.name }
  }
}
