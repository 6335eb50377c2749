// Does what was shown look the same some seconds later? c(g) = mean f_a·f_b over all frames g seconds apart, f unit features. Frames of different videos are alike
// too: their mean is the floor, and (c(g) − floor) / (c(one frame) − floor) is what lasts. methods.md §7.5.

import { dot } from './consistency.js'

export interface IdentityOverGap {
  /** Seconds between two frames, as asked; those longer than the video are left out. */
  gaps: number[]
  /** c(g) of each gap. */
  similarity: number[]
  /** c of neighbouring frames. */
  oneFrame: number
  /** Mean of the unit features of all frames: the dot product of two videos' is the mean similarity of their frames. */
  meanFeature: number[]
  encoder: string
}

/** Keeps the unit features of as many frames as the longest gap has. */
export class IdentitySums {
  readonly #gaps: { seconds: number; frames: number; sum: number; count: number }[]
  readonly #recent: Float32Array[] = []
  #one = 0
  #frames = 0
  #total: Float64Array | undefined

  constructor(gaps: readonly number[], fps: number) {
    this.#gaps = gaps.map((seconds) => ({ seconds, frames: Math.max(1, Math.round(seconds * fps)), sum: 0, count: 0 }))
  }

  add(features: Float32Array): void {
    this.#frames += 1
    this.#total ??= new Float64Array(features.length)
    for (let at = 0; at < features.length; at++) this.#total[at]! += features[at]!
    const before = this.#recent.at(-1)
    if (before !== undefined) this.#one += dot(before, features)
    for (const gap of this.#gaps) {
      const earlier = this.#recent.at(-gap.frames)
      if (earlier === undefined) continue
      gap.sum += dot(earlier, features)
      gap.count += 1
    }
    this.#recent.push(features)
    if (this.#recent.length > Math.max(1, ...this.#gaps.map(({ frames }) => frames))) this.#recent.shift()
  }

  /** Undefined for fewer than two frames. */
  valueBy(encoder: string): IdentityOverGap | undefined {
    if (this.#frames < 2) return undefined
    const measured = this.#gaps.filter(({ count }) => count > 0)
    return {
      gaps: measured.map(({ seconds }) => seconds),
      similarity: measured.map(({ sum, count }) => sum / count),
      oneFrame: this.#one / (this.#frames - 1),
      meanFeature: Array.from(this.#total ?? [], (sum) => sum / this.#frames),
      encoder
    }
  }
}

/** Mean similarity of frames of different videos. @throws RangeError for fewer than two */
export function similarityFloor(videos: readonly Pick<IdentityOverGap, 'meanFeature'>[]): number | undefined {
  let [sum, pairs] = [0, 0]
  for (let i = 0; i < videos.length; i++) {
    for (let j = i + 1; j < videos.length; j++) {
      sum += dot(Float32Array.from(videos[i]!.meanFeature), Float32Array.from(videos[j]!.meanFeature))
      pairs += 1
    }
  }
  return pairs === 0 ? undefined : sum / pairs
}
