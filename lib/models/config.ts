// Reading the JSON files of a model folder. They are untrusted, so the strict JSON reader reads them; what a model's config may say is checked in csrc/models.

import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { checkPath } from '../check.js'
import { VinError, show } from '../errors.js'
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
export async function checkFolder(given: unknown, component: string): Promise<string> {
  const folder = checkPath(given, 'the model folder')
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

/** config.json of a component's folder, as it is there. */
export function readConfig(binding: Binding, folder: string, limits?: Limits): Promise<Config> {
  return readJson(binding, join(folder, 'config.json'), limits)
}

/** Numbers of model_index.json; each failure names the file and the key. */
export class IndexReader {
  readonly #index: Config
  readonly #file: string

  constructor(index: Config, file: string) {
    this.#index = index
    this.#file = file
  }

  integer(key: string, minimum: number, maximum: number, otherwise: number): number {
    return this.#read(key, `an integer from ${show(minimum)} to ${show(maximum)}`, otherwise, (value) => Number.isInteger(value) && value >= minimum && value <= maximum)
  }

  number(key: string, minimum: number, maximum: number, otherwise: number): number {
    return this.#read(key, `a number from ${show(minimum)} to ${show(maximum)}`, otherwise, (value) => Number.isFinite(value) && value >= minimum && value <= maximum)
  }

  #read(key: string, expected: string, otherwise: number, fits: (value: number) => boolean): number {
    const found = this.#index[key] ?? otherwise
    if (typeof found === 'number' && fits(found)) return found
    throw new VinError('ERR_VIN_FORMAT', `Expected ${expected} for ${key} in ${this.#file} but found ${show(found)}`, { file: this.#file, key, expected, found })
  }
}
