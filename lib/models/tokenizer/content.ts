// Reading the parsed content of a tokenizer.json, which nothing may be believed of: each value is checked where it is taken.

import { VinError, notSupported } from '../../errors.js'

export type Json = Record<string, unknown>

export function formatError(file: string, wanted: string, found: string): VinError {
  return new VinError('ERR_VIN_FORMAT', `Expected ${wanted} in ${file} but found ${found}`, { file, expected: wanted, found })
}

/** For what published tokenizers may have and this version does not compute with: wrong ids in silence would be worse. */
export function unsupported(what: string, file: string, wanted: string, found = what): VinError {
  return notSupported(what, `Expected ${wanted} in ${file} but found ${found}, which this version does not compute with`)
}

/** A value in an error's sentence. */
export function quoted(value: unknown, length = 60): string {
  return value === undefined ? 'nothing' : JSON.stringify(value).slice(0, length)
}

export function object(value: unknown, file: string, name: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw formatError(file, `an object for ${name}`, quoted(value, 40))
  return value as Json
}

export function list(value: unknown, file: string, name: string): unknown[] {
  if (!Array.isArray(value)) throw formatError(file, `a list for ${name}`, quoted(value, 40))
  return value as unknown[]
}

/** A step of the pipeline: one of the normalizers, say. */
export class Step {
  readonly type: string
  readonly file: string
  readonly #json: Json
  readonly #name: string

  constructor(value: unknown, file: string, name: string) {
    this.#json = object(value, file, name)
    this.file = file
    const type = this.#json['type']
    if (typeof type !== 'string') throw formatError(file, `a text for type of ${name}`, quoted(type))
    this.type = type
    this.#name = name
  }

  #take<T>(key: string, wanted: string, otherwise: T | undefined, fits: (value: unknown) => value is T): T {
    const value = this.#json[key] ?? otherwise
    if (!fits(value)) throw formatError(this.file, `${wanted} for ${key} of ${this.type} of ${this.#name}`, quoted(value))
    return value
  }

  get(key: string): unknown {
    return this.#json[key] ?? undefined
  }

  text(key: string, otherwise?: string): string {
    return this.#take(key, 'a text', otherwise, (value) => typeof value === 'string')
  }

  boolean(key: string, otherwise: boolean): boolean {
    return this.#take(key, 'true or false', otherwise, (value) => typeof value === 'boolean')
  }

  oneOf<T extends string>(key: string, allowed: readonly T[], otherwise: T): T {
    return this.#take(key, `one of ${allowed.join(', ')}`, otherwise, (value): value is T => allowed.some((each) => each === value))
  }

  list(key: string): unknown[] {
    return list(this.get(key), this.file, `${key} of ${this.type} of ${this.#name}`)
  }

  /** @param known the kinds of this step that are computed */
  unsupported(known: string): VinError {
    return unsupported(this.type, this.file, `${known} for ${this.#name}`)
  }
}
