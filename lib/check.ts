// The checks that option types are made of. Each throws one sentence: what was expected, for which option, what came.

import { expected, nearest, show, typeError } from './errors.js'

export function checkInteger(value: unknown, name: string, minimum: number, maximum: number): number {
  const what = `an integer from ${show(minimum)} to ${show(maximum)}`
  if (typeof value !== 'number') throw expected(what, name, value, 'type')
  if (!Number.isInteger(value) || value < minimum || value > maximum) throw expected(what, name, value, 'range')
  return value
}

/** A finite number in [minimum, maximum]; with `above`, in (minimum, maximum]. */
export function checkNumber(value: unknown, name: string, minimum: number, maximum: number, above = false): number {
  const what = above ? `a number above ${show(minimum)} up to ${show(maximum)}` : `a number from ${show(minimum)} to ${show(maximum)}`
  if (typeof value !== 'number') throw expected(what, name, value, 'type')
  if (!Number.isFinite(value) || value < minimum || value > maximum || (above && value === minimum)) throw expected(what, name, value, 'range')
  return value
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw expected('true or false', name, value, 'type')
  return value
}

export function checkString(value: unknown, name: string): string {
  if (typeof value !== 'string') throw expected('a string', name, value, 'type')
  return value
}

/** A path that a file or folder can have. */
export function checkPath(value: unknown, name: string): string {
  if (typeof value !== 'string') throw expected('a path', name, value, 'type')
  if (value === '') throw expected('a path', name, value, 'range')
  if (value.includes('\0')) throw expected('a path without a null character', name, value, 'range')
  return value
}

export function checkFunction<F extends (...values: never[]) => unknown>(value: F | undefined, name: string): F | undefined {
  if (value !== undefined && typeof value !== 'function') throw expected('a function', name, value, 'type')
  return value
}

/** One of a list of words; a misspelt one gets the nearest. */
export function checkOneOf<T extends string>(value: unknown, name: string, allowed: readonly T[]): T {
  const what = `one of ${allowed.map((word) => `'${word}'`).join(', ')}`
  if (typeof value !== 'string') throw expected(what, name, value, 'type')
  if (!allowed.includes(value as T)) throw expected(what, name, value, 'range')
  return value as T
}

export function checkSignal(value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'object' || value === null || !('aborted' in value) || !('addEventListener' in value)) throw expected('an AbortSignal', 'signal', value, 'type')
  return value as AbortSignal
}

/** Options are a plain object whose names are all known; an unknown one names the nearest. `forms` says what one option may be that an object is one form of. */
export function checkNames(options: unknown, what: string, known: readonly string[], forms?: string): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw forms === undefined ? expected('an object', `the options of ${what}`, options, 'type') : expected(forms, what, options, 'type')
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue
    throw typeError(`Expected a known option of ${what} but received '${name}'; the nearest one is '${nearest(name, known) ?? known[0]}'`)
  }
}

/** Width or height in pixels: a multiple of 8, because the VAE works on 8 × 8 pixels. */
export function checkPixels(value: unknown, name: 'width' | 'height', maximum: number): number {
  const size = checkInteger(value, name, 8, maximum)
  if (size % 8 === 0) return size
  const below = size - (size % 8)
  throw expected(`a multiple of 8 (the two nearest are ${below} and ${Math.min(below + 8, maximum)})`, name, value, 'range')
}

/** What each option must be, by name. */
export type Checks<O> = { readonly [K in keyof O]-?: (value: unknown, name: string) => O[K] }

/** The check of a value that whoever uses it checks. */
export const unchecked = (value: unknown): never => value as never

/** The options that were given, checked. @throws as their checks; TypeError for a name that has none */
export function checkOptions<O extends object>(options: O, what: string, checks: Checks<O>): { [K in keyof O]: Exclude<O[K], undefined> } {
  checkNames(options, what, Object.keys(checks))
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given.map(([name, value]) => [name, checks[name as keyof O](value, name)])) as { [K in keyof O]: Exclude<O[K], undefined> }
}
