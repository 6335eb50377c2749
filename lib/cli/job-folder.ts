// ./vin-<id>/: what an interrupted run leaves, so that `vin-native resume` can go on. job.json says what was asked for; the library keeps its sampling states
// beside it; latents.safetensors lies there from the end of sampling until the video is written. A run that ends well removes what it left.

import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { VinError, typeError } from '../errors.js'
import { checkFile, writeTextAtomically } from '../files/atomic-file.js'
import { tryWriting } from '../files/disk.js'
import { checkFolderOfFiles } from '../files/pictures.js'
import { JOB, JOB_VERSION, maxJobBytes } from '../files/run-folder.js'
import { readSmallFile } from '../files/small-file.js'
import { errorCode, errorMessage } from '../realms.js'
import { isPictureFolder, pictureFolderOf } from '../video/formats.js'
import { isPngOfSequence } from '../video/png.js'
import type { Values } from './options.js'
import { previewPath } from './preview.js'
import { standardOutput, takesStandardOutput } from './standard-output.js'

export interface Job {
  id: string
  folder: string
  /** Removed when the video is written: the folder was made for this run and not named by the user. */
  own: boolean
}

interface JobFile {
  version: number
  id: string
  /** Absolute, like the files among the values, so that a run goes on from any working directory; or '-', standard output. */
  output: string
  scale: number | undefined
  preview: boolean
  /** The command's options as they were typed, the seed resolved. */
  values: Values
}

/** The folder of a new run: here, or beside its output where the working directory cannot be written. */
export async function newJob(output: string): Promise<Job> {
  const id = randomBytes(4).toString('hex')
  const isHere = await tryWriting(process.cwd()).then(() => true, () => false)
  return { id, folder: isHere ? `vin-${id}` : join(dirname(resolve(output)), `vin-${id}`), own: true }
}

/** The run that a folder named by the user holds, or a new one for it. */
export async function jobIn(folder: string): Promise<{ job: Job; before: JobFile | undefined }> {
  const before = existsSync(join(folder, JOB)) ? await readJob(folder) : undefined
  return { job: { id: before?.id ?? randomBytes(4).toString('hex'), folder, own: false }, before }
}

/** Options that may name a file or folder. */
const files = ['model', 'image', 'last-image', 'video', 'scheduler']

export async function writeJob(job: Job, { output, values, ...content }: Omit<JobFile, 'version' | 'id'>): Promise<void> {
  const whole = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, files.includes(name) && value !== undefined && existsSync(value) ? resolve(value) : value]))
  const file: JobFile = { version: JOB_VERSION, id: job.id, output: output === standardOutput ? output : resolve(output), ...content, values: whole }
  await writeTextAtomically(join(job.folder, JOB), JSON.stringify(file, null, 2))
}

export async function readJob(folder: string): Promise<JobFile> {
  const file = join(folder, JOB)
  const fail = (found: string, cause?: unknown): VinError => new VinError('ERR_VIN_FORMAT', `Expected an interrupted run in ${file} but found ${found}`, { file, expected: 'a run', found }, { cause })
  let content: unknown
  try {
    content = JSON.parse(new TextDecoder().decode(await readSmallFile(file, maxJobBytes)))
  } catch (error) {
    if (error instanceof VinError) throw error
    if (errorCode(error) === 'ENOENT') throw typeError(`Expected the folder of an interrupted run but ${folder} has no job.json`)
    throw fail(errorMessage(error), error)
  }
  const { version: found, id, output, scale, preview, values } = (typeof content === 'object' && content !== null ? content : {}) as Partial<JobFile>
  if (found !== JOB_VERSION) throw fail(`version ${JSON.stringify(found)} instead of ${JOB_VERSION}`)
  if (typeof id !== 'string' || typeof output !== 'string' || (scale !== undefined && typeof scale !== 'number') || typeof values !== 'object' || values === null) throw fail('other fields')
  if (Object.values(values).some((value) => typeof value !== 'string')) throw fail('options that are no texts')
  return { version: JOB_VERSION, id, output, scale, preview: preview === true, values: { ...values } }
}

/** A path as somebody here would type it. */
export function shownPath(path: string): string {
  if (!isAbsolute(path)) return path
  const fromHere = relative(process.cwd(), path)
  return fromHere === '' || fromHere.startsWith('..') || isAbsolute(fromHere) ? path : fromHere
}

/** Says before hours of sampling that the video could not be written. Without `numFrames` it is not known whether a .png is one picture or a folder of them. */
export async function checkOutputPlace(output: string, numFrames: number | undefined, preview = false): Promise<void> {
  if (preview) await checkFile(previewPath(output))
  if (takesStandardOutput(output)) return
  if (numFrames !== undefined && isPictureFolder(output, numFrames)) await checkFolderOfFiles(pictureFolderOf(output), isPngOfSequence)
  else await checkFile(output)
}
