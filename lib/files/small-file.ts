// Files of others as bytes. What a file is and how long it is are known before anything is read: a config may be a pipe, or 500 MB.

import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { VinError } from '../errors.js'

// Opening a pipe must not wait for its writer: no signal ends that, not even of the process.
const flags = constants.O_RDONLY | constants.O_NONBLOCK

function checkStats(stats: Stats, file: string, limit: number): void {
  const wrong = !stats.isFile() ? { expected: 'a regular file', found: stats.isDirectory() ? 'a folder' : 'another kind' } : stats.size > limit ? { expected: `at most ${limit} bytes`, found: `${stats.size}` } : undefined
  if (wrong !== undefined) throw new VinError('ERR_VIN_FORMAT', `Expected ${wrong.expected} in ${file} but found ${wrong.found}`, { file, ...wrong })
}

/** The most that is read of one file at once. */
export const maxWholeBytes = 2 ** 31 - 1

/** A regular file of at most `limit` bytes, to be read and closed by the caller. @throws as `readSmallFile` */
export async function openToRead(file: string, limit = Infinity): Promise<{ handle: FileHandle; size: number }> {
  const handle = await open(file, flags)
  try {
    const stats = await handle.stat()
    checkStats(stats, file, limit)
    return { handle, size: stats.size }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/**
All bytes of a regular file of at most `limit` bytes.

@throws ERR_VIN_FORMAT for another kind of file or a longer one, before it is read; the system's error when it cannot be opened
*/
export async function readSmallFile(file: string, limit: number): Promise<Buffer> {
  const { handle, size } = await openToRead(file, limit)
  try {
    const bytes = Buffer.alloc(size)
    let at = 0
    for (let read = 1; read > 0 && at < bytes.length; at += read) read = (await handle.read(bytes, at, bytes.length - at, at)).bytesRead
    return bytes.subarray(0, at)
  } finally {
    await handle.close()
  }
}

/** As `readSmallFile`, without waiting. */
export function readSmallFileSync(file: string, limit: number): Buffer {
  const handle = openSync(file, flags)
  try {
    const stats = fstatSync(handle)
    checkStats(stats, file, limit)
    const bytes = Buffer.alloc(stats.size)
    let at = 0
    for (let read = 1; read > 0 && at < bytes.length; at += read) read = readSync(handle, bytes, at, bytes.length - at, at)
    return bytes.subarray(0, at)
  } finally {
    closeSync(handle)
  }
}
