// A file appears whole or not at all: temporary file in the same folder → write → fsync(file) → rename → fsync(folder). An error or an abort removes
// the temporary file. A folder of files is made in the same way: as a temporary folder that is renamed when all its files are on disk.

import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { VinError } from '../errors.js'

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
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many files are open'
}

/** Errors of the file system as ERR_VIN_DISK; everything else as it is. */
export function diskError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error) || typeof error.code !== 'string') return error
  const reason = reasons[error.code] ?? error.message
  return new VinError('ERR_VIN_DISK', `Expected to write ${path} but ${reason} (${error.code}); nothing was left there`, { path, reason: error.code }, { cause: error })
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
}

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open a folder; its rename is durable by itself.
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let offset = 0
  while (offset < bytes.length) offset += (await handle.write(bytes, offset)).bytesWritten
}

async function writeTo(path: string, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    for await (const chunk of chunks) {
      signal?.throwIfAborted()
      await writeAll(handle, chunk)
    }
    signal?.throwIfAborted()
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Writes the chunks as they come: the next one is asked for when the last one has been written. */
export async function writeFileAtomically(path: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
  const target = resolve(path)
  const temporary = temporaryName(target)
  try {
    signal?.throwIfAborted()
    await writeTo(temporary, chunks, signal)
    signal?.throwIfAborted()
    await rename(temporary, target)
    await syncFolder(dirname(target))
  } catch (error) {
    await rm(temporary, { force: true })
    throw diskError(error, path)
  }
}

/** Writes a folder of files. One that is there already is replaced only if it holds nothing but files with names that `isMember` knows. */
export async function writeFolderAtomically(
  path: string,
  files: AsyncIterable<{ name: string; bytes: Uint8Array }>,
  isMember: (name: string) => boolean,
  signal?: AbortSignal
): Promise<void> {
  const target = resolve(path)
  const temporary = temporaryName(target)
  try {
    signal?.throwIfAborted()
    const old = await list(target)
    const stranger = old?.find((name) => !isMember(name))
    if (stranger !== undefined) {
      throw new VinError('ERR_VIN_DISK', `Expected a new or empty folder at ${path} but it holds ${stranger}; choose another name`, { path, reason: 'EEXIST' })
    }
    await mkdir(temporary)
    for await (const { name, bytes } of files) {
      signal?.throwIfAborted()
      await writeTo(join(temporary, name), once(bytes), signal)
    }
    await syncFolder(temporary)
    signal?.throwIfAborted()
    if (old !== undefined) await replaceFolder(temporary, target)
    else await rename(temporary, target)
    await syncFolder(dirname(target))
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw diskError(error, path)
  }
}

async function replaceFolder(folder: string, target: string): Promise<void> {
  const old = temporaryName(target)
  await rename(target, old)
  try {
    await rename(folder, target)
  } catch (error) {
    await rename(old, target)
    throw error
  }
  await rm(old, { recursive: true, force: true })
}

async function list(folder: string): Promise<string[] | undefined> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
