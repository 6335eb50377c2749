// Where the built-in model lies, and small files that are complete when they are there.

import { rename, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { VinError } from 'vin-native'

/** The folder of the built-in model. */
export const builtIn = join(dirname(createRequire(import.meta.url).resolve('vin-native/package.json')), 'models', 'demo')

/** The file appears whole or not at all. */
export async function writeWhole(file: string, content: string | Uint8Array): Promise<void> {
  await writeFile(`${file}.next`, content, { flush: true })
  await rename(`${file}.next`, file)
}

/** What `fromPretrained` or `resume` opens; undefined where there is no such folder, or no checkpoint in it. */
export async function ifThere<T>(opened: Promise<T>): Promise<T | undefined> {
  return opened.catch((error: unknown) => {
    const absent = ['model', 'vae', join('training', 'state.json')]
    if (error instanceof VinError && error.code === 'ERR_VIN_MISSING_COMPONENT' && absent.includes(String(error.details['component']))) return undefined
    throw error
  })
}
