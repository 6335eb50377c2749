// Evaluations that are left out (methods.md §9). What the blocks of the transformer add to their input is kept from one step to the next. Where the input of the
// first block has hardly moved, it is added again in place of blocks and VIN. One decision holds for all chunks and both guidance branches, so no result depends on
// their order.

import type { Transformer } from '../models/transformer.js'
import type { EvaluationRequest, NativeEngine, NativeTensor } from '../native/binding.js'
import { copyOf, filled, relativeChange } from '../native/ops.js'
import { readNative, type TensorData } from '../native/tensor.js'
import { ChangeCounter, openSoraPolynomial, stepCacheThreshold, type StepCacheOption } from '../plan/step-cache.js'

/** Told how much the input of the first block has changed since the step before, and how much what the blocks add. */
export type ChangeListener = (input: number, added: number) => void

/** The cache of a run's option; undefined where every step is computed. */
export function stepCacheOf(option: StepCacheOption, transformer: Transformer, changed?: ChangeListener): StepCache | undefined {
  const threshold = stepCacheThreshold(option)
  if (threshold === undefined) return undefined
  const counter = new ChangeCounter(threshold, transformer.config.step_cache_polynomial ?? openSoraPolynomial)
  return new StepCache(transformer.engine.native, transformer, counter, changed)
}

/** Evaluations that guidance puts together. */
export function branchesOf({ negativeText, guidanceScale = 1, streaming }: Pick<EvaluationRequest<unknown>, 'negativeText' | 'guidanceScale' | 'streaming'>): number {
  const anchorScale = streaming?.anchor === undefined ? 0 : (streaming.anchorGuidanceScale ?? 1)
  const texts = [guidanceScale - anchorScale, anchorScale].filter((share) => share !== 0).length
  return negativeText === undefined ? Math.max(1, texts) : texts + 1
}

/** Numbers [branches, rows] that the residuals of an evaluation have, each as wide as the transformer. */
function residualRows(request: EvaluationRequest<{ readonly shape: readonly number[] }>): [number, number] {
  const { latents, chunks } = request
  const [, , height = 0, width = 0] = latents.shape
  const frames = chunks.reduce((sum, { first, end }) => sum + end - first, 0)
  return [branchesOf(request), frames * Math.ceil(height / 2) * Math.ceil(width / 2)]
}

/** Bytes that a cache holds beside the evaluations: residuals, and three inputs of the first block while two are compared. */
export function stepCacheBytes(request: EvaluationRequest<{ readonly shape: readonly number[] }>, width: number): number {
  const [branches, rows] = residualRows(request)
  const [, frames = 0, H = 0, W = 0] = request.latents.shape
  return 4 * width * (branches * rows + 3 * frames * Math.ceil(H / 2) * Math.ceil(W / 2))
}

/** Of one pass over the schedule, whose steps all have the same chunks. */
export class StepCache {
  readonly #engine: NativeEngine
  readonly #transformer: Transformer
  readonly #counter: ChangeCounter
  #residuals: NativeTensor | undefined
  #input: NativeTensor | undefined
  readonly #changed: ChangeListener | undefined
  /** For the listener: residuals of the step before last, and how the input of the last one had changed. */
  #earlier: NativeTensor | undefined
  #change: number | undefined

  constructor(engine: NativeEngine, transformer: Transformer, counter: ChangeCounter, changed?: ChangeListener) {
    this.#engine = engine
    this.#transformer = transformer
    this.#counter = counter
    this.#changed = changed
  }

  /** The request of a step, which computes or goes on with what is kept: a chunk's first step and its last are computed. Waits for the step before it. */
  async apply(request: EvaluationRequest, isEdge: boolean): Promise<EvaluationRequest> {
    const input = this.#transformer.native.firstInput(request)
    const before = this.#input
    this.#input = input
    let change: number | undefined
    try {
      if (before !== undefined) change = await relativeChange(this.#engine, input, before)
    } finally {
      before?.dispose()
    }
    if (this.#changed !== undefined) await this.#tell(this.#changed, change)
    this.#residuals ??= filled(this.#engine, [...residualRows(request), this.#transformer.config.hidden_size], 0)
    return { ...request, residuals: this.#residuals, reuseResiduals: !this.#counter.next(change, isEdge) }
  }

  async #tell(changed: ChangeListener, change: number | undefined): Promise<void> {
    if (this.#residuals === undefined) return
    if (this.#earlier !== undefined && this.#change !== undefined) changed(this.#change, await relativeChange(this.#engine, this.#residuals, this.#earlier))
    this.#earlier?.dispose()
    this.#earlier = copyOf(this.#engine, this.#residuals)
    this.#change = change
  }

  /** What a run that goes on needs. */
  async state(): Promise<Record<string, TensorData>> {
    if (this.#input === undefined || this.#residuals === undefined) return {}
    const accumulated = { data: Float32Array.of(this.#counter.accumulated), shape: [1] }
    return { input: await readNative(this.#input), residuals: await readNative(this.#residuals), accumulated }
  }

  restore({ input, residuals, accumulated }: Record<string, TensorData>): void {
    if (input === undefined || residuals === undefined) return
    this.#input = this.#engine.upload(input.data, input.shape)
    this.#residuals = this.#engine.upload(residuals.data, residuals.shape)
    this.#counter.accumulated = accumulated?.data[0] ?? 0
  }

  dispose(): void {
    for (const tensor of [this.#residuals, this.#input, this.#earlier]) tensor?.dispose()
  }
}
