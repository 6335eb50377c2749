// One atomic flag per job, raised when the job's signal aborts; and waits that end with the signal, whatever they wait for.

import { isAbort } from '../realms.js'
import type { NativeCancel, NativeEngine } from './binding.js'
import { onAbort } from './signals.js'

export interface BoundCancel {
  flag: NativeCancel
  /** Stops listening to the signal. */
  release(): void
}

/** @see withCancel */
export function bindCancel(engine: NativeEngine, signal: AbortSignal | undefined): BoundCancel {
  const flag = engine.createCancel()
  const raise = (): void => flag.cancel()
  if (signal?.aborted === true) raise()
  return { flag, release: onAbort(signal, raise) }
}

/** Runs work whose native calls carry a flag that the signal raises. Native code knows that flag alone: what it has stopped ends here with the signal's reason. */
export async function withCancel<T>(engine: NativeEngine, signal: AbortSignal | undefined, work: (cancel: NativeCancel) => Promise<T>): Promise<T> {
  const { flag, release } = bindCancel(engine, signal)
  try {
    return await work(flag)
  } catch (error) {
    throw signal?.aborted === true && isAbort(error) ? signal.reason : error
  } finally {
    release()
  }
}

/** `promise`, or the signal's reason as soon as it aborts. Work that goes on behind it is not waited for, and its failure is nobody's. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  promise.catch(() => {})
  signal.throwIfAborted()
  let release = (): void => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    release = onAbort(signal, () => reject(signal.reason))
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    release()
  }
}

/** A call into the caller's code: an answer that does not come loses against the signal. */
export async function abortableCall<R>(call: () => R | PromiseLike<R>, signal: AbortSignal | undefined): Promise<R> {
  return abortable((async () => call())(), signal)
}

/** Waits for `promise`, but no longer than so many milliseconds; what comes of it later is nobody's. */
export async function settledOrLate(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  promise.catch(() => {})
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds)))
  try {
    await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/**
The items of `source`, until it ends or the signal aborts. A source that does not answer is not waited for then, neither for an item nor for its `return()`.
`ask` makes the calls.
*/
export async function* abortableItems<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal | undefined,
  ask: <R>(call: () => Promise<R>) => Promise<R> = (call) => abortable(call(), signal)
): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]()
  let open = true
  try {
    for (;;) {
      open = false
      const { done, value } = await ask(async () => iterator.next()).catch((error: unknown) => {
        open = signal?.aborted === true
        throw error
      })
      if (done === true) return
      open = true
      yield value
    }
  } finally {
    if (open) {
      const ended = (async () => iterator.return?.())()
      if (signal?.aborted === true) ended.catch(() => {})
      else await abortable(ended, signal)
    }
  }
}
