// Reading config.json of a model folder. A config is untrusted: it is read by the strict JSON reader, and every number is checked before anything is allocated.

import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { VinError, expected, notSupported, show } from '../errors.js'
import { settleFolder } from '../files/folder.js'
import { readSmallFile } from '../files/small-file.js'
import type { Binding, Config } from '../native/binding.js'
import { defaultLimits } from '../options/limits.js'
import type { Limits } from '../options/limits.js'
import { verifyBytes } from './checksums.js'

export function isFolder(path: string): boolean {
  return existsSync(path) && statSync(path).isDirectory()
}

/** A folder argument, with the checkpoint in it or around it complete. @throws ERR_VIN_MISSING_COMPONENT when there is none */
export async function checkFolder(folder: unknown, component: string): Promise<string> {
  if (typeof folder !== 'string') throw expected('the path of a folder', 'the model folder', folder, 'type')
  if (!isFolder(folder)) {
    const found = existsSync(folder) ? 'that is a file; pass the folder that holds it' : 'there is none'
    throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected a folder with ${component} at ${folder} but ${found}`, { component, folder })
  }
  for (const each of [dirname(folder), folder]) await settleFolder(each)
  return folder
}

/** A JSON object from a file, as a null-prototype object. */
export async function readJson(binding: Binding, file: string, limits: Limits = {}): Promise<Config> {
  const most = limits.configBytes ?? defaultLimits.configBytes
  const bytes = await readSmallFile(file, most).catch((cause: unknown) => {
    if (cause instanceof VinError) throw cause
    throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected ${file} but it cannot be read`, { component: file }, { cause })
  })
  await verifyBytes(file, bytes)
  const value = binding.parseJson(bytes, file, { depth: limits.jsonDepth ?? defaultLimits.jsonDepth, bytes: most, nonfinite: true })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new VinError('ERR_VIN_FORMAT', `Expected a JSON object in ${file} but found ${show(value)}`, { file })
  return value as Config
}

export function readConfig(binding: Binding, folder: string, limits?: Limits): Promise<Config> {
  return readJson(binding, join(folder, 'config.json'), limits)
}

/** Reads values out of a config; each failure names the file and the key. */
export class ConfigReader {
  readonly #config: Config
  readonly #file: string
  readonly #prefix: string

  constructor(config: Config, file: string, prefix = '') {
    this.#config = config
    this.#file = file
    this.#prefix = prefix
  }

  #fail(key: string, what: string): never {
    const found = this.#config[key]
    throw new VinError('ERR_VIN_FORMAT', `Expected ${what} for ${this.#prefix}${key} in ${this.#file} but found ${found === undefined ? 'nothing' : show(found)}`, {
      file: this.#file,
      key: `${this.#prefix}${key}`,
      expected: what,
      found
    })
  }

  has(key: string): boolean {
    return this.#config[key] !== undefined && this.#config[key] !== null
  }

  /** An integer; without a default the key must be there. */
  integer(key: string, minimum: number, maximum: number, otherwise?: number): number {
    const value = this.has(key) ? this.#config[key] : otherwise
    if (typeof value === 'number' && Number.isInteger(value) && value >= minimum && value <= maximum) return value
    return this.#fail(key, `an integer from ${show(minimum)} to ${show(maximum)}`)
  }

  number(key: string, minimum: number, maximum: number, otherwise?: number): number {
    const value = this.has(key) ? this.#config[key] : otherwise
    if (typeof value === 'number' && Number.isFinite(value) && value >= minimum && value <= maximum) return value
    return this.#fail(key, `a number from ${show(minimum)} to ${show(maximum)}`)
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.has(key) ? this.#config[key] : otherwise
    return typeof value === 'boolean' ? value : this.#fail(key, 'true or false')
  }

  oneOf<T extends string>(key: string, allowed: readonly T[], otherwise: T): T {
    const value = this.has(key) ? this.#config[key] : otherwise
    return allowed.includes(value as T) ? (value as T) : this.#fail(key, `one of ${allowed.join(', ')}`)
  }

  integers(key: string, length: number | undefined, minimum: number, maximum: number, otherwise?: readonly number[]): number[] {
    const value = this.has(key) ? this.#config[key] : otherwise
    const fits = Array.isArray(value) && (length === undefined ? value.length > 0 && value.length <= 8 : value.length === length)
    if (fits && value.every((item) => Number.isInteger(item) && item >= minimum && item <= maximum)) return [...(value as number[])]
    return this.#fail(key, `${length ?? '1 to 8'} integers from ${minimum} to ${show(maximum)}`)
  }

  /** A number stands for `length` of them, as Python writers have it. */
  numbers(key: string, length: number): number[] | undefined {
    if (!this.has(key)) return undefined
    const value = this.#config[key]
    if (typeof value === 'number' && Number.isFinite(value)) return Array.from({ length }, () => value)
    if (Array.isArray(value) && value.length === length && value.every((item) => typeof item === 'number' && Number.isFinite(item))) return [...(value as number[])]
    return this.#fail(key, `a number or ${length} of them`)
  }

  booleans(key: string, length: number, otherwise: readonly boolean[]): boolean[] {
    const value = this.has(key) ? this.#config[key] : otherwise
    if (Array.isArray(value) && value.length === length && value.every((item) => typeof item === 'boolean')) return [...(value as boolean[])]
    return this.#fail(key, `${length} times true or false`)
  }

  object(key: string): ConfigReader | undefined {
    if (!this.has(key)) return undefined
    const value = this.#config[key]
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return this.#fail(key, 'an object')
    return new ConfigReader(value as Config, this.#file, `${this.#prefix}${key}.`)
  }

  /** A relation between keys that does not hold. */
  require(holds: boolean, key: string, what: string): void {
    if (!holds) this.#fail(key, what)
  }

  /** What a config says its model is: by another name it is another model, whose weights would fail one by one. */
  kind(names: Record<'_class_name' | 'model_type', readonly string[]>): void {
    for (const [key, known] of Object.entries(names)) this.support(!this.has(key) || known.includes(this.#config[key] as string), key, known.join(' or '))
  }

  /** Refuses null for a key where upstream computes something else with it than with its default. */
  refuseNull(key: string, what: string): void {
    this.support(this.#config[key] !== null, key, what)
  }

  /** A value that is well-formed but that this version does not compute with. */
  support(holds: boolean, key: string, what: string): void {
    if (!holds) throw notSupported(`${this.#prefix}${key}`, `Expected ${what} for ${this.#prefix}${key} in ${this.#file} but found ${JSON.stringify(this.#config[key])}, which is not supported`)
  }
}
