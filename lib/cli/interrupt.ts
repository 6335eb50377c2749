// Ctrl-C, a stopped service, a closed terminal: the first signal aborts the run, which then saves and ends by itself; a second one ends the process at once.

import { Interrupted, exitCodes } from './exit.js'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** npx hands on the Ctrl-C that the terminal has sent to both, and a closing terminal sends SIGHUP more than once: that is one wish. */
const SAME_WISH_MS = 500

export class StopOnSignal {
  readonly #abort = new AbortController()
  #first = 0
  readonly #handler = (name: NodeJS.Signals): void => {
    if (this.#abort.signal.aborted) {
      if (name !== 'SIGHUP' && performance.now() - this.#first > SAME_WISH_MS) process.exit(exitCodes.interrupted)
      return
    }
    this.#first = performance.now()
    // Nobody reads any more: what is still said must not end the process before it has saved.
    if (name === 'SIGHUP') for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
    process.stderr.write(`\nvin-native: stopping (${name}); once more to stop at once\n`)
    this.#abort.abort(new Interrupted('interrupted'))
  }

  constructor() {
    for (const name of signals) process.on(name, this.#handler)
  }

  /** Aborts as a signal does, without a word. */
  stop(): void {
    if (this.#abort.signal.aborted) return
    this.#first = performance.now()
    this.#abort.abort(new Interrupted('interrupted'))
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  dispose(): void {
    for (const name of signals) process.off(name, this.#handler)
  }
}
