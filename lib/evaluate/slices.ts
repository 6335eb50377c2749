// Long loops over pixels in slices: other work of the process gets its turn every few milliseconds, and a signal ends them there.

import { setImmediate } from 'node:timers/promises'

/** Milliseconds of one slice. */
const SLICE_MS = 8

export class Slices {
  readonly #signal: AbortSignal | undefined
  #begun = performance.now()

  constructor(signal?: AbortSignal) {
    this.#signal = signal
  }

  /** Lets others go on when the slice is over. @throws the signal's reason */
  async turn(): Promise<void> {
    if (performance.now() - this.#begun < SLICE_MS) return
    await setImmediate()
    this.#signal?.throwIfAborted()
    this.#begun = performance.now()
  }

  /** `work` on rows [from, until) of a picture, some rows at a time. */
  async rows(height: number, width: number, work: (from: number, until: number) => void): Promise<void> {
    const block = Math.max(1, Math.ceil(8192 / width))
    for (let from = 0; from < height; from += block) {
      work(from, Math.min(height, from + block))
      await this.turn()
    }
  }
}
