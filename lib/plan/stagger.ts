// Chunks at different noise levels: each is some steps behind the one before it, so that the first are finished while the last are still noise.

import type { Chunk } from './chunks.js'

/** When each chunk takes its steps. One that owns only conditioning frames (mask 0) takes none, and nobody waits for it. */
export class Stagger {
  /** Steps of the run before a chunk begins; undefined: nothing of it is denoised. */
  readonly #delays: (number | undefined)[]
  readonly #numInferenceSteps: number
  /** Steps of the run: those of the schedule, and the delay of the last chunk. */
  readonly steps: number

  constructor(chunks: readonly Chunk[], stagger: number, numInferenceSteps: number, frameMask?: readonly number[]) {
    let live = 0
    this.#delays = chunks.map(({ start, end }) => (frameMask?.slice(start, end).includes(1) === false ? undefined : stagger * live++))
    this.#numInferenceSteps = numInferenceSteps
    this.steps = numInferenceSteps + stagger * Math.max(0, live - 1)
  }

  /** The step of the schedule that a chunk makes in a step of the run. Below 0: it has not begun; from the number of steps on: it is finished. */
  stepOf(chunk: number, step: number): number {
    const delay = this.#delays[chunk]
    return delay === undefined ? this.#numInferenceSteps : step - delay
  }

  /** Whether a chunk is evaluated in a step of the run. */
  isActive(chunk: number, step: number): boolean {
    const own = this.stepOf(chunk, step)
    return own >= 0 && own < this.#numInferenceSteps
  }

  /** Whether a chunk makes its first or its last step. */
  isEdge(chunk: number, step: number): boolean {
    const own = this.stepOf(chunk, step)
    return own === 0 || own === this.#numInferenceSteps - 1
  }
}
