// The folder of a sampling run: states (lib/pipeline/resume.ts), and where the command line made it, job.json and the finished latents. One run at a time uses it.

import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { diskError, entryAt, makeFolder, placeOf } from './disk.js'
import { claimFolder } from './folder.js'
import { lockFolder, type FolderLock } from './lock.js'
import { openToRead, readSmallFile } from './small-file.js'

export const JOB = 'job.json'
export const LATENTS = 'latents.safetensors'
/** `kind` in the metadata of a saved state, which begins the file. */
export const STATE_KIND = 'vin-native sampling state'
export const JOB_VERSION = 1
export const maxJobBytes = 1 << 20

export const statePattern = /^state-(\d{6})\.safetensors$/
const temporaryPattern = /^\.(state-\d{6}\.safetensors|job\.json|latents\.safetensors)\..*\.tmp$/

const isOwn = (name: string): boolean => name === JOB || name === LATENTS || statePattern.test(name) || temporaryPattern.test(name)

/** Whether a file begins as a saved state does, whatever became of the rest of it. */
async function isState(file: string): Promise<boolean> {
  const opened = await openToRead(file).catch(() => undefined)
  if (opened === undefined) return false
  const { handle } = opened
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(256), 0, 256, 0)
    return buffer.subarray(0, bytesRead).includes(STATE_KIND)
  } finally {
    await handle.close()
  }
}

/** Whether a file is the job of a run, of whatever version. */
async function isJob(file: string): Promise<boolean> {
  try {
    const job: unknown = JSON.parse(new TextDecoder().decode(await readSmallFile(file, maxJobBytes)))
    return typeof job === 'object' && job !== null && 'version' in job && 'values' in job
  } catch {
    return false
  }
}

async function strangerIn(folder: string, names: readonly string[]): Promise<string | undefined> {
  const left = names.filter((name) => !temporaryPattern.test(name))
  for (const name of left) {
    if (name === JOB ? await isJob(join(folder, name)) : statePattern.test(name) && (await isState(join(folder, name)))) return undefined
  }
  return left[0]
}

/** Folders that the command line has opened and a run is still to use. */
const opened = new Map<string, RunFolder>()

export class RunFolder {
  /** As the caller calls it. */
  readonly path: string
  readonly #begun: ((seed: number | bigint) => Promise<void>) | undefined
  #place: string | undefined
  #lock: FolderLock | undefined
  #unmake: (() => Promise<void>) | undefined

  private constructor(path: string, begun?: (seed: number | bigint) => Promise<void>) {
    this.path = path
    this.#begun = begun
  }

  /**
  Opens a folder for a run that the caller starts afterwards with `resume: path`, and keeps it until `close`. `begun` is called once everything that the run is
  given has been read and checked, before its first step.
  */
  static async open(path: string, begun: (seed: number | bigint) => Promise<void>): Promise<RunFolder> {
    const folder = new RunFolder(path, begun)
    await folder.#claim()
    opened.set(folder.#place as string, folder)
    return folder
  }

  /** The folder for one run: the one that the command line has opened, else a new one, which `release` closes. */
  static async use(path: string): Promise<{ folder: RunFolder; release(): Promise<void> }> {
    const place = await placeOf(path)
    const known = opened.get(place)
    opened.delete(place)
    if (known !== undefined) return { folder: known, release: async () => {} }
    const folder = new RunFolder(path)
    await folder.#claim()
    return { folder, release: () => folder.close() }
  }

  /** Whether the run has begun: the folder is there and is its own. */
  get begins(): boolean {
    return this.#unmake !== undefined
  }

  /** A folder that is there is locked at once: what is read of it must not change. */
  async #claim(): Promise<void> {
    this.#place = await claimFolder(this.path, { what: 'one of an interrupted run', stranger: strangerIn })
    if ((await entryAt(this.#place)) !== undefined) this.#lock = await this.#locked(this.#place)
  }

  async #locked(place: string): Promise<FolderLock> {
    try {
      return await lockFolder(place, this.path)
    } catch (error) {
      throw diskError(error, this.path)
    }
  }

  /** Makes the folder, and removes what a killed run left half-written. */
  async begin(seed: number | bigint): Promise<void> {
    const place = this.#place as string
    try {
      const unmake = await makeFolder(place)
      this.#lock ??= await this.#locked(place)
      this.#unmake = unmake
      for (const name of await readdir(place)) if (temporaryPattern.test(name)) await rm(join(place, name), { force: true })
    } catch (error) {
      throw diskError(error, this.path)
    }
    await this.#begun?.(seed)
  }

  /** Removes what runs leave in the folder, and the folder if nothing else is in it. */
  async remove(): Promise<void> {
    const place = this.#place as string
    for (const name of (await readdir(place)).filter(isOwn)) await rm(join(place, name), { force: true })
    await this.close()
    await rmdir(place).catch(() => {})
  }

  /** Lets others use the folder. A new one that nothing was saved in goes. */
  async close(): Promise<void> {
    opened.delete(this.#place as string)
    const lock = this.#lock
    this.#lock = undefined
    await lock?.release()
    await this.#unmake?.()
  }
}
