// A checkpoint is a folder that is replaced as a whole. It is written beside its place as NAME.next, made durable, and put there by two renames:
// NAME → NAME.previous, NAME.next → NAME. Killed anywhere, one of the three is complete, and `settleCheckpoint` finds it. `training/state.json` is
// written last: a folder that has it is complete.

import { open, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { VinError } from '../errors.js'
import { errorCode } from '../realms.js'

const STATE = join('training', 'state.json')

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}

/** Makes a folder's entries durable. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
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

function diskError(error: unknown, folder: string): unknown {
  const code = errorCode(error)
  if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EROFS' && code !== 'EACCES') return error
  return new VinError('ERR_VIN_DISK', `Expected to write the checkpoint ${folder} but the file system answered ${code}`, { folder, errno: code }, { cause: error })
}

/**
Replaces the checkpoint `folder`. `write` fills an empty folder; `state` becomes its `training/state.json`.

@throws VinError ERR_VIN_DISK when the file system is full or read-only; what was there stays
*/
export async function replaceCheckpoint(folder: string, state: unknown, write: (temporary: string) => Promise<void>): Promise<void> {
  const place = resolve(folder)
  const next = `${place}.next`
  const previous = `${place}.previous`
  try {
    await mkdir(dirname(place), { recursive: true })
    await settleCheckpoint(place)
    await rm(next, { recursive: true, force: true })
    await mkdir(join(next, 'training'), { recursive: true })
    await write(next)
    await writeDurably(join(next, STATE), `${JSON.stringify(state, null, 2)}\n`)
    await syncFolder(join(next, 'training'))
    await syncFolder(next)
    await rm(previous, { recursive: true, force: true })
    if (await exists(place)) await rename(place, previous)
    await rename(next, place)
    await syncFolder(dirname(place))
    await rm(previous, { recursive: true, force: true })
  } catch (error) {
    throw diskError(error, place)
  }
}

/** Puts a checkpoint that a killed process left beside its place into it. Returns false when there is none. */
export async function settleCheckpoint(folder: string): Promise<boolean> {
  const place = resolve(folder)
  if (await exists(place)) return exists(join(place, STATE))
  for (const candidate of [`${place}.next`, `${place}.previous`]) {
    if (!(await exists(join(candidate, STATE)))) continue
    await rename(candidate, place)
    await syncFolder(dirname(place))
    return true
  }
  return false
}

/** The `training/state.json` of a checkpoint. */
export async function readState(folder: string, kind: string): Promise<Record<string, unknown>> {
  const place = resolve(folder)
  if (!(await settleCheckpoint(place))) {
    const message = `Expected a checkpoint with ${STATE} in ${place} but there is none`
    throw new VinError('ERR_VIN_MISSING_COMPONENT', message, { component: STATE, folder: place })
  }
  const file = join(place, STATE)
  let state: unknown
  try {
    state = JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    throw new VinError('ERR_VIN_FORMAT', `Expected JSON in ${file} but it cannot be read`, { file }, { cause })
  }
  if (typeof state !== 'object' || state === null) throw new VinError('ERR_VIN_FORMAT', `Expected an object in ${file}`, { file })
  const fields = state as Record<string, unknown>
  checkField(file, fields, 'kind', kind)
  checkField(file, fields, 'version', STATE_VERSION)
  return fields
}

/** Layout of `training/`; a state of another version is refused. */
export const STATE_VERSION = 1

/** @throws VinError ERR_VIN_RESUME_MISMATCH naming the field */
export function checkField(file: string, state: Record<string, unknown>, field: string, expectedValue: unknown): void {
  if (state[field] === expectedValue) return
  const found = state[field]
  throw new VinError('ERR_VIN_RESUME_MISMATCH', `Expected ${field} ${JSON.stringify(expectedValue)} in ${basename(file)} but found ${JSON.stringify(found)}`, {
    file,
    field,
    expected: expectedValue,
    found
  })
}

/** Appends lines to a text file, for curves and logs that may lose their tail. */
export async function appendLine(path: string, line: string): Promise<void> {
  await writeFile(path, `${line}\n`, { flag: 'a' })
}
