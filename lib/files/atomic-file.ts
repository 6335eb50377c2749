// A file appears whole or not at all: temporary file in the same folder → write → fsync(file) → rename → fsync(folder). An error or an abort removes
// the temporary file. Links are followed: what a link names is replaced, not the link.

import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { VinError } from '../errors.js'
import { diskError, entryAt, placeOf, removeDeadTemporaries, syncFolder, temporaryName, tryWriting } from './disk.js'

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let offset = 0
  while (offset < bytes.length) offset += (await handle.write(bytes, offset)).bytesWritten
}

/** Writes a new file and makes it durable: the next chunk is asked for when the last one has been written. */
export async function writeChunks(path: string, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<void> {
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

/** Where a file goes. A folder, a device or a pipe is not replaced by one. */
async function fileAt(path: string): Promise<string> {
  const target = await placeOf(path)
  const entry = await entryAt(target)
  if (entry !== undefined && !entry.isFile()) {
    const [kind, reason] = entry.isDirectory() ? ['a folder', 'EISDIR'] : ['no file', 'EEXIST']
    throw new VinError('ERR_VIN_DISK', `Expected a file or nothing at ${path} but it is ${kind}; choose another name`, { path, reason })
  }
  return target
}

/** Says before the work that a file could not be written. Leaves nothing. */
export async function checkFile(path: string): Promise<void> {
  try {
    const folder = dirname(await fileAt(path))
    const found = await stat(folder).catch(() => undefined)
    if (found?.isDirectory() !== true) throw new VinError('ERR_VIN_DISK', `Expected the folder ${folder} for ${path} but it does not exist; make it first`, { path: folder, reason: 'ENOENT' })
    await tryWriting(folder)
  } catch (error) {
    throw diskError(error, path)
  }
}

/** Writes the chunks as they come, and goes to `path` when all are on disk. */
export async function writeFileAtomically(path: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
  let temporary: string | undefined
  try {
    signal?.throwIfAborted()
    const target = await fileAt(path)
    await removeDeadTemporaries(target)
    temporary = temporaryName(target)
    await writeChunks(temporary, chunks, signal)
    signal?.throwIfAborted()
    await rename(temporary, target)
    await syncFolder(dirname(target))
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { force: true })
    throw diskError(error, path)
  }
}

/** The same for a text. */
export async function writeTextAtomically(path: string, text: string): Promise<void> {
  await writeFileAtomically(path, once(Buffer.from(text)))
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
