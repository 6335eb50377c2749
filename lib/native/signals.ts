// Several abort signals as one, without AbortSignal.any: that one keeps its sources' listeners as long as they live.

export interface LinkedSignal {
  signal: AbortSignal
  /** Aborts by itself. */
  abort(reason: unknown): void
  /** Stops listening to the sources. */
  release(): void
}

export function linkSignals(...sources: (AbortSignal | undefined)[]): LinkedSignal {
  const controller = new AbortController()
  const listeners: (() => void)[] = []
  for (const source of sources) {
    if (source === undefined) continue
    const stop = (): void => controller.abort(source.reason)
    if (source.aborted) stop()
    source.addEventListener('abort', stop, { once: true })
    listeners.push(() => source.removeEventListener('abort', stop))
  }
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    release: () => {
      for (const remove of listeners.splice(0)) remove()
    }
  }
}
