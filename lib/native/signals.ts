// Abort signals: one listener on each, however many wait for it, and several signals as one, without AbortSignal.any: that one keeps what listens to
// a signal as long as the signal lives.

interface Waiting {
  callbacks: Set<() => void>
  listener: () => void
}

const waiting = new WeakMap<AbortSignal, Waiting>()

/** Calls back when the signal aborts; the result stops that. Many runs may share a signal: they add one listener to it, so that Node has nothing to warn of. */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (signal === undefined || signal.aborted) return () => {}
  const { callbacks, listener } = waiting.get(signal) ?? listenTo(signal)
  const call = (): void => callback()
  callbacks.add(call)
  return () => {
    if (!callbacks.delete(call) || callbacks.size > 0) return
    // Node keeps signals that somebody listens to.
    signal.removeEventListener('abort', listener)
    waiting.delete(signal)
  }
}

function listenTo(signal: AbortSignal): Waiting {
  const callbacks = new Set<() => void>()
  const listener = (): void => callbacks.forEach((each) => each())
  signal.addEventListener('abort', listener, { once: true })
  const entry = { callbacks, listener }
  waiting.set(signal, entry)
  return entry
}

export interface LinkedSignal {
  signal: AbortSignal
  /** Aborts by itself. */
  abort(reason: unknown): void
  /** Stops listening to the signals. */
  release(): void
}

export function linkSignals(...signals: (AbortSignal | undefined)[]): LinkedSignal {
  const controller = new AbortController()
  const releases = signals.map((signal) => {
    const stop = (): void => controller.abort(signal?.reason)
    if (signal?.aborted === true) stop()
    return onAbort(signal, stop)
  })
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    release: () => {
      for (const release of releases.splice(0)) release()
    }
  }
}
