// What can be said of videos of a model without a VAE: of their latents alone.

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { seamsOver } from '../evaluate/seam-score.js'
import { bytesOf } from '../files/safetensors.js'
import type { Binding } from '../native/binding.js'
import type { TensorData } from '../native/tensor.js'
import { errorCode } from '../realms.js'
import type { CompareRow } from './row.js'

/** A name for embeddings: their shape and numbers. */
export function digestOf({ data, shape }: TensorData): string {
  return createHash('sha256').update(JSON.stringify(shape)).update(bytesOf(data)).digest('hex')
}

/** Seam score over the latent frames of [C, N, H, W]: mean absolute difference of neighbours. Undefined without a border. */
export function latentSeamScore({ data, shape }: TensorData, borders: readonly number[]): number | undefined {
  const [channels = 0, frames = 0, height = 0, width = 0] = shape
  const rows = height * width
  const differences = Array.from({ length: Math.max(0, frames - 1) }, (_, frame) => {
    let sum = 0
    for (let channel = 0; channel < channels; channel++) {
      const at = (channel * frames + frame) * rows
      for (let i = at; i < at + rows; i++) sum += Math.abs(data[i + rows]! - data[i]!)
    }
    return sum / (channels * rows)
  })
  return seamsOver(differences, borders)
}

/** Root mean square of a − b over that of b. */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, own] = [0, 0]
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2
    own += b[i]! ** 2
  }
  return Math.sqrt(difference / own)
}

/** Rows with how far their latents are from those of method 'full' of the same prompt, seed and length. What was read once is not read again. */
export class LatentDifferences {
  readonly #known = new Map<string, number | undefined>()
  readonly #binding: Pick<Binding, 'readSafetensors'>

  constructor(binding: Pick<Binding, 'readSafetensors'>) {
    this.#binding = binding
  }

  add(folder: string, rows: readonly CompareRow[]): CompareRow[] {
    const key = ({ frames, prompt, promptSha256, seed }: CompareRow): string => JSON.stringify([frames, prompt, promptSha256, seed])
    const full = new Map(rows.filter(({ method, latents }) => method === 'full' && latents !== undefined).map((row) => [key(row), row]))
    // Rows of one reference follow each other, so that it is read once.
    let read: { cell: string; data: ArrayLike<number> | undefined } | undefined
    const found = new Map<CompareRow, number>()
    for (const row of [...rows].sort((a, b) => (key(a) < key(b) ? -1 : 1))) {
      const reference = full.get(key(row))
      if (reference === undefined || row.latents === undefined || row.method === 'full') continue
      if (!this.#known.has(row.cell)) {
        if (read?.cell !== reference.cell) read = { cell: reference.cell, data: this.#read(join(folder, reference.latents!)) }
        const own = read.data === undefined ? undefined : this.#read(join(folder, row.latents))
        this.#known.set(row.cell, own === undefined || own.length !== read.data?.length ? undefined : relativeDifference(own, read.data))
      }
      const value = this.#known.get(row.cell)
      if (value !== undefined) found.set(row, value)
    }
    return rows.map((row) => (found.has(row) ? { ...row, latentScores: { ...row.latentScores, differenceToFull: found.get(row)! } } : row))
  }

  /** Undefined for a file that was taken away. */
  #read(file: string): ArrayLike<number> | undefined {
    try {
      return this.#binding.readSafetensors(file).tensors['latents']?.data
    } catch (error) {
      if (errorCode(error) === 'ERR_VIN_FORMAT' || errorCode(error) === 'ENOENT') return undefined
      throw error
    }
  }
}
