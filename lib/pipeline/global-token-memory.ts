// Latent self-conditioning of RIN (arXiv 2212.11972; methods.md §6): the global tokens of each step go on from those of the step before, Z_init + LN(MLP(Z_before)).
// Where there is none before, the learned ones stand alone. Each guidance branch has its own.

import type { Transformer } from '../models/transformer.js'
import type { EvaluationRequest, NativeTensor } from '../native/binding.js'
import { filled } from '../native/ops.js'
import { readNative, type TensorData } from '../native/tensor.js'
import { branchesOf } from './step-cache.js'

export class GlobalTokenMemory {
  readonly #transformer: Transformer
  #tokens: NativeTensor | undefined
  #written = false

  constructor(transformer: Transformer) {
    this.#transformer = transformer
  }

  /** The request of a step, which reads what the step before has written. */
  apply(request: EvaluationRequest): EvaluationRequest {
    const { num_global_tokens: G = 0, dim = 0 } = this.#transformer.config.vin ?? {}
    this.#tokens ??= filled(this.#transformer.engine.native, [branchesOf(request), G, dim], 0)
    const readsMemory = this.#written
    this.#written = true
    return { ...request, memory: this.#tokens, readsMemory }
  }

  /** What a run that goes on needs. */
  async state(): Promise<Record<string, TensorData>> {
    return this.#tokens === undefined || !this.#written ? {} : { tokens: await readNative(this.#tokens) }
  }

  restore({ tokens }: Record<string, TensorData>): void {
    if (tokens === undefined) return
    this.#tokens = this.#transformer.engine.native.upload(tokens.data, tokens.shape)
    this.#written = true
  }

  dispose(): void {
    this.#tokens?.dispose()
  }
}
