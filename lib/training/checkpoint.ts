// A checkpoint is the content of a folder, which is replaced as a whole (lib/files/folder.ts): killed anywhere, the old one or the new one is complete, and
// `settleCheckpoint` finds it. Other files in the folder stay. `training/state.json` marks it as ours.

import { mkdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { VinError } from '../errors.js'
import { diskError, makeFolder, placeOf } from '../files/disk.js'
import { claimFolder, fillFolder, settleFolder } from '../files/folder.js'
import type { FolderClaim } from '../files/folder.js'
import { checkUnlocked, lockFolder } from '../files/lock.js'
import { readSmallFile } from '../files/small-file.js'
import { componentFiles, fieldsOf, maxJsonBytes, modelFiles, writeJson } from '../models/save.js'
import { isModel } from '../pipeline/save.js'

const STATE = join('training', 'state.json')

/** Layout of `training/`; a state of another version is refused. */
const STATE_VERSION = 1

const training = String.raw`training/state\.(json|safetensors)`

/** What a checkpoint consists of. Of an older one, these files go when the new one lacks them: a weight file, or a list of sums, that no longer belongs to it. */
export const modelFolderFiles = new RegExp(`^(${training}|${modelFiles})$`)
export const componentFolderFiles = new RegExp(`^(${training}|${componentFiles})$`)

export interface CheckpointKind {
  /** `kind` of its state.json. */
  kind: string
  files: RegExp
  /** Whether it may take the place of a model folder that vin-native wrote. */
  replacesModel: boolean
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}

function claimOf({ kind, replacesModel }: CheckpointKind): FolderClaim {
  return {
    what: `a checkpoint of kind '${kind}'`,
    stranger: async (folder, names) => {
      const found = (await fieldsOf(join(folder, STATE)))['kind']
      if (found === kind) return undefined
      if (typeof found === 'string') return `a checkpoint of kind '${found}'`
      return replacesModel && (await isModel(folder)) ? undefined : names[0]
    }
  }
}

/**
The place of a checkpoint, if one may be written there: the folder is new, empty, or holds a checkpoint of this kind. Writing is tried; nothing is left.

@throws VinError ERR_VIN_DISK, which names what is in the way, or who uses the folder
*/
export async function claimCheckpoint(folder: string, kind: CheckpointKind): Promise<string> {
  const place = await claimFolder(folder, claimOf(kind))
  await checkUnlocked(place, folder)
  return place
}

/** Claims the place of checkpoints, and locks it for a run. `close` gives it back, and takes a new folder away again that nothing was saved in. */
export async function openCheckpoint(folder: string, kind: CheckpointKind): Promise<{ close(): Promise<void> }> {
  const place = await claimFolder(folder, claimOf(kind))
  try {
    const unmake = await makeFolder(place)
    const { release } = await lockFolder(place, folder).catch(async (error: unknown) => {
      await unmake()
      throw error
    })
    return {
      close: async () => {
        await release()
        await unmake()
      }
    }
  } catch (error) {
    throw diskError(error, folder)
  }
}

/**
Replaces the checkpoint `folder`. `write` fills an empty folder; `state` becomes its `training/state.json`.

@throws VinError ERR_VIN_DISK when it cannot be written, or is not ours; what was there stays
*/
export async function replaceCheckpoint(folder: string, state: Readonly<Record<string, unknown>>, kind: CheckpointKind, write: (temporary: string) => Promise<void>): Promise<void> {
  const place = await claimCheckpoint(folder, kind)
  await fillFolder(folder, place, {
    isMember: (path) => kind.files.test(path),
    write: async (temporary) => {
      await mkdir(join(temporary, 'training'))
      await write(temporary)
      await writeJson(join(temporary, STATE), { kind: kind.kind, version: STATE_VERSION, ...state })
    }
  })
}

/** Ends the writing of a checkpoint that was killed when its files were complete. Returns whether there is one. */
export async function settleCheckpoint(folder: string): Promise<boolean> {
  const place = await placeOf(folder)
  await settleFolder(place)
  return exists(join(place, STATE))
}

/** The `training/state.json` of a checkpoint. */
export async function readState(folder: string, kind: string): Promise<Record<string, unknown>> {
  const place = await placeOf(folder)
  if (!(await settleCheckpoint(place))) {
    const message = `Expected a checkpoint with ${STATE} in ${place} but there is none`
    throw new VinError('ERR_VIN_MISSING_COMPONENT', message, { component: STATE, folder: place })
  }
  const file = join(place, STATE)
  let state: unknown
  try {
    state = JSON.parse(new TextDecoder().decode(await readSmallFile(file, maxJsonBytes)))
  } catch (cause) {
    if (cause instanceof VinError) throw cause
    throw new VinError('ERR_VIN_FORMAT', `Expected JSON in ${file} but it cannot be read`, { file }, { cause })
  }
  if (typeof state !== 'object' || state === null) throw new VinError('ERR_VIN_FORMAT', `Expected an object in ${file}`, { file })
  const fields = state as Record<string, unknown>
  checkField(file, fields, 'kind', kind)
  checkField(file, fields, 'version', STATE_VERSION)
  return fields
}

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
