// Every error a user can meet: VinError with a stable code, and RangeError / TypeError for wrong arguments. The table from native codes is at the end.

import type { NativeError } from './native/binding.js'
import { brand, errorCode } from './realms.js'

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

/** The known name nearest to a misspelt one. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Infinity
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
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

export interface NativeContext {
  /** Its reason replaces VIN_ABORTED. */
  signal?: AbortSignal | undefined
  /** Sampling step in progress: joins ERR_VIN_NONFINITE. */
  step?: number | undefined
}

const nativeCodes: Record<string, VinErrorCode> = {
  VIN_NOT_SUPPORTED: 'ERR_VIN_NOT_SUPPORTED',
  VIN_OUT_OF_MEMORY: 'ERR_VIN_OUT_OF_MEMORY',
  VIN_DEVICE_ERROR: 'ERR_VIN_DEVICE',
  VIN_NONFINITE: 'ERR_VIN_NONFINITE',
  VIN_FORMAT: 'ERR_VIN_FORMAT',
  VIN_MISSING_COMPONENT: 'ERR_VIN_MISSING_COMPONENT',
  VIN_DISPOSED: 'ERR_VIN_DISPOSED',
  VIN_DISK: 'ERR_VIN_DISK'
}

function isNativeError(error: unknown): error is NativeError {
  return errorCode(error)?.startsWith('VIN_') === true
}

/** What native code threw, as the error the caller documents. Anything that is not native passes through unchanged. */
export function fromNative(error: unknown, context: NativeContext = {}): unknown {
  if (!isNativeError(error)) return error
  if (error.code === 'VIN_ABORTED') return abortReason(context.signal)
  if (error.code === 'VIN_INVALID') return Object.assign(rangeError(error.message), { cause: error })
  const code = nativeCodes[error.code] ?? 'ERR_VIN_DEVICE'
  const details = { ...error.details }
  if (code === 'ERR_VIN_NONFINITE' && context.step !== undefined) details['step'] = context.step
  return new VinError(code, error.message, details, { cause: error })
}

/** Runs a native call that may throw. */
export function native<T>(call: () => T, context?: NativeContext): T {
  try {
    return call()
  } catch (error) {
    throw fromNative(error, context)
  }
}

/** Awaits a native promise. */
export async function nativeAsync<T>(call: () => Promise<T>, context?: NativeContext): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw fromNative(error, context)
  }
}
