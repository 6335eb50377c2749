// A folder of videos with captions as a data set: NAME.mp4 with NAME.txt beside it, or captions.json / captions.jsonl for the whole folder.

import { readdir, readFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { VinError, expected } from '../errors.js'
import { checkInteger, checkNames, checkNumber, checkPixels, checkString } from '../options/check.js'
import { checkSeed } from '../native/ops.js'
import { readVideo, requireFfmpeg } from '../video/ffmpeg.js'
import type { Dataset, TrainingExample, VideoPixels } from './dataset.js'
import { PhiloxRandom, streams } from './random.js'

export interface VideoFolderOptions {
  /** Pixels of every video: scaled to cover, centre-cropped. */
  width: number
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
  The order of every pass follows from it.

  @default 0
  */
  seed?: number | bigint | undefined
}

const videoNames = new Set(['.mp4', '.webm', '.mov', '.mkv', '.avi'])

interface Captioned {
  file: string
  prompt: string
}

function formatError(file: string, wanted: string): VinError {
  return new VinError('ERR_VIN_FORMAT', `Expected ${wanted} in ${file}`, { file, expected: wanted })
}

/** `{ "a.mp4": "a caption" }`, or a list (or lines) of `{ file, caption }`. */
function captionsOf(file: string, text: string): Map<string, string> {
  const captions = new Map<string, string>()
  const parse = (source: string): unknown => {
    try {
      return JSON.parse(source) as unknown
    } catch {
      throw formatError(file, 'JSON')
    }
  }
  const entries = (list: unknown[]) => {
    for (const entry of list) {
      const { file: name, caption } = (typeof entry === 'object' && entry !== null ? entry : {}) as { file?: unknown; caption?: unknown }
      if (typeof name !== 'string' || typeof caption !== 'string') throw formatError(file, '{ "file": …, "caption": … } in every entry')
      captions.set(name, caption)
    }
  }
  if (file.endsWith('.jsonl')) {
    entries(text.split('\n').filter((line) => line.trim() !== '').map(parse))
    return captions
  }
  const whole = parse(text)
  if (Array.isArray(whole)) entries(whole)
  else if (typeof whole === 'object' && whole !== null) entries(Object.entries(whole).map(([name, caption]) => ({ file: name, caption })))
  else throw formatError(file, 'an object or a list')
  return captions
}

async function listVideos(folder: string): Promise<Captioned[]> {
  const names = (await readdir(folder).catch((cause: unknown) => {
    throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected a folder of videos at ${folder} but it cannot be read`, { component: 'videos', folder }, { cause })
  })).sort()
  const videos = names.filter((name) => videoNames.has(extname(name).toLowerCase()))
  if (videos.length === 0) throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected videos (${[...videoNames].join(', ')}) in ${folder} but there are none`, { component: 'videos', folder })
  const list = ['captions.json', 'captions.jsonl'].find((name) => names.includes(name))
  const captions = list === undefined ? new Map<string, string>() : captionsOf(join(folder, list), await readFile(join(folder, list), 'utf8'))
  const found: Captioned[] = []
  const without: string[] = []
  for (const name of videos) {
    const text = `${basename(name, extname(name))}.txt`
    const prompt = names.includes(text) ? (await readFile(join(folder, text), 'utf8')).trim() : captions.get(name)
    if (prompt === undefined) without.push(name)
    else found.push({ file: join(folder, name), prompt })
  }
  if (without.length > 0) {
    const message = `Expected a caption for every video in ${folder} but ${without.slice(0, 3).join(', ')}${without.length > 3 ? ` and ${without.length - 3} more` : ''} have none; add NAME.txt or captions.json`
    throw new VinError('ERR_VIN_MISSING_COMPONENT', message, { component: 'captions', videos: without })
  }
  return found
}

/**
Videos of a folder in random order, read by the ffmpeg of PATH.

@example
await trainer.fit(videoFolder('clips', { width: 320, height: 192 }), { steps: 1000 })
@throws VinError ERR_VIN_NOT_SUPPORTED without ffmpeg, ERR_VIN_MISSING_COMPONENT naming videos without a caption; both when it is first read
*/
export function videoFolder(path: string, options: VideoFolderOptions): Dataset {
  checkString(path, 'path')
  checkNames(options, 'videoFolder', ['width', 'height', 'fps', 'maxFrames', 'seed'])
  const width = checkPixels(options.width, 'width', 4096)
  const height = checkPixels(options.height, 'height', 4096)
  const fps = checkNumber(options.fps ?? 16, 'fps', 0.1, 1000)
  const maxFrames = checkInteger(options.maxFrames ?? 256, 'maxFrames', 1, 65_536)
  const seed = checkSeed(options.seed ?? 0)
  let listed: Promise<Captioned[]> | undefined
  const examples = async function* (epoch: number, skip: number): AsyncGenerator<TrainingExample> {
    const videos = await (listed ??= listVideos(path))
    await requireFfmpeg(`read the videos of ${path}`)
    const order = new PhiloxRandom(seed, streams.order, epoch).permutation(videos.length)
    for (const index of order.slice(skip)) {
      const { file, prompt } = videos[index]!
      yield { prompt, fps, frames: await readPixels(file, width, height, fps, maxFrames) }
    }
  }
  return { examples, [Symbol.asyncIterator]: () => examples(0, 0) }
}

async function readPixels(file: string, width: number, height: number, fps: number, maxFrames: number): Promise<VideoPixels> {
  const frames: Uint8Array[] = []
  for await (const frame of readVideo(file, { width, height, fps })) {
    frames.push(frame.data)
    if (frames.length === maxFrames) break
  }
  if (frames.length === 0) throw expected('at least one frame', file, 0, 'range')
  const size = width * height * 3
  const data = new Uint8Array(frames.length * size)
  frames.forEach((frame, index) => data.set(frame, index * size))
  return { data, shape: [frames.length, height, width, 3] }
}
