// What training reads: examples in an order that depends on integers alone, so that a resumed run sees what the undisturbed one would have seen.

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
}

/** Any async iterable of examples is a data set; one with `examples` can start anywhere, which makes resuming cheap. */
export interface Dataset<Example extends TrainingExample = TrainingExample> extends AsyncIterable<Example> {
  /** The examples of pass `epoch` from number `skip` on. */
  examples?(epoch: number, skip: number): AsyncIterable<Example>
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

async function* pass<Example extends TrainingExample>(dataset: Dataset<Example>, epoch: number, skip: number): AsyncGenerator<Example> {
  if (dataset.examples) {
    yield* dataset.examples(epoch, skip)
    return
  }
  let index = 0
  for await (const example of dataset) if (index++ >= skip) yield example
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

/** The example at one place. */
export async function exampleAt<Example extends TrainingExample>(dataset: Dataset<Example>, at: DatasetPosition): Promise<Example> {
  for await (const example of pass(dataset, at.epoch, at.taken)) return example
  throw new RangeError(`Expected an example ${at.taken} in pass ${at.epoch} of the data set, as when it was saved, but the data set is shorter now`)
}
