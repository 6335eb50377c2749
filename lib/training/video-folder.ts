// A folder of videos with captions as a data set, folders in it included. Every clip is looked at before training: what cannot be used is left out and named.

import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { extname, join } from 'node:path'
import { checkInteger, checkNames, checkNumber, checkPath, checkPixels } from '../check.js'
import { VinError } from '../errors.js'
import { checkSeed } from '../native/ops.js'
import { errorMessage } from '../realms.js'
import { readVideo, requireFfmpeg } from '../video/ffmpeg.js'
import { probeVideo } from '../video/probe.js'
import { readCaption, readCaptions } from './captions.js'
import { warnAbout } from './dataset.js'
import type { Clip, Dataset, DatasetNeeds, DatasetReport, TrainingExample, TrainingWarning, VideoPixels } from './dataset.js'
import { PhiloxRandom } from '../plan/random.js'
import { streams } from './random.js'

export interface VideoFolderOptions {
  /** Pixels of every video: scaled to cover, centre-cropped. */
  width: number
  /** Pixels of every video. */
  height: number
  /**
  Video frames per second.

  @default 16
  */
  fps?: number | undefined
  /**
  Video frames that are read of each video, from its beginning.

  @default 256
  */
  maxFrames?: number | undefined
  /**
  Share of the clips that is kept out of training, rounded down, for `heldOut()`. Which ones follows from seed and name.

  @default 0
  */
  heldOut?: number | undefined
  /**
  The order of every pass follows from it.

  @default 0
  */
  seed?: number | bigint | undefined
}

/** A folder of videos: it can be looked at before training, and keeps clips apart. */
export interface VideoFolder extends Dataset {
  prepare(needs?: DatasetNeeds): Promise<DatasetReport>
  /** The clips that training does not see, in a fixed order. */
  heldOut(): AsyncIterable<TrainingExample>
}

const videoNames = new Set(['.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.gif', '.apng', '.y4m', '.mpg', '.mpeg', '.ogv', '.wmv', '.flv', '.3gp'])
/** Moving pictures that are not read: named, so that nobody waits for them. */
const otherNames = new Set(['.webp', '.m3u8', '.mpd', '.mts', '.m2ts', '.vob', '.mxf', '.rm', '.rmvb', '.swf'])

interface Found {
  /** Path below the folder, with '/'. */
  file: string
  prompt: string
}

interface Listed {
  videos: Found[]
  /** Files that look like videos and are not read. */
  others: string[]
}

/** What lies in a folder and the folders in it; names that begin with a dot, other models and what they made are left alone. */
async function* walk(folder: string, below: string, seen: Set<string>): AsyncGenerator<{ folder: string; below: string; files: string[] }> {
  const real = await realpath(folder)
  // A link may lead back up.
  if (seen.has(real)) return
  seen.add(real)
  const names = (await readdir(folder)).filter((name) => !name.startsWith('.') && name !== '__MACOSX').sort()
  const files: string[] = []
  const folders: string[] = []
  for (const name of names) {
    const entry = await stat(join(folder, name)).catch(() => undefined)
    if (entry?.isDirectory() === true) folders.push(name)
    // A link to nothing is told of when it is opened.
    else files.push(name)
  }
  yield { folder, below, files }
  for (const name of folders) {
    const inner = join(folder, name)
    if (existsSync(join(inner, 'model_index.json')) || existsSync(join(inner, 'training', 'state.json'))) continue
    yield* walk(inner, `${below}${name}/`, seen)
  }
}

async function listVideos(folder: string): Promise<Listed> {
  await readdir(folder).catch((cause: unknown) => {
    throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected a folder of videos at ${folder} but it cannot be read`, { component: 'videos', folder }, { cause })
  })
  const captions = new Map<string, string>()
  const texts = new Map<string, string>()
  const files: string[] = []
  const others: string[] = []
  for await (const { folder: inner, below, files: names } of walk(folder, '', new Set())) {
    const list = ['captions.json', 'captions.jsonl'].find((name) => names.includes(name))
    // The nearest list holds: folders come before the folders in them.
    if (list !== undefined) for (const [name, prompt] of await readCaptions(join(inner, list))) captions.set(below + name.replaceAll('\\', '/').replace(/^\.\//, ''), prompt)
    for (const name of names) {
      const extension = extname(name).toLowerCase()
      if (otherNames.has(extension)) others.push(below + name)
      if (!videoNames.has(extension)) continue
      files.push(below + name)
      const text = `${name.slice(0, -extension.length)}.txt`
      if (names.includes(text)) texts.set(below + name, join(inner, text))
    }
  }
  if (files.length === 0) throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected videos (${[...videoNames].join(', ')}) in ${folder} but there are none`, { component: 'videos', folder })
  const videos: Found[] = []
  const without: string[] = []
  for (const file of files.sort()) {
    const text = texts.get(file)
    const prompt = text === undefined ? captions.get(file) : await readCaption(text)
    if (prompt === undefined) without.push(file)
    else videos.push({ file, prompt })
  }
  if (without.length > 0) {
    const message = `Expected a caption for every video in ${folder} but ${without.slice(0, 3).join(', ')}${without.length > 3 ? ` and ${without.length - 3} more` : ''} have none; add NAME.txt or captions.json`
    throw new VinError('ERR_VIN_MISSING_COMPONENT', message, { component: 'captions', videos: without })
  }
  return { videos, others }
}

type Inspected = Omit<Clip, 'use'>

/** Reads a clip once, small: what it holds, or why it cannot be used. */
async function inspect(folder: string, { file, prompt }: Found, fps: number, maxFrames: number, signal: AbortSignal | undefined): Promise<Inspected> {
  const path = join(folder, file)
  const clip: Inspected = { file, prompt, frames: 0 }
  try {
    const probe = await probeVideo(path, signal)
    const { width, height } = probe
    Object.assign(clip, { width, height })
    const warn = ({ message }: TrainingWarning): void => void (clip.damage = message.replace(`${path} is `, ''))
    for await (const _ of readVideo(path, { width: 8, height: 8, fps, signal, onWarning: warn, probe })) if (++clip.frames === maxFrames) break
    if (clip.frames === 0) clip.reason = 'no frame of it can be read'
  } catch (error) {
    if (signal?.aborted === true || (error instanceof VinError && (error.details['name'] === 'ffprobe' || error.details['name'] === 'ffmpeg'))) throw error
    clip.reason = reasonOf(error, path)
  }
  return clip
}

/** What an error says of a file, without what was expected of it: `its content is of the kind hls, which is not opened`. */
function reasonOf(error: unknown, path: string): string {
  const sentence = errorMessage(error).replaceAll(path, 'it')
  const found = sentence.slice(sentence.indexOf(' but ')).replace(/^ but /, '')
  return found.replace(/^ffmpeg says: /, 'damaged, or no video: ')
}

/**
Videos of a folder, and of the folders in it, in random order, read by the ffmpeg of PATH. Every clip is read once before the first example; one that is damaged, without
video or shorter than `prepare({ minFrames })` asks for is left out, with a warning that names it.

@example
await trainer.fit(videoFolder('clips', { width: 320, height: 192 }), { steps: 1000 })
@throws VinError ERR_VIN_NOT_SUPPORTED without ffmpeg, ERR_VIN_MISSING_COMPONENT naming videos without a caption or when none can be used, ERR_VIN_FORMAT naming a caption
that is not UTF-8; all when it is first read
*/
export function videoFolder(path: string, options: VideoFolderOptions): VideoFolder {
  checkPath(path, 'path')
  checkNames(options, 'videoFolder', ['width', 'height', 'fps', 'maxFrames', 'heldOut', 'seed'])
  const { width, height, fps = 16, maxFrames = 256, heldOut = 0 } = options
  checkPixels(width, 'width', 4096)
  checkPixels(height, 'height', 4096)
  checkNumber(fps, 'fps', 0.1, 1000)
  checkInteger(maxFrames, 'maxFrames', 1, 65_536)
  checkNumber(heldOut, 'heldOut', 0, 0.9)
  const seed = checkSeed(options.seed === undefined ? 0 : options.seed)
  let listed: Promise<Listed> | undefined
  const inspected = new Map<string, Inspected>()
  let prepared: DatasetReport | undefined

  const prepare = async ({ minFrames = 1, signal, onProgress }: DatasetNeeds = {}): Promise<DatasetReport> => {
    const { videos, others } = await (listed ??= listVideos(path))
    await requireFfmpeg(`read the videos of ${path}`)
    const waiting = videos.filter(({ file }) => !inspected.has(file))
    let next = 0
    // A decoder keeps one or two threads busy.
    const worker = async (): Promise<void> => {
      for (let found = waiting[next++]; found !== undefined; found = waiting[next++]) {
        signal?.throwIfAborted()
        inspected.set(found.file, await inspect(path, found, fps, maxFrames, signal))
        onProgress?.({ done: inspected.size, total: videos.length })
      }
    }
    await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, worker))
    const seconds = (frames: number): string => `(${Number((frames / fps).toFixed(1))} s)`
    const clips = videos.map(({ file }): Clip => {
      const clip = inspected.get(file)!
      if (clip.reason === undefined && clip.frames < minFrames) return { ...clip, use: 'left out', short: true, reason: `too short: ${clip.frames} frames ${seconds(clip.frames)}, a clip needs ${minFrames} ${seconds(minFrames)}` }
      return { ...clip, use: clip.reason === undefined ? 'training' : 'left out' }
    })
    const usable = clips.filter(({ use }) => use === 'training')
    const rank = new Map(usable.map((clip) => [clip, createHash('sha256').update(`${seed} ${clip.file}`).digest('hex')]))
    const apart = [...usable].sort((a, b) => (rank.get(a)! < rank.get(b)! ? -1 : 1)).slice(0, Math.floor(heldOut * usable.length))
    for (const clip of apart) clip.use = 'held out'
    const warnings = others.length === 0 ? [] : [{ code: 'files-not-read', message: `${others.slice(0, 8).join(', ')}${others.length > 8 ? ` and ${others.length - 8} more` : ''} in ${path} are not read; convert them to .mp4` }]
    prepared = { clips, warnings, needs: { minFrames } }
    return prepared
  }

  const used = async (use: Clip['use']): Promise<Clip[]> => {
    if (prepared === undefined) {
      for (const { code, message } of warnAbout(await prepare())) process.emitWarning(message, { type: 'VinNativeWarning', code })
    }
    const clips = prepared!.clips.filter((clip) => clip.use === use)
    if (clips.length === 0 && use === 'training') {
      const reasons = prepared!.clips.filter(({ reason }) => reason !== undefined)
      const named = reasons.slice(0, 3).map(({ file, reason }) => `${file} (${reason})`)
      const message = `Expected at least one video in ${path} that can be used but all are left out: ${named.join(', ')}${reasons.length > 3 ? ` and ${reasons.length - 3} more` : ''}`
      throw new VinError('ERR_VIN_MISSING_COMPONENT', message, { component: 'videos', folder: path, videos: reasons.map(({ file }) => file) })
    }
    return clips
  }
  const read = async ({ file, prompt }: Clip): Promise<TrainingExample> => ({ prompt, fps, frames: await readPixels(join(path, file), width, height, fps, maxFrames) })
  const examples = async function* (epoch: number, skip: number): AsyncGenerator<TrainingExample> {
    const clips = await used('training')
    for (const index of new PhiloxRandom(seed, streams.order, epoch).permutation(clips.length).slice(skip)) yield await read(clips[index]!)
  }
  const apart = async function* (): AsyncGenerator<TrainingExample> {
    for (const clip of await used('held out')) yield await read(clip)
  }
  return { examples, prepare, heldOut: apart, [Symbol.asyncIterator]: () => examples(0, 0) }
}

async function readPixels(file: string, width: number, height: number, fps: number, maxFrames: number): Promise<VideoPixels> {
  const frames: Uint8Array[] = []
  for await (const frame of readVideo(file, { width, height, fps })) {
    frames.push(frame.data)
    if (frames.length === maxFrames) break
  }
  if (frames.length === 0) throw new VinError('ERR_VIN_FORMAT', `Expected frames in ${file}, as when it was looked at, but none can be read`, { file })
  const size = width * height * 3
  const data = new Uint8Array(frames.length * size)
  frames.forEach((frame, index) => data.set(frame, index * size))
  return { data, shape: [frames.length, height, width, 3] }
}
