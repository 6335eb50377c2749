// One atomic flag per job, raised when the job's signal aborts.

import { native } from '../errors.js'
import type { NativeCancel, NativeEngine } from './binding.js'

export interface BoundCancel {
  flag: NativeCancel
  /** Stops listening to the signal. */
  release(): void
}

export function bindCancel(engine: NativeEngine, signal: AbortSignal | undefined): BoundCancel {
  const flag = native(() => engine.createCancel())
  const raise = (): void => flag.cancel()
  if (signal?.aborted === true) raise()
  signal?.addEventListener('abort', raise, { once: true })
  return { flag, release: () => signal?.removeEventListener('abort', raise) }
}

/** `promise`, or the signal's reason as soon as it aborts. Work that goes on behind it is not waited for. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  signal.throwIfAborted()
  let stop = (): void => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
    promise.catch(() => {})
    aborted.catch(() => {})
  }
}
