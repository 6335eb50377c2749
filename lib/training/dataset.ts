// What training reads: examples in an order that depends on integers alone, so that a resumed run sees what the undisturbed one would have seen.

import { types } from 'node:util'
import type { TensorData } from '../native/tensor.js'

/** Pixels of one video: uint8 RGB [T,H,W,3]. */
export interface VideoPixels {
  data: Uint8Array
  shape: [number, number, number, number]
}

/** Latents of one video [C,N,H,W], after shift and scale. */
export interface VideoLatents {
  data: Float32Array
  shape: [number, number, number, number]
}

/** One video with its caption: pixels (encoded by the pipeline's VAE) or latents. */
export interface TrainingExample {
  prompt: string
  frames?: VideoPixels
  latents?: VideoLatents
  /** [L, D], instead of the text encoder's rows for the prompt. */
  promptEmbeds?: TensorData
  /**
  Video frames per second.

  @default the model's
  */
  fps?: number
  /** [K] What the global tokens are to tell of the whole video, for `globalFeatureWeight`: attributes as 0 and 1, or features of an encoder, of about that size. */
  globalFeatures?: ArrayLike<number>
}

/** Something about the data that is worth knowing; `code` is stable. */
export interface TrainingWarning {
  code: string
  message: string
}

/** What training asks of a data set. */
export interface DatasetNeeds {
  /**
  Video frames of the shortest example that can be used.

  @default 1
  */
  minFrames?: number | undefined
  signal?: AbortSignal | undefined
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined
}

/** One clip of a data set as it was found. */
export interface Clip {
  /** Path below the data set's folder, with '/'. */
  file: string
  prompt: string
  /** Pixels of the file; absent where it cannot be read. */
  width?: number
  height?: number
  /** Video frames that can be read, at the data set's rate. */
  frames: number
  use: 'training' | 'held out' | 'left out'
  /** Why it is left out. */
  reason?: string
  /** It is left out for its length alone. */
  short?: boolean
  /** It is used as far as it can be read: what is wrong with it. */
  damage?: string
}

export interface DatasetReport {
  clips: Clip[]
  warnings: TrainingWarning[]
  needs: { minFrames: number }
}

/** Any async iterable of examples is a data set; one with `examples` can start anywhere, which makes resuming cheap. */
export interface Dataset<Example extends TrainingExample = TrainingExample> extends AsyncIterable<Example> {
  /** The examples of pass `epoch` from number `skip` on. */
  examples?(epoch: number, skip: number): AsyncIterable<Example>
  /** Looks at every example before training: what cannot be used is left out from then on, and reported. */
  prepare?(needs: DatasetNeeds): Promise<DatasetReport>
}

/** At most so many files are named in a sentence. */
const named = 12

function list(clips: readonly Clip[], what: (clip: Clip) => string | undefined): string {
  const shown = clips.slice(0, named).map((clip) => `${clip.file} (${what(clip)})`)
  return `${shown.join(', ')}${clips.length > named ? ` and ${clips.length - named} more` : ''}`
}

/** What a report has to say, in at most one sentence of a kind. */
export function warnAbout({ clips, warnings }: DatasetReport): TrainingWarning[] {
  const out = clips.filter(({ use }) => use === 'left out')
  const damaged = clips.filter(({ use, damage }) => use !== 'left out' && damage !== undefined)
  return [
    ...(out.length === 0 ? [] : [{ code: 'clips-left-out', message: `${out.length} of ${clips.length} clips are left out: ${list(out, ({ reason }) => reason)}` }]),
    ...(damaged.length === 0 ? [] : [{ code: 'damaged-video', message: `${damaged.length} of ${clips.length} clips are used as far as they can be read: ${list(damaged, ({ damage }) => damage)}` }]),
    ...warnings
  ]
}

/** Where a reader stands: examples taken so far in the present pass. */
export interface DatasetPosition {
  epoch: number
  taken: number
}

/** An example and the place it came from. */
export interface Numbered<Example> {
  example: Example
  at: DatasetPosition
}

/** The same example with arrays of its own: a data set may fill the same ones again and again, while its examples wait for their batch. */
function withOwnNumbers<Example extends TrainingExample>(example: Example): Example {
  if (typeof example !== 'object' || example === null) return example
  const copy = (value: unknown): unknown => {
    if (types.isFloat32Array(value)) return new Float32Array(value)
    if (types.isUint8Array(value)) return new Uint8Array(value)
    return typeof value === 'object' && value !== null && 'data' in value ? { ...value, data: copy(value.data) } : value
  }
  return { ...example, ...Object.fromEntries(Object.entries(example).map(([name, value]) => [name, copy(value)])) }
}

async function* pass<Example extends TrainingExample>(dataset: Dataset<Example>, epoch: number, skip: number): AsyncGenerator<Example> {
  if (dataset.examples) {
    yield* dataset.examples(epoch, skip)
    return
  }
  let index = 0
  for await (const example of dataset) if (index++ >= skip) yield withOwnNumbers(example)
}

/** Pass after pass without end. A data set that yields nothing is an error. */
export async function* endless<Example extends TrainingExample>(dataset: Dataset<Example>, from: DatasetPosition = { epoch: 0, taken: 0 }): AsyncGenerator<Numbered<Example>> {
  let { epoch, taken } = from
  for (;;) {
    const before = taken
    for await (const example of pass(dataset, epoch, taken)) {
      const at = { epoch, taken }
      taken += 1
      yield { example, at }
    }
    if (taken === 0 || (before === 0 && taken === before)) throw new RangeError('Expected a data set with at least one example but received an empty one')
    epoch += 1
    taken = 0
  }
}

/** Ends the reading. After an abort nobody waits for it: the data set may be what does not answer. */
export async function letGo(reader: AsyncGenerator<unknown>, signal: AbortSignal | undefined): Promise<void> {
  const ended = reader.return(undefined)
  if (signal?.aborted === true) ended.catch(() => {})
  else await ended
}

/** The example at one place. */
export async function exampleAt<Example extends TrainingExample>(dataset: Dataset<Example>, at: DatasetPosition): Promise<Example> {
  for await (const example of pass(dataset, at.epoch, at.taken)) return example
  throw new RangeError(`Expected an example ${at.taken} in pass ${at.epoch} of the data set, as when it was saved, but the data set is shorter now`)
}
