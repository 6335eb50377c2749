// What the loop tells its observers after a step, what a hook may answer, and how whatever the caller gave is called and waited for.

import { AsyncLocalStorage } from 'node:async_hooks'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { VinError, expected } from '../errors.js'
import { abortable } from '../native/cancel.js'
import { Scope, Tensor, checkShape, readNative, toNative, type TensorData } from '../native/tensor.js'
import { copyOf } from '../native/ops.js'
import type { StepEvent, StepResult } from '../options/generate.js'

/** A call into the caller's code that has not answered yet, and the ones around it. */
export interface HookCall {
  readonly owner: object
  active: boolean
  readonly outer: HookCall | undefined
}

const calls = new AsyncLocalStorage<HookCall>()

/** The call that this code runs in, if one of a hook is waited for. */
export function hookCall(): HookCall | undefined {
  let call = calls.getStore()
  while (call !== undefined && !call.active) call = call.outer
  return call
}

/** Whether a hook of `owner` waits for what runs in this call. */
export function isInside(call: HookCall | undefined, owner: object): boolean {
  for (let at = call; at !== undefined; at = at.outer) if (at.active && at.owner === owner) return true
  return false
}

/** Calls what the caller gave to a run of `owner`: onStep, onPreview, a text encoder, the next frame of a video. An answer that does not come loses against the signal. */
export async function callHook<R>(owner: object, signal: AbortSignal, hook: () => R | PromiseLike<R>): Promise<R> {
  const call: HookCall = { owner, active: true, outer: hookCall() }
  try {
    const answer = calls.run(call, hook)
    if (typeof answer !== 'object' || answer === null || !('then' in answer)) return answer
    // Awaited inside the call: a job that is returned knows who waits for it.
    return await abortable(calls.run(call, async () => answer), signal)
  } finally {
    call.active = false
  }
}

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
  computed: boolean
  etaMs: number
}

export function stepEvent(report: StepReport, latents: StepLatents): StepEvent {
  return { type: 'step', ...report, latents: () => latents.read() }
}

/**
What `onStep` returned, as latents on the engine; undefined: nothing was replaced. What is no tensor (the length that `push` returns) means nothing.

@throws RangeError for latents of another shape, TypeError for numbers without a shape
*/
export async function replacedLatents(engine: NativeEngine, answer: StepResult, shape: readonly number[], signal: AbortSignal): Promise<NativeTensor | undefined> {
  if (typeof answer !== 'object' || answer === null) return undefined
  // Numbers without their shape, or latents in a wrapping, are meant to replace: not to use them would go unseen.
  if (ArrayBuffer.isView(answer) || 'latents' in answer) throw expected('{ data, shape } or a Tensor', 'what onStep returned', answer, 'type')
  if (!('shape' in answer)) return undefined
  checkShape(answer, 'the latents returned by onStep', shape)
  if (!(answer instanceof Tensor)) return engine.upload(answer.data, answer.shape)
  // The caller keeps its handle, the loop gets a copy.
  const scope = new Scope()
  try {
    return copyOf(engine, await toNative(engine, answer, scope, signal))
  } finally {
    scope.dispose()
  }
}
