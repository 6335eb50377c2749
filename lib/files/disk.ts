// The ground of everything that is written: what a path means, errors of the file system, durability, temporary names.

import { lstat, mkdir, open, readdir, readlink, realpath, rm, rmdir, stat, unlink } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { VinError } from '../errors.js'
import { errorCode, isError } from '../realms.js'
import { isTokenDead, newToken } from './process-mark.js'

const reasons: Record<string, string> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file system does not take a file of this size',
  EIO: 'the disk reports an input/output error',
  EROFS: 'the file system is read-only',
  EACCES: 'the folder may not be written',
  EPERM: 'the folder may not be written',
  ENOENT: 'the folder does not exist',
  ENOTDIR: 'its folder is a file',
  EISDIR: 'it is a folder',
  ELOOP: 'its links lead in a circle',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many files are open'
}

/** Errors of the file system as ERR_VIN_DISK; everything else as it is. `left` says what became of the place. */
export function diskError(error: unknown, path: string, left = 'nothing was left there'): unknown {
  if (!isError(error) || !('syscall' in error) || !('code' in error) || typeof error.code !== 'string') return error
  const reason = reasons[error.code] ?? error.message
  return new VinError('ERR_VIN_DISK', `Expected to write ${path} but ${reason} (${error.code}); ${left}`, { path, reason: error.code }, { cause: error })
}

/** What is at a path, a link itself; undefined: nothing. */
export async function entryAt(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  })
}

/** The names in a folder; undefined: there is none. */
export async function namesIn(folder: string): Promise<string[] | undefined> {
  return readdir(folder).catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  })
}

/** The place that a path means: absolute, and links are followed, also one whose target is still to be made. */
export async function placeOf(path: string, links = 40): Promise<string> {
  const whole = resolve(path)
  try {
    return await realpath(whole)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT' || links === 0) throw error
  }
  const entry = await entryAt(whole)
  if (entry?.isSymbolicLink() === true) return placeOf(resolve(dirname(whole), await readlink(whole)), links - 1)
  return dirname(whole) === whole ? whole : join(await placeOf(dirname(whole), links), basename(whole))
}

/** Makes a folder's entries durable. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder; its rename is durable by itself.
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Writes a small file and makes it durable. Only for files inside a folder that is not in its place yet. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, 'w')
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** What a temporary name begins with: as much of the name as leaves room for the mark in the 255 bytes that file systems allow. */
function temporaryPrefix(path: string): string {
  let name = basename(path)
  while (Buffer.byteLength(name) > 200) name = name.slice(0, -1)
  return `.${name}.`
}

/** Where a file or folder is made before it is renamed to `path`. */
export function temporaryName(path: string): string {
  return join(dirname(path), `${temporaryPrefix(path)}${newToken()}.tmp`)
}

/** Removes what writers of `path` left that were killed. */
export async function removeDeadTemporaries(path: string): Promise<void> {
  const prefix = temporaryPrefix(path)
  for (const name of await readdir(dirname(path))) {
    if (!name.startsWith(prefix) || !name.endsWith('.tmp') || !isTokenDead(name.slice(prefix.length, -'.tmp'.length))) continue
    await rm(join(dirname(path), name), { recursive: true, force: true })
  }
}

/** Tries whether a folder can be written, or the nearest one above it that is there. */
export async function tryWriting(folder: string): Promise<void> {
  let existing = folder
  while ((await entryAt(existing)) === undefined && dirname(existing) !== existing) existing = dirname(existing)
  const probe = temporaryName(join(existing, 'vin'))
  await removeDeadTemporaries(join(existing, 'vin'))
  const handle = await open(probe, 'wx')
  try {
    await handle.writeFile('\n')
  } finally {
    await handle.close()
    await unlink(probe)
  }
}

/** Makes a folder and those above it, one by one: mkdir's own recursion never ends where the system denies that a folder is there which is, as in /proc. Returns the first that is new. */
export async function makeFolders(folder: string): Promise<string | undefined> {
  const missing: string[] = []
  let existing = resolve(folder)
  for (; (await entryAt(existing)) === undefined && dirname(existing) !== existing; existing = dirname(existing)) missing.push(existing)
  for (const path of missing.reverse()) {
    await mkdir(path).catch((error: unknown) => {
      // Another process was faster.
      if (errorCode(error) !== 'EEXIST') throw error
    })
  }
  // What is there, and no folder, is told as the system tells it.
  if (missing.length === 0 && !(await stat(existing)).isDirectory()) await mkdir(existing)
  return missing[0]
}

/** `makeFolders`. What it returns takes the new ones away again as long as they are empty. */
export async function makeFolder(folder: string): Promise<() => Promise<void>> {
  const first = await makeFolders(folder)
  return async () => {
    if (first === undefined) return
    try {
      for (let made = resolve(folder); made.length >= first.length; made = dirname(made)) await rmdir(made)
    } catch {
      // Something lies in it: it stays.
    }
  }
}
