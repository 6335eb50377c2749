// What the loop tells its observers after a step, and what a hook may answer.

import { native } from '../errors.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { VinError } from '../errors.js'
import { Scope, Tensor, checkShape, readNative, toNative } from '../native/tensor.js'
import type { TensorData } from '../native/tensor.js'
import { copyOf } from '../native/ops.js'
import type { StepEvent, StepResult } from '../options/generate.js'

/** The latents of one step, kept for as long as somebody may still read them. */
export class StepLatents {
  readonly #tensor: NativeTensor
  #holders = 1
  #freed = false

  /** Takes the tensor over. */
  constructor(tensor: NativeTensor) {
    this.#tensor = tensor
  }

  get native(): NativeTensor {
    return this.#tensor
  }

  hold(): void {
    this.#holders++
  }

  release(): void {
    this.#holders--
    if (this.#holders > 0 || this.#freed) return
    this.#freed = true
    this.#tensor.dispose()
  }

  async read(): Promise<TensorData> {
    if (this.#freed) throw new VinError('ERR_VIN_DISPOSED', "Expected latents() before the next event is asked for, but this step's latents are gone")
    return readNative(this.#tensor)
  }
}

export interface StepReport {
  step: number
  numInferenceSteps: number
  timestep: number
  etaMs: number
}

export function stepEvent(report: StepReport, latents: StepLatents): StepEvent {
  return { type: 'step', ...report, latents: () => latents.read() }
}

/**
What `onStep` returned, as latents on the engine; undefined: nothing was replaced. What is no tensor (the length that `push` returns) means nothing.

@throws RangeError for latents of another shape
*/
export async function replacedLatents(engine: NativeEngine, answer: StepResult, shape: readonly number[]): Promise<NativeTensor | undefined> {
  if (typeof answer !== 'object' || answer === null || !('shape' in answer)) return undefined
  checkShape(answer, 'the latents returned by onStep', shape)
  if (!(answer instanceof Tensor)) return native(() => engine.upload(answer.data, answer.shape))
  // The caller keeps its handle, the loop gets a copy.
  const scope = new Scope()
  try {
    return copyOf(engine, await toNative(engine, answer, scope))
  } finally {
    scope.dispose()
  }
}
