// SHA256SUMS of a model folder, as sha256sum writes them: "<64 hex digits>  <path relative to the list's folder>". Where one names a file, the file's bytes are
// what it says, or the file is not used: right size, wrong bytes would otherwise be reported as a bad model.

import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { VinError } from '../errors.js'
import { readSmallFile } from '../files/small-file.js'
import { errorCode, isError } from '../realms.js'

const listName = 'SHA256SUMS'
const maxListBytes = 1 << 20
/** Hashing one takes less than a millisecond of the calling thread. */
const sliceBytes = 1 << 20

interface Listed {
  list: string
  digest: string
}

function parseList(text: string, list: string): { path: string; digest: string }[] {
  return text.split('\n').flatMap((line, i) => {
    const row = line.endsWith('\r') ? line.slice(0, -1) : line
    if (row === '') return []
    // Two characters part digest and path: a space, then a space (text) or a star (binary).
    const [, digest, path] = /^([\da-fA-F]{64}) [ *](.+)$/s.exec(row) ?? []
    const expected = `64 hexadecimal digits, two spaces and a path in line ${i + 1}`
    if (digest === undefined || path === undefined) throw new VinError('ERR_VIN_FORMAT', `Expected ${expected} of ${list} but found another text`, { file: list, expected })
    return [{ path: path.startsWith('./') ? path.slice(2) : path, digest: digest.toLowerCase() }]
  })
}

/** What the list of the file's folder, and that of the folder above (a component inside a model folder), say of it. */
async function listed(file: string): Promise<Listed[]> {
  const folder = dirname(resolve(file))
  const places = [
    [join(folder, listName), basename(file)],
    [join(dirname(folder), listName), `${basename(folder)}/${basename(file)}`]
  ] as const
  const found: Listed[] = []
  for (const [list, name] of places) {
    const bytes = await readSmallFile(list, maxListBytes).catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errorCode(error) ?? '')) return undefined
      throw error
    })
    if (bytes === undefined) continue
    for (const { path, digest } of parseList(bytes.toString('utf8'), list)) if (path === name) found.push({ list, digest })
  }
  return found
}

/** Whether a SHA256SUMS names a file: to change it would make it a damaged one. */
export async function isListed(file: string): Promise<boolean> {
  return (await listed(file)).length > 0
}

function compare(file: string, entries: readonly Listed[], found: string): void {
  const wrong = entries.find(({ digest }) => digest !== found)
  if (wrong === undefined) return
  const { list, digest } = wrong
  throw new VinError('ERR_VIN_FORMAT', `Expected SHA-256 ${digest} of ${list} for ${file} but found ${found}; the file is damaged, copy it again`, { file, expected: digest, found })
}

/**
Compares a file that was read with the SHA256SUMS that name it.

@throws ERR_VIN_FORMAT when a digest differs, or a list is none
*/
export async function verifyBytes(file: string, bytes: Uint8Array): Promise<void> {
  const entries = await listed(file)
  if (entries.length > 0) compare(file, entries, createHash('sha256').update(bytes).digest('hex'))
}

/** The SHA-256 of a file that may be large: it is read in slices. */
export async function sha256OfFile(file: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const slice = Buffer.allocUnsafe(sliceBytes)
    for (let read = 1; read > 0; ) {
      signal?.throwIfAborted()
      read = (await handle.read(slice, 0, slice.length)).bytesRead
      hash.update(slice.subarray(0, read))
    }
  } finally {
    await handle.close()
  }
  return hash.digest('hex')
}

/** As `verifyBytes`, for a large file. */
export async function verifyFile(file: string, signal?: AbortSignal): Promise<void> {
  const entries = await listed(file)
  if (entries.length === 0) return
  const found = await sha256OfFile(file, signal).catch((error: unknown) => {
    // What cannot be opened is the reader's to report.
    if (isError(error) && 'syscall' in error && error.syscall === 'open') return undefined
    throw error
  })
  if (found !== undefined) compare(file, entries, found)
}
