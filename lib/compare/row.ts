// A cell of a comparison, one video of one method, and the row that it becomes: a file of its own, which is whole or not there.

import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { VinError } from '../errors.js'
import { writeTextAtomically } from '../files/atomic-file.js'
import { readSmallFile } from '../files/small-file.js'
import type { Evaluation } from '../evaluate/index.js'
import type { TensorData } from '../native/tensor.js'
import { errorCode } from '../realms.js'
import type { ResolvedCompareOptions, Variant } from './options.js'

export interface Cell {
  id: string
  variant: Variant
  frames: number
  prompt: string
  /** Instead of encoding the prompt. */
  embeds?: PromptEmbeds | undefined
  seed: number
}

/** Embeddings [L, D] of a prompt, and their SHA-256. */
export interface PromptEmbeds {
  tensor: TensorData
  digest: string
}

/** What ran the work of a row. */
export interface RowRuntime {
  version: string
  device: string
  backend: string
  isa: string
  threads: number
}

export interface CompareRow {
  cell: string
  /** As it was said: 'vin:fusion=late'. */
  method: string
  frames: number
  prompt: string
  /** Of the embeddings that were given for the prompt. */
  promptSha256?: string
  seed: number
  runtime: RowRuntime
  /** Of the whole run, as planned; evaluations that `stepCache` left out count as computed. */
  flops: number
  skippedSteps: number
  /** Bytes: planned, by the dry run of an evaluation. */
  peakMemory: number
  /** Of sampling; absent where a killed run was gone on with. */
  seconds?: number
  /** Of decoding and measuring. */
  measuringSeconds?: number
  evaluation?: Evaluation
  /** Of a model without a VAE: what is measured of latents. */
  latentScores?: {
    /** Mean change at the borders of chunks over the median change of neighbouring latent frames. */
    seamScore?: number
    /** Root mean square of the difference to the latents of method 'full', over that of the latter; reports have it, a row's file does not. */
    differenceToFull?: number
  }
  /** The video, from the folder of the report. */
  video?: string
  /** Of a model without a VAE: the latents, from the folder of the report. */
  latents?: string
  /** Of methods with a VIN, of the first seed: where its heads look, as a picture, from the folder of the report. Its columns are these latent frames; rows are the video's frames, where there are any, and heads. */
  attention?: { picture: string; keyframes: number[]; heads: number }
  warnings: { code: string; message: string }[]
  /** Why there is no video: it did not fit into memory, or numbers stopped being finite. */
  failed?: { code: string; message: string }
}

export const CELLS = 'cells'
const ROW = 'row.json'
const maxRowBytes = 64 << 20

/** All cells, so that what is compared first is compared by all methods. */
export function cellsOf({ variants, prompts, embeds, seeds, frames }: Pick<ResolvedCompareOptions, 'variants' | 'prompts' | 'embeds' | 'seeds' | 'frames'>): Cell[] {
  return seeds.flatMap((seed) => prompts.flatMap((prompt) => frames.flatMap((count) => variants.map((variant) => cellOf(variant, count, prompt, seed, embeds.get(prompt))))))
}

export function cellOf(variant: Variant, frames: number, prompt: string, seed: number, embeds: PromptEmbeds | undefined): Cell {
  return { id: cellId(variant, frames, prompt, seed, embeds?.digest), variant, frames, prompt, embeds, seed }
}

/** A name that says what it is and is another one for everything that differs. */
function cellId(variant: Variant, frames: number, prompt: string, seed: number, embeds: string | undefined): string {
  const digest = createHash('sha256').update(JSON.stringify([variant.name, frames, prompt, seed, ...(embeds === undefined ? [] : [embeds])])).digest('hex').slice(0, 10)
  return `${variant.name.replace(/[^\w.-]+/g, '-').slice(0, 60)}-${frames}-${seed}-${digest}`
}

export async function writeRow(folder: string, row: CompareRow): Promise<void> {
  await writeTextAtomically(join(folder, CELLS, row.cell, ROW), JSON.stringify(row))
}

/** The row of a cell; undefined: it is not finished. */
export async function readRow(folder: string, cell: string): Promise<CompareRow | undefined> {
  const file = join(folder, CELLS, cell, ROW)
  try {
    const row = JSON.parse((await readSmallFile(file, maxRowBytes)).toString()) as CompareRow
    if (row?.cell === cell && typeof row.method === 'string') return row
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    if (errorCode(error) !== undefined) throw error
  }
  throw new VinError('ERR_VIN_FORMAT', `Expected a row of a comparison in ${file} but found something else; remove the file, and it is made again`, { file, expected: 'a row' })
}

/** All finished rows of a folder, in the order of their names. */
export async function readRows(folder: string): Promise<CompareRow[]> {
  const names = await readdir(join(folder, CELLS)).catch(() => [])
  const rows: CompareRow[] = []
  for (const name of names.sort()) {
    const row = await readRow(folder, name).catch((error: unknown) => {
      if (['ENOTDIR', 'ERR_VIN_FORMAT'].includes(errorCode(error) ?? '')) return undefined
      throw error
    })
    if (row !== undefined) rows.push(row)
  }
  return rows
}
