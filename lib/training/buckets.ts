// Videos of a batch have one length. Examples wait in the bucket of their length until it holds a batch.

import { rangeError } from '../errors.js'

/** The longest of `lengths` that fits into a video of `frames` latent frames. */
export function bucketLength(lengths: readonly number[], frames: number): number {
  const length = Math.max(...lengths.filter((candidate) => candidate <= frames))
  if (Number.isFinite(length)) return length
  throw rangeError(`Expected videos of at least ${Math.min(...lengths)} latent frames (lengths: ${lengths.join(', ')}) but received one of ${frames}; leave it out or add a shorter length`)
}

export interface BatchSizes {
  batchSize: number
  /** Latent frames of a batch: ⌊it / N⌋ videos, at least one. */
  latentFramesPerStep?: number | undefined
}

/** Videos of a batch of one length. */
export function videosPerBatch(length: number, { batchSize, latentFramesPerStep }: BatchSizes): number {
  return latentFramesPerStep === undefined ? batchSize : Math.max(1, Math.floor(latentFramesPerStep / length))
}

export interface Batch<T> {
  /** Latent frames of every video. */
  length: number
  items: T[]
}

export class Buckets<T> {
  readonly #sizes: BatchSizes
  readonly #waiting = new Map<number, T[]>()

  constructor(sizes: BatchSizes) {
    this.#sizes = sizes
  }

  /** Puts an item in; returns the batch that this completes. */
  add(length: number, item: T): Batch<T> | undefined {
    const items = this.#waiting.get(length) ?? []
    items.push(item)
    if (items.length < videosPerBatch(length, this.#sizes)) {
      this.#waiting.set(length, items)
      return undefined
    }
    this.#waiting.delete(length)
    return { length, items }
  }

  /** Items that wait, by length and in order. */
  waiting(): Batch<T>[] {
    return [...this.#waiting].map(([length, items]) => ({ length, items: [...items] }))
  }
}
