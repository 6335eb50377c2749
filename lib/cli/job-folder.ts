// ./vin-<id>/: what an interrupted run leaves, so that `vin-native resume` can go on. job.json says what was asked for; the library keeps its sampling states
// beside it; latents.safetensors lies there from the end of sampling until the video is written. A run that ends well removes the folder.

import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { VinError, typeError } from '../errors.js'
import { errorCode, errorMessage } from '../realms.js'
import type { Values } from './options.js'

const version = 1
const maxBytes = 1 << 20

export interface Job {
  id: string
  folder: string
  /** Removed when the video is written: the folder was made for this run and not named by the user. */
  own: boolean
}

interface JobFile {
  version: number
  id: string
  output: string
  scale: number | undefined
  preview: boolean
  /** The command's options as they were typed, the seed resolved. */
  values: Values
}

export function newJob(folder: string | undefined): Job {
  const id = randomBytes(4).toString('hex')
  return folder === undefined ? { id, folder: `vin-${id}`, own: true } : { id, folder, own: false }
}

export async function writeJob(job: Job, content: Omit<JobFile, 'version' | 'id'>): Promise<void> {
  const file = join(job.folder, 'job.json')
  const temporary = `${file}.tmp`
  try {
    await mkdir(job.folder, { recursive: true })
    const handle = await open(temporary, 'w')
    try {
      await handle.writeFile(JSON.stringify({ version, id: job.id, ...content } satisfies JobFile, null, 2))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, file)
  } catch (error) {
    throw new VinError('ERR_VIN_DISK', `Expected to save the run in ${job.folder} but ${errorMessage(error)}`, { path: job.folder }, { cause: error })
  }
}

export async function readJob(folder: string): Promise<JobFile> {
  const file = join(folder, 'job.json')
  const fail = (found: string, cause?: unknown): VinError => new VinError('ERR_VIN_FORMAT', `Expected an interrupted run in ${file} but found ${found}`, { file, expected: 'a run', found }, { cause })
  let content: unknown
  try {
    if ((await stat(file)).size > maxBytes) throw fail(`more than ${maxBytes} bytes`)
    content = JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    if (error instanceof VinError) throw error
    if (errorCode(error) === 'ENOENT') throw typeError(`Expected the folder of an interrupted run but ${folder} has no job.json`)
    throw fail(errorMessage(error), error)
  }
  const { version: found, id, output, scale, preview, values } = (typeof content === 'object' && content !== null ? content : {}) as Partial<JobFile>
  if (found !== version) throw fail(`version ${JSON.stringify(found)} instead of ${version}`)
  if (typeof id !== 'string' || typeof output !== 'string' || (scale !== undefined && typeof scale !== 'number') || typeof values !== 'object' || values === null) throw fail('other fields')
  if (Object.values(values).some((value) => typeof value !== 'string')) throw fail('options that are no texts')
  return { version, id, output, scale, preview: preview === true, values: { ...values } }
}

export async function removeJob(job: Job): Promise<void> {
  if (job.own) await rm(job.folder, { recursive: true, force: true })
}

/** Says before hours of sampling that the video could not be written. */
export async function checkOutputFolder(output: string): Promise<void> {
  const folder = dirname(resolve(output))
  const found = await stat(folder).catch(() => undefined)
  if (found?.isDirectory() !== true) throw new VinError('ERR_VIN_DISK', `Expected the folder ${folder} for ${output} but it does not exist; make it first`, { path: folder, reason: 'ENOENT' })
}
