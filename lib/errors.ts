// Every error a user can meet: VinError with a stable code, and RangeError / TypeError for wrong arguments. Native code throws them itself: lib/native/load.ts
// gives it the classes.

import { brand } from './realms.js'

export type VinErrorCode =
  | 'ERR_VIN_FORMAT'
  | 'ERR_VIN_MISSING_COMPONENT'
  | 'ERR_VIN_NOT_SUPPORTED'
  | 'ERR_VIN_OUT_OF_MEMORY'
  | 'ERR_VIN_BACKEND_UNAVAILABLE'
  | 'ERR_VIN_DEVICE'
  | 'ERR_VIN_NONFINITE'
  | 'ERR_VIN_DISPOSED'
  | 'ERR_VIN_QUEUE_FULL'
  | 'ERR_VIN_RESUME_MISMATCH'
  | 'ERR_VIN_DISK'

/**
What went wrong outside the caller's arguments. `details` holds the fields that belong to the code, for example `{ file, tensor, expected, found }`.

`error instanceof VinError` holds for errors of every copy of the library in the process: its ES module and its CommonJS build, a bundled one, one of a test's own
realm. So it is with all classes of the library.
*/
export class VinError extends Error {
  static {
    brand(this, 'VinError')
  }

  readonly code: VinErrorCode
  readonly details: Record<string, unknown>

  constructor(code: VinErrorCode, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options)
    this.name = 'VinError'
    this.code = code
    this.details = details
  }
}

export type ArgumentErrorCode = 'ERR_OUT_OF_RANGE' | 'ERR_INVALID_ARG_TYPE'

function withCode<E extends Error>(error: E, code: ArgumentErrorCode): E & { code: ArgumentErrorCode } {
  return Object.assign(error, { code })
}

/** A RangeError: right type, wrong value. */
export function rangeError(message: string): RangeError & { code: ArgumentErrorCode } {
  return withCode(new RangeError(message), 'ERR_OUT_OF_RANGE')
}

/** A TypeError: wrong type, unknown name, or options that exclude each other. */
export function typeError(message: string): TypeError & { code: ArgumentErrorCode } {
  return withCode(new TypeError(message), 'ERR_INVALID_ARG_TYPE')
}

/** Refuses `new` of a class whose objects functions make: JavaScript sees no private constructor. */
export function checkMade(isMade: boolean, className: string, how: string): void {
  if (!isMade) throw typeError(`Expected ${how} but received new ${className}(…), which nobody outside calls`)
}

/** `Expected an integer from 1 to 4096 for numFrames but received 1e9`: a TypeError when the type is wrong, else a RangeError. */
export function expected(what: string, name: string, received: unknown, kind: 'type' | 'range'): Error {
  const message = `Expected ${what} for ${name} but received ${show(received)}`
  return kind === 'type' ? typeError(message) : rangeError(message)
}

/** A value in as few characters as a sentence bears: 1e9, "16", an array of 3, a Float32Array of 12. */
export function show(value: unknown): string {
  if (typeof value === 'number') {
    const plain = String(value)
    const far = Number.isFinite(value) && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)
    const scientific = far ? value.toExponential().replace('e+', 'e') : plain
    return scientific.length < plain.length ? scientific : plain
  }
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (ArrayBuffer.isView(value)) {
    const length = 'length' in value ? ` of ${String(value.length)}` : ''
    return `a ${value.constructor.name}${length}`
  }
  if (typeof value === 'object' && value !== null) return `an object (${Object.getPrototypeOf(value)?.constructor?.name ?? 'null prototype'})`
  return String(value)
}

/** Number of single-character insertions, deletions, replacements and neighbour swaps between two words. */
export function editDistance(a: string, b: string): number {
  let twoBack: number[] = []
  let back = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replace = (back[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let best = Math.min(replace, (back[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, (twoBack[j - 2] ?? 0) + 1)
      row.push(best)
    }
    twoBack = back
    back = row
  }
  return back[b.length] ?? 0
}

/** Words of a name: numFrames and num-frames are alike. */
const wordsOf = (name: string): string => name.replace(/([a-z])([A-Z])/g, '$1-$2').toLowerCase()

/** Edit distance, but a beginning of a name, or a name with words before it, is near however long the rest. */
function distanceOf(name: string, known: string): [distance: number, edits: number] {
  const [a, b] = [wordsOf(name), wordsOf(known)]
  const edits = editDistance(a, b)
  const [short, long] = a.length < b.length ? [a, b] : [b, a]
  const isPart = short.length > 2 && (long.startsWith(short) || long.endsWith(`-${short}`))
  return [isPart ? Math.min(edits, 1) : edits, edits]
}

/** The known name nearest to a misspelt one. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = [Infinity, Infinity]
  for (const candidate of known) {
    const distances = distanceOf(name, candidate)
    if (distances[0] > least[0]! || (distances[0] === least[0] && distances[1] >= least[1]!)) continue
    best = candidate
    least = distances
  }
  return best
}

/** The nearest name, where it may have been meant: a third of its letters may be others. */
export function near(name: string, known: readonly string[]): string | undefined {
  const best = nearest(name, known)
  return best !== undefined && distanceOf(name, best)[0] <= Math.max(1, Math.round(name.length / 3)) ? best : undefined
}

/** The reason an aborted signal gives, as fetch has it. */
export function abortReason(signal?: AbortSignal): unknown {
  return signal?.aborted === true ? signal.reason : new DOMException('This operation was aborted', 'AbortError')
}

export function missingComponent(component: string, message: string): VinError {
  return new VinError('ERR_VIN_MISSING_COMPONENT', message, { component })
}

export function notSupported(what: string, message: string): VinError {
  return new VinError('ERR_VIN_NOT_SUPPORTED', message, { name: what })
}

/** Work of a step: numbers that stopped being finite in it say so in `details.step`. */
export async function inStep<T>(step: number, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof VinError && error.code === 'ERR_VIN_NONFINITE') error.details['step'] = step
    throw error
  }
}
