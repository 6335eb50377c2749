// One writer per format, chosen by the extension and imported when it is first used.

import { expected, rangeError } from '../errors.js'
import { everyNth } from './frames.js'
import type { FrameSource } from './frames.js'

export const videoFormats = ['mp4', 'gif', 'webp', 'apng', 'png', 'y4m', 'safetensors'] as const
export type VideoFormat = (typeof videoFormats)[number]

/** Writers of formats that are one file of pixels. */
type StreamFormat = Exclude<VideoFormat, 'png' | 'safetensors'>

const writers: Record<StreamFormat, () => Promise<(source: FrameSource, scale: number) => AsyncGenerator<Uint8Array>>> = {
  mp4: async () => (await import('./mp4.js')).encodeMp4,
  gif: async () => (await import('./gif.js')).encodeGif,
  webp: async () => (await import('./webp.js')).encodeWebp,
  apng: async () => (await import('./apng.js')).encodeApng,
  y4m: async () => (await import('./y4m.js')).encodeY4m
}

/** Frames a second that browsers and viewers show: a frame of an animated picture that lasts 10 ms or less gets 100 ms, and GIF counts in hundredths of a second. */
const maxRates: Partial<Record<StreamFormat, number>> = { gif: 50, webp: 90, apng: 90 }

export async function* encodeVideo(format: StreamFormat, source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const encode = await writers[format]()
  yield* encode(atShownRate(format, source), scale)
}

/** Frames that would be shown slowly are thinned. */
function atShownRate(format: StreamFormat, source: FrameSource): FrameSource {
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
  if (typeof path !== 'string') throw expected('a path', 'path', path, 'type')
  const name = /\.([^./\\]+)$/.exec(path)?.[1]?.toLowerCase() ?? ''
  if (!isFormat(name)) throw rangeError(`Expected a path that ends in one of ${known} but received ${JSON.stringify(path)}`)
  return name
}

/** 'mp4' or '.mp4' → 'mp4'. */
export function formatOfName(name: string): VideoFormat {
  if (typeof name !== 'string') throw expected('the name of a format', 'format', name, 'type')
  const plain = name.toLowerCase().replace(/^\./, '')
  if (!isFormat(plain)) throw rangeError(`Expected one of ${known} for format but received ${JSON.stringify(name)}`)
  return plain
}
