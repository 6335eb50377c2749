// Animated WebP by sharp where it is installed, else by an ffmpeg on PATH that has libwebp.

import { VinError, notSupported } from '../errors.js'
import { findProgram, foundNeither, loadSharp, startProgram, type Sharp } from '../native/optional.js'
import { hasEncoder } from './ffmpeg.js'
import { frameDelay } from './frame-rate.js'
import { enlargedFrames, type FrameSource } from './frames.js'

/** libvips takes all pages as one tall picture; WebP pages end at 16383 pixels. */
const maxBytes = 2 ** 30

async function withSharp(sharp: Sharp, source: FrameSource, scale: number): Promise<Uint8Array> {
  const width = source.width * scale
  const height = source.height * scale
  const bytes = width * height * 3 * source.numFrames
  if (bytes > maxBytes) {
    throw new VinError('ERR_VIN_OUT_OF_MEMORY', `Expected at most ${maxBytes} bytes of pixels for a WebP but the frames hold ${bytes}; use a smaller scale or .mp4`, { asked: bytes, free: maxBytes })
  }
  const pages = new Uint8Array(bytes)
  let offset = 0
  for await (const { data } of enlargedFrames(source, scale)) {
    pages.set(data, offset)
    offset += data.length
  }
  const delay = Array.from({ length: source.numFrames }, (_, i) => frameDelay(i, source.fps, 1000))
  const raw = { width, height: height * source.numFrames, channels: 3 as const, pageHeight: height }
  return sharp(pages, { raw, limitInputPixels: false }).webp({ quality: 85, delay, loop: 0 }).toBuffer()
}

async function* withFfmpeg(ffmpeg: string, source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const size = `${source.width * scale}x${source.height * scale}`
  const input = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', size, '-r', String(source.fps), '-i', 'pipe:0']
  const { child, done } = startProgram(ffmpeg, ['-v', 'error', ...input, '-c:v', 'libwebp_anim', '-quality', '85', '-loop', '0', '-f', 'webp', 'pipe:1'])
  const feed = async (): Promise<void> => {
    for await (const { data } of enlargedFrames(source, scale)) {
      if (!child.stdin!.write(data)) await Promise.race([new Promise((resolve) => child.stdin!.once('drain', resolve)), done])
    }
    child.stdin!.end()
  }
  try {
    const fed = feed()
    fed.catch(() => child.kill('SIGKILL'))
    for await (const chunk of child.stdout as AsyncIterable<Uint8Array>) yield chunk
    await fed
    await done
  } finally {
    child.kill('SIGKILL')
  }
}

export async function* encodeWebp(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const found = await loadSharp()
  if (found.sharp !== undefined) {
    yield await withSharp(found.sharp, source, scale)
    return
  }
  const ffmpeg = await findProgram('ffmpeg')
  if (ffmpeg !== undefined && (await hasEncoder(ffmpeg, 'libwebp_anim'))) {
    yield* withFfmpeg(ffmpeg, source, scale)
    return
  }
  throw notSupported('webp', `Expected sharp or an ffmpeg on PATH with libwebp to write .webp but ${foundNeither(found)}; run npm install sharp, or choose .mp4, .gif or .apng`)
}
