// The formats of videos, chosen by the extension.

import { checkPath } from '../check.js'
import { expected, rangeError } from '../errors.js'
import { encodeInThread, type PixelFormat } from './encoder-thread.js'
import { everyNth, type FrameSource } from './frames.js'

export const videoFormats = ['mp4', 'gif', 'webp', 'apng', 'png', 'y4m', 'safetensors'] as const
export type VideoFormat = (typeof videoFormats)[number]

/** Frames a second that browsers and viewers show: a frame of an animated picture that lasts 10 ms or less gets 100 ms, and GIF counts in hundredths of a second. */
const maxRates: Partial<Record<PixelFormat, number>> = { gif: 50, webp: 90, apng: 90 }

/** Pixels a side that a format can hold: 14 bits, 16 bits, and for H.264 the side of its highest level. */
const maxSides: Partial<Record<VideoFormat, number>> = { webp: 2 ** 14 - 1, gif: 2 ** 16 - 1, mp4: 16_880 }

/** The bytes of a file; for 'png' each piece is the file of one frame. */
export async function* encodeVideo(format: PixelFormat, source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const [width, height, most] = [source.width * scale, source.height * scale, maxSides[format] ?? Infinity]
  if (width > most || height > most) throw rangeError(`Expected at most ${most} pixels a side for .${format} but they are ${width} × ${height}; use a smaller scale, or .y4m`)
  yield* encodeInThread(format, atShownRate(format, source), scale)
}

/** Frames that would be shown slowly are thinned. */
function atShownRate(format: PixelFormat, source: FrameSource): FrameSource {
  const most = maxRates[format] ?? Infinity
  if (source.fps <= most) return source
  const n = Math.ceil(source.fps / most)
  const thinned = everyNth(source, n)
  const rate = (fps: number): string => String(Number(fps.toFixed(3)))
  source.warn('frames-thinned', `viewers show at most ${most} frames a second of .${format}: one frame of every ${n} was kept, ${rate(thinned.fps)} a second instead of ${rate(source.fps)}`)
  return thinned
}

const known = videoFormats.map((format) => `.${format}`).join(', ')

function isFormat(name: string): name is VideoFormat {
  return (videoFormats as readonly string[]).includes(name)
}

/** 'out.mp4' → 'mp4'. */
export function formatOfPath(path: string): VideoFormat {
  checkPath(path, 'path')
  const name = /\.([^./\\]+)$/.exec(path)?.[1]?.toLowerCase() ?? ''
  if (!isFormat(name)) throw rangeError(`Expected a path that ends in one of ${known} but received ${JSON.stringify(path)}`)
  return name
}

/** Whether a video of so many frames becomes a folder of pictures. */
export function isPictureFolder(path: string, numFrames: number): boolean {
  return formatOfPath(path) === 'png' && numFrames !== 1
}

/** 'out.png' → 'out', the folder of its pictures. */
export function pictureFolderOf(path: string): string {
  const folder = path.slice(0, -'.png'.length)
  if (/(^|[/\\])\.{0,2}$/.test(folder)) throw rangeError(`Expected a name before .png, which becomes the folder of the pictures, but received ${JSON.stringify(path)}`)
  return folder
}

/** 'mp4' or '.mp4' → 'mp4'. */
export function formatOfName(name: string): VideoFormat {
  if (typeof name !== 'string') throw expected('the name of a format', 'format', name, 'type')
  const plain = name.toLowerCase().replace(/^\./, '')
  if (!isFormat(plain)) throw rangeError(`Expected one of ${known} for format but received ${JSON.stringify(name)}`)
  return plain
}
