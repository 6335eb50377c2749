// A folder of files that is written as a whole, inside itself, so that a mount point stays one, a link stays one, and what others put there stays.
// 1. All files are written to FOLDER/.vin-next-… and made durable, with a list of what they make obsolete. 2. That becomes .vin-ready-… by one rename: from
// here on the new content holds. 3. Each file is renamed from there to its place, obsolete ones go, the empty .vin-ready-… goes. Killed before 2 the old
// content is untouched, and .vin-next-… goes at the next write; killed after 2 `settleFolder` ends the work at the next open.

import { mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VinError } from '../errors.js'
import { errorCode } from '../realms.js'
import { diskError, entryAt, makeFolder, namesIn, placeOf, syncFolder, tryWriting, writeDurably } from './disk.js'
import { isTokenDead, newToken } from './process-mark.js'
import { maxWholeBytes, readSmallFile } from './small-file.js'

const LIST = '.obsolete.json'
// Each has a name of its own, so that two processes that end the same replacement never touch a later one.
const nextPattern = /^\.vin-next-([0-9a-f]{36})$/
const readyPattern = /^\.vin-ready-[0-9a-f]{36}$/
export const LOCK = '.vin-lock'
export const HOLDER = '.vin-lock.json'
export const TAKING = '.vin-lock-taking'

/** What may lie in a folder that counts as empty: our own helpers, and what file systems put there. */
const passing = new Set([LOCK, HOLDER, TAKING, 'lost+found', '.DS_Store'])
const isPassing = (name: string): boolean => passing.has(name) || nextPattern.test(name) || readyPattern.test(name) || /^\.(vin|\.vin-lock\.json)\.[0-9a-f]{36}\.tmp$/.test(name)

/** Files at most `depth` folders below a folder, as paths from it with '/'. Links are not followed. */
async function filesBelow(folder: string, depth = Infinity): Promise<string[]> {
  const files: string[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) files.push(entry.name)
    else if (depth > 0) for (const path of await filesBelow(join(folder, entry.name), depth - 1)) files.push(`${entry.name}/${path}`)
  }
  return files
}

/** Names in a folder, without those that mean nothing; undefined: there is no folder. */
async function contentsOf(folder: string): Promise<string[] | undefined> {
  return (await namesIn(folder))?.filter((name) => !isPassing(name)).sort()
}

export interface FolderClaim {
  /** 'a checkpoint of vin-native': what may lie there beside nothing. */
  what: string
  /** What in a folder that is not empty is in the way; undefined: nothing, it carries our marker. */
  stranger: (folder: string, names: readonly string[]) => string | undefined | Promise<string | undefined>
}

/**
The folder that `path` means, if it may be written: it is new, empty or carries our marker. Writing is tried; nothing is left.

@throws VinError ERR_VIN_DISK, which names what is in the way
*/
export async function claimFolder(path: string, { what, stranger }: FolderClaim): Promise<string> {
  const refuse = (found: string, reason: string): VinError =>
    new VinError('ERR_VIN_DISK', `Expected a new or empty folder, or ${what}, at ${path} but it ${found}; choose another folder`, { path, reason })
  try {
    const folder = await placeOf(path)
    const entry = await entryAt(folder)
    if (entry !== undefined && !entry.isDirectory()) throw refuse('is no folder', 'ENOTDIR')
    await settleFolder(folder)
    const names = (await contentsOf(folder)) ?? []
    const found = names.length === 0 ? undefined : await stranger(folder, names)
    if (found !== undefined) throw refuse(`holds ${found}`, 'EEXIST')
    await tryWriting(folder)
    return folder
  } catch (error) {
    throw diskError(error, path)
  }
}

export interface FolderContent {
  /** Fills an empty folder. What it writes need not be durable. */
  write: (temporary: string) => Promise<void>
  /** Whether a path (with '/', at most one) is one that such a content may have: of the old content, what the new one lacks goes. */
  isMember: (path: string) => boolean
}

/** Replaces the content of a folder that is there. What fails leaves the old content. */
export async function replaceContent(folder: string, { write, isMember }: FolderContent): Promise<void> {
  await settleFolder(folder)
  for (const name of await readdir(folder)) if (isTokenDead(nextPattern.exec(name)?.[1] ?? '')) await rm(join(folder, name), { recursive: true, force: true })
  const next = join(folder, `.vin-next-${newToken()}`)
  try {
    await mkdir(next)
    await write(next)
    const files = await filesBelow(next)
    for (const path of files) await checkRoom(folder, path)
    const obsolete = (await filesBelow(folder, 1)).filter((path) => isMember(path) && !files.includes(path))
    await writeDurably(join(next, LIST), JSON.stringify(obsolete))
    await syncBelow(next)
    await rename(next, join(folder, `.vin-ready-${newToken()}`))
  } catch (error) {
    await rm(next, { recursive: true, force: true })
    throw error
  }
  await syncFolder(folder)
  await settleFolder(folder)
}

/** The same for the folder that was claimed for `path`, which is made where there is none. */
export async function fillFolder(path: string, place: string, content: FolderContent): Promise<void> {
  try {
    const unmake = await makeFolder(place)
    try {
      await replaceContent(place, content)
    } finally {
      await unmake()
    }
  } catch (error) {
    throw diskError(error, path, 'what was there is as it was')
  }
}

/** A file goes where nothing or a file is, below folders. */
async function checkRoom(folder: string, path: string): Promise<void> {
  const parts = path.split('/')
  for (let i = 1; i <= parts.length; i++) {
    const place = join(folder, ...parts.slice(0, i))
    const entry = await entryAt(place)
    if (entry === undefined) return
    if (entry.isSymbolicLink() || entry.isDirectory() === i < parts.length) continue
    const [wanted, found, reason] = i < parts.length ? ['a folder', 'a file', 'ENOTDIR'] : ['a file', 'a folder', 'EISDIR']
    throw new VinError('ERR_VIN_DISK', `Expected ${wanted} or nothing at ${place} but it is ${found}; move it away`, { path: place, reason })
  }
}

/** Makes everything below a folder durable, files first. */
async function syncBelow(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await syncBelow(path)
    else {
      const handle = await open(path, 'r+')
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
    }
  }
  await syncFolder(folder)
}

/** Work that another process may have done already. */
async function unlessDone(codes: readonly string[], work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!codes.includes(errorCode(error) ?? '')) throw error
  })
}

/**
Ends the replacement that a killed process had begun, if its content was complete. Two processes may do it at once.

@throws VinError ERR_VIN_DISK where the folder may not be written
*/
export async function settleFolder(folder: string): Promise<void> {
  // Whatever else is at the path is not a folder of ours.
  const names = await readdir(folder).catch(() => [])
  for (const name of names.filter((each) => readyPattern.test(each))) {
    try {
      await unlessDone(['ENOENT'], settle(folder, join(folder, name)))
    } catch (error) {
      throw diskError(error, folder, `what was being written there is complete in ${name}: open the folder once where it may be written`)
    }
  }
}

async function settle(folder: string, ready: string): Promise<void> {
  const files = await filesBelow(ready)
  // Absent: everything is in its place.
  if (files.includes(LIST)) {
    const obsolete = obsoleteOf((await readSmallFile(join(ready, LIST), maxWholeBytes)).toString())
    const folders = new Set([folder])
    for (const path of files) {
      if (path === LIST) continue
      folders.add(await parentOf(folder, path))
      await unlessDone(['ENOENT'], rename(join(ready, path), join(folder, path)))
    }
    for (const path of obsolete) {
      const parent = dirname(join(folder, path))
      if ((await entryAt(parent))?.isDirectory() !== true) continue
      await rm(join(folder, path), { force: true })
      if (parent !== folder) await unlessDone(['ENOTEMPTY', 'EEXIST', 'ENOENT'], rmdir(parent))
    }
    for (const each of folders) await syncFolder(each)
  }
  await rm(ready, { recursive: true, force: true })
}

/** Paths of a list, at most one folder deep: a folder may come from anywhere. */
function obsoleteOf(text: string): string[] {
  const list: unknown = JSON.parse(text)
  return Array.isArray(list) ? list.filter((path): path is string => typeof path === 'string' && /^([^/\\]+\/)?[^/\\]+$/.test(path) && !/^\.\.?(\/|$)|\/\.\.?$/.test(path)) : []
}

/** Makes the folders above a file. One that is a link is replaced by a folder: what it leads to is not ours. */
async function parentOf(folder: string, path: string): Promise<string> {
  let parent = folder
  for (const part of path.split('/').slice(0, -1)) {
    parent = join(parent, part)
    if ((await entryAt(parent))?.isSymbolicLink() === true) await rm(parent, { force: true })
    await unlessDone(['EEXIST'], mkdir(parent))
  }
  return parent
}
