// Reading the parsed content of a tokenizer.json, which nothing may be believed of: each value is checked where it is taken.

import { VinError, notSupported } from '../../errors.js'

export type Json = Record<string, unknown>

export function formatError(file: string, wanted: string, found: string): VinError {
  return new VinError('ERR_VIN_FORMAT', `Expected ${wanted} in ${file} but found ${found}`, { file, expected: wanted, found })
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

/** A field of a step of the pipeline: one of the normalizers, say. */
export class Fields {
  readonly type: string
  readonly #json: Json
  readonly file: string
  readonly #name: string

  constructor(value: unknown, file: string, name: string) {
    this.#json = object(value, file, name)
    this.file = file
    if (typeof this.#json['type'] !== 'string') throw formatError(file, `a text for type of ${name}`, quoted(this.#json['type']))
    this.type = this.#json['type']
    this.#name = `${this.type} of ${name}`
  }

  #fail(key: string, wanted: string): never {
    throw formatError(this.file, `${wanted} for ${key} of ${this.#name}`, quoted(this.#json[key]))
  }

  get(key: string): unknown {
    return this.#json[key] ?? undefined
  }

  text(key: string, otherwise?: string): string {
    const value = this.get(key) ?? otherwise
    return typeof value === 'string' ? value : this.#fail(key, 'a text')
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.get(key) ?? otherwise
    return typeof value === 'boolean' ? value : this.#fail(key, 'true or false')
  }

  integer(key: string, minimum: number, otherwise: number): number {
    const value = this.get(key) ?? otherwise
    return typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum ? value : this.#fail(key, `an integer from ${minimum}`)
  }

  oneOf<T extends string>(key: string, allowed: readonly T[], otherwise: T): T {
    const value = this.get(key) ?? otherwise
    return allowed.find((each) => each === value) ?? this.#fail(key, `one of ${allowed.join(', ')}`)
  }

  list(key: string): unknown[] {
    return list(this.get(key), this.file, `${key} of ${this.#name}`)
  }

  /** A kind that published tokenizers have and that is not computed here, since ids that are wrong in silence are worse. */
  unsupported(): never {
    throw notSupported(this.type, `Expected a tokenizer that can be run but ${this.file} asks for ${this.#name}; save the tokenizer without it`)
  }

  unknown(): never {
    throw formatError(this.file, 'a known kind of step', this.#name)
  }
}
