// One run at a time in a folder. The lock lies in the folder: a folder of its own, which only one can make, whose time is kept fresh, so that it means something on
// network drives too; and beside it who holds it. A holder of this machine that has ended is followed at once; of another machine, when its lock has not been refreshed.
// proper-lockfile does most of this, but whoever loads it gets handlers of SIGINT, SIGTERM and SIGHUP that end a process whose own handlers were once().

import { mkdir, rm, rmdir, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { VinError } from '../errors.js'
import { errorCode } from '../realms.js'
import { writeTextAtomically } from './atomic-file.js'
import { HOLDER, LOCK, TAKING } from './folder.js'
import { hasEnded, thisProcess, type ProcessMark } from './process-mark.js'
import { readSmallFile } from './small-file.js'

/** A holder that has not refreshed its lock for so long is gone. Long, because a machine may sleep. */
const STALE_MS = 60_000
const maxHolderBytes = 4096

interface Holder extends ProcessMark {
  /** ISO 8601. */
  since: string
}

export interface FolderLock {
  release(): Promise<void>
}

async function holderOf(folder: string): Promise<Holder | undefined> {
  try {
    const { host, pid, started, since } = JSON.parse((await readSmallFile(join(folder, HOLDER), maxHolderBytes)).toString()) as Partial<Holder>
    return typeof host === 'string' && Number.isInteger(pid) && typeof started === 'number' && typeof since === 'string' ? { host, pid: pid as number, started, since } : undefined
  } catch {
    return undefined
  }
}

function held(path: string, holder: Holder | undefined): VinError {
  const own = thisProcess()
  const who = holder === undefined ? 'another process' : holder.host === own.host && holder.pid === own.pid ? `another run of this process (${own.pid})` : `process ${holder.pid} on ${holder.host}`
  const since = holder === undefined ? '' : ` since ${holder.since}`
  return new VinError('ERR_VIN_DISK', `Expected ${path} for this run alone but ${who} uses it${since}; wait for it, or choose another folder`, {
    path,
    reason: 'ELOCKED',
    ...(holder === undefined ? {} : { host: holder.host, pid: holder.pid, since: holder.since })
  })
}

/** Whether a lock has been refreshed within so many milliseconds; undefined: there is none. */
async function isFresh(place: string, stale: number): Promise<boolean | undefined> {
  try {
    return Date.now() - (await stat(place)).mtimeMs < stale
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Takes one of the folder's locks; undefined: it is taken. */
async function take(place: string): Promise<(() => Promise<void>) | undefined> {
  try {
    await mkdir(place)
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return undefined
    throw error
  }
  // A lock that somebody removed ends nothing: every file is written whole.
  const refresh = setInterval(() => void utimes(place, new Date(), new Date()).catch(() => {}), STALE_MS / 6)
  refresh.unref()
  return async () => {
    clearInterval(refresh)
    await rmdir(place).catch(() => {})
  }
}

/**
Locks a folder that is there, until `release` or the end of the process.

@param path how messages call it
@throws VinError ERR_VIN_DISK {reason: 'ELOCKED', host, pid, since} when somebody else uses it
*/
export async function lockFolder(folder: string, path = folder): Promise<FolderLock> {
  for (let attempt = 0; ; attempt++) {
    let unlock = await take(join(folder, LOCK))
    if (unlock === undefined) {
      const holder = await holderOf(folder)
      // Between taking a lock and saying so, and between two that follow the same dead holder, a moment passes.
      if (await isLeft(folder)) unlock = await follow(folder)
      else if (attempt === 20 || (holder !== undefined && !hasEnded(holder))) throw held(path, holder)
    }
    if (unlock === undefined) {
      await wait(50)
      continue
    }
    const release = unlock
    try {
      await writeTextAtomically(join(folder, HOLDER), JSON.stringify({ ...thisProcess(), since: new Date().toISOString() } satisfies Holder))
    } catch (error) {
      await release()
      throw error
    }
    return {
      release: async () => {
        await rm(join(folder, HOLDER), { force: true }).catch(() => {})
        await release()
      }
    }
  }
}

/** Whether the lock that is there is nobody's any more: its holder has ended, or has not refreshed it. */
async function isLeft(folder: string): Promise<boolean> {
  const holder = await holderOf(folder)
  return (holder !== undefined && hasEnded(holder)) || (await isFresh(join(folder, LOCK), STALE_MS)) === false
}

/** Takes over from a dead holder: one process at a time, which looks again. */
async function follow(folder: string): Promise<(() => Promise<void>) | undefined> {
  const taking = join(folder, TAKING)
  if ((await isFresh(taking, 10_000)) === false) await rm(taking, { recursive: true, force: true })
  const done = await take(taking)
  if (done === undefined) return undefined
  try {
    if (!(await isLeft(folder))) return undefined
    await rm(join(folder, HOLDER), { force: true })
    await rm(join(folder, LOCK), { recursive: true, force: true })
    return await take(join(folder, LOCK))
  } finally {
    await done()
  }
}

/** @throws VinError ERR_VIN_DISK {reason: 'ELOCKED'} when another process uses the folder */
export async function checkUnlocked(folder: string, path = folder): Promise<void> {
  const holder = await holderOf(folder)
  const own = thisProcess()
  if (holder === undefined || hasEnded(holder) || (holder.host === own.host && holder.pid === own.pid)) return
  if (await isFresh(join(folder, LOCK), STALE_MS)) throw held(path, holder)
}
