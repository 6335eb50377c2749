// What ffprobe says of a video before it is decoded. Files come from other people: only containers that hold all of their own data are opened, since a playlist
// (HLS, DASH, ffconcat, SDP, IMF, a numbered sequence, a script) makes ffmpeg read other files and addresses, whatever its name ends in.

import { stat } from 'node:fs/promises'
import { VinError, notSupported, rangeError } from '../errors.js'
import { collectOutput, findProgram } from '../native/optional.js'

/** ffmpeg's names of the containers that are opened, and what people call them. */
const containers = { mov: '.mp4, .mov', matroska: '.mkv, .webm', avi: '.avi', mpegts: '.ts', mpeg: '.mpg', flv: '.flv', ogg: '.ogv', asf: '.wmv', gif: '.gif', apng: '.apng', yuv4mpegpipe: '.y4m' }

/** The largest frame that is decoded: 8192 × 8192. */
const maxFramePixels = 2 ** 26
/** The largest ratio of a frame's sides as they are shown: a cover of more is one enlarged line. */
const maxAspect = 64

/** Arguments before `-i` or the file: one container of the list, read from the disk and nowhere else. */
const inputArgs = ['-protocol_whitelist', 'file', '-format_whitelist', Object.keys(containers).join(','), '-max_pixels', String(maxFramePixels)]

/** A file for a program's arguments, whatever its name begins with. */
const fileUrl = (path: string): string => `file:${path}`

export const ffmpegInput = (path: string): string[] => [...inputArgs, '-i', fileUrl(path)]

export interface VideoProbe {
  /** ffmpeg's word for the container. */
  format: string | undefined
  /** Of the stream as it is coded: before rotation and with its own shape of pixels. */
  width: number
  height: number
  /** ffmpeg's words; undefined where the file does not say. */
  colorSpace: string | undefined
  colorTransfer: string | undefined
  fieldOrder: string | undefined
  pixelFormat: string | undefined
  /** Frames a second, on average. */
  fps: number | undefined
  /** Seconds and frames that the file's header says. */
  duration: number | undefined
  numFrames: number | undefined
}

interface Stream {
  width?: number
  height?: number
  sample_aspect_ratio?: string
  color_space?: string
  color_transfer?: string
  field_order?: string
  pix_fmt?: string
  avg_frame_rate?: string
  duration?: string
  nb_frames?: string
}

const entries = 'stream=width,height,sample_aspect_ratio,color_space,color_transfer,field_order,pix_fmt,avg_frame_rate,duration,nb_frames:format=duration,format_name'

/**
The first video stream of a file (covers of songs are none).

@throws RangeError for a path that cannot be read; ERR_VIN_FORMAT for anything but one of the containers with a video; ERR_VIN_NOT_SUPPORTED without ffprobe
*/
export async function probeVideo(path: string, signal?: AbortSignal): Promise<VideoProbe> {
  const ffprobe = await findProgram('ffprobe')
  if (ffprobe === undefined) throw notSupported('ffprobe', `Expected ffprobe on PATH to read ${path} but found none; install ffmpeg, which brings it`)
  await checkIsFile(path)
  const args = ['-v', 'error', ...inputArgs, '-select_streams', 'V:0', '-show_entries', entries, '-of', 'json', fileUrl(path)]
  const output = await collectOutput(ffprobe, args, undefined, { signal }).catch((error: unknown) => {
    throw unreadable(path, error)
  })
  const { streams: [stream] = [], format = {} } = JSON.parse(output.toString()) as { streams?: Stream[]; format?: { duration?: string; format_name?: string } }
  const { width = 0, height = 0 } = stream ?? {}
  if (stream === undefined || width < 1 || height < 1) throw new VinError('ERR_VIN_FORMAT', `Expected a video in ${path} but it has no video stream`, { file: path, expected: 'video stream' })
  if (width * height > maxFramePixels) throw tooManyPixels(path, width, height)
  const aspect = (width / height) * (ratio(stream.sample_aspect_ratio, ':') ?? 1)
  if (aspect > maxAspect || aspect < 1 / maxAspect) {
    throw new VinError('ERR_VIN_FORMAT', `Expected a video whose sides differ by a factor of at most ${maxAspect} but ${path} is ${width} × ${height} pixels of shape ${stream.sample_aspect_ratio ?? '1:1'}`, { file: path, expected: maxAspect, found: aspect })
  }
  return {
    format: format.format_name,
    width,
    height,
    colorSpace: known(stream.color_space),
    colorTransfer: known(stream.color_transfer),
    fieldOrder: known(stream.field_order),
    pixelFormat: known(stream.pix_fmt),
    fps: ratio(stream.avg_frame_rate, '/'),
    duration: positive(Number(stream.duration ?? format.duration)),
    numFrames: positive(Number(stream.nb_frames))
  }
}

async function checkIsFile(path: string): Promise<void> {
  const found = await stat(path).catch((cause: unknown) => {
    throw Object.assign(rangeError(`Expected the path of a video but ${JSON.stringify(path)} cannot be read`), { cause })
  })
  if (!found.isFile()) throw rangeError(`Expected the path of a video but ${JSON.stringify(path)} is ${found.isDirectory() ? 'a folder' : 'no plain file'}`)
}

function tooManyPixels(path: string, width: number, height: number): VinError {
  const message = `Expected frames of at most ${maxFramePixels} pixels in ${path} but they are ${width} × ${height}; make the video smaller`
  return new VinError('ERR_VIN_FORMAT', message, { file: path, expected: maxFramePixels, found: width * height })
}

/** What a program said of a file, as a sentence about the file. */
export function unreadable(path: string, error: unknown): unknown {
  if (!(error instanceof VinError) || error.code !== 'ERR_VIN_FORMAT') return error
  const output = String(error.details['output'] ?? '')
  const playlist = /\[([\w,]+) @ [^\]]*\] Format not on whitelist/.exec(output)?.[1]
  const size = /Picture size (\d+)x(\d+) exceeds/.exec(output)
  if (size !== null) return Object.assign(tooManyPixels(path, Number(size[1]), Number(size[2])), { cause: error })
  const list = Object.values(containers).join(', ')
  if (playlist !== undefined) {
    return new VinError('ERR_VIN_FORMAT', `Expected a video (${list}) in ${path} but its content is of the kind ${playlist}, which is not opened; convert it with ffmpeg`, { file: path, expected: Object.keys(containers), found: playlist }, { cause: error })
  }
  const reason = output.trim().split('\n').at(-1)?.replace(`${fileUrl(path)}: `, '') ?? ''
  return new VinError('ERR_VIN_FORMAT', `Expected a video (${list}) in ${path} but ffmpeg says: ${reason}`, { file: path, expected: Object.keys(containers), found: reason }, { cause: error })
}

function known(word: string | undefined): string | undefined {
  return word === undefined || word === 'unknown' || word === 'unspecified' || word === 'reserved' ? undefined : word
}

/** '4:3' → 1.33; '0:1' and other nonsense is undefined. */
function ratio(text: string | undefined, separator: string): number | undefined {
  const [numerator, denominator] = (text ?? '').split(separator).map(Number)
  return positive((numerator ?? NaN) / (denominator ?? NaN))
}

function positive(value: number): number | undefined {
  return Number.isFinite(value) && value > 0 ? value : undefined
}
