// Files and folders that a command is given. One that is not there is a wrong argument, told before any work; what is in it is judged by whoever reads it.

import { constants, existsSync } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { rangeError } from '../errors.js'
import { errorCode, errorMessage } from '../realms.js'
import type { Values } from './options.js'
import { reasons } from './sentence.js'

/** @throws RangeError for a path at which there is no file, or no folder, that can be read */
export async function checkInput(path: string, what: string, kinds: readonly ('file' | 'folder')[] = ['file']): Promise<void> {
  const cannot = (why: string, cause?: unknown): Error => Object.assign(rangeError(`Expected ${what} but ${JSON.stringify(path)} ${why}`), { cause })
  const unreadable = (error: unknown): Error => cannot(`cannot be read: ${reasons[errorCode(error) ?? ''] ?? errorMessage(error)}`, error)
  const found = await stat(path).catch((error: unknown) => {
    throw unreadable(error)
  })
  const kind = found.isFile() ? 'file' : found.isDirectory() ? 'folder' : undefined
  if (kind === undefined || !kinds.includes(kind)) throw cannot(`is ${kind === undefined ? 'neither a file nor a folder' : `a ${kind}`}`)
  await access(path, constants.R_OK).catch((error: unknown) => {
    throw unreadable(error)
  })
}

/** The inputs among the options of sampling. */
export async function checkSamplingInputs(values: Values): Promise<void> {
  for (const [name, what] of [['image', 'a picture'], ['last-image', 'a picture'], ['video', 'a video']] as const) {
    const path = values[name]
    if (path !== undefined) await checkInput(path, `the path of ${what} for --${name}`)
  }
  const { scheduler } = values
  // A word is the name of a class, a folder holds a config.
  if (scheduler === undefined || (!/[./\\]/.test(scheduler) && !existsSync(scheduler))) return
  const isFolder = (await stat(scheduler).catch(() => undefined))?.isDirectory() === true
  await checkInput(isFolder ? join(scheduler, 'scheduler_config.json') : scheduler, 'a class name, or the path of a config, for --scheduler')
}
