// Ctrl-C: the first one aborts the run, which then saves and ends by itself; the second one ends the process at once.

import { Interrupted, exitCodes } from './exit.js'

export class StopOnSignal {
  readonly #abort = new AbortController()
  readonly #handler = (name: NodeJS.Signals): void => {
    if (this.#abort.signal.aborted) process.exit(exitCodes.interrupted)
    process.stderr.write(`\nvin-native: stopping (${name}); once more to stop at once\n`)
    this.#abort.abort(new Interrupted('interrupted'))
  }

  constructor() {
    process.on('SIGINT', this.#handler)
    process.on('SIGTERM', this.#handler)
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  dispose(): void {
    process.off('SIGINT', this.#handler)
    process.off('SIGTERM', this.#handler)
  }
}
