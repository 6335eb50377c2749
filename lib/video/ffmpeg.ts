// The user's own ffmpeg, where PATH has one: reads videos and the pictures fast-png cannot, writes WebP. Never shipped, never downloaded.

import { checkInteger, checkNames, checkNumber, checkSignal } from '../check.js'
import { VinError, notSupported } from '../errors.js'
import { collectOutput, findProgram, startProgram } from '../native/optional.js'
import { lacksItsEnd } from './endings.js'
import type { Frame } from './frames.js'
import { ffmpegInput, probeVideo, unreadable, type VideoProbe } from './probe.js'
import type { VideoWarning } from './video.js'

export async function requireFfmpeg(purpose: string): Promise<string> {
  const path = await findProgram('ffmpeg')
  if (path === undefined) throw notSupported('ffmpeg', `Expected ffmpeg on PATH to ${purpose} but found none; install ffmpeg`)
  return path
}

export async function hasEncoder(ffmpeg: string, encoder: string): Promise<boolean> {
  const text = (await collectOutput(ffmpeg, ['-hide_banner', '-encoders'])).toString()
  return text.split('\n').some((line) => line.trim().split(/\s+/)[1] === encoder)
}

/** Rounding and chroma of full accuracy: swscale's defaults turn white into 253. */
export const accurateScaling = 'accurate_rnd+full_chroma_int+full_chroma_inp'

/** Transfer functions of high dynamic range: shown as they are, whites would be grey. */
const highDynamicRange: Record<string, string> = { smpte2084: 'PQ', 'arib-std-b67': 'HLG' }

/**
Video → frames of a size and rate. Fields become frames where the stream is interlaced; time begins at the stream's own first frame, so that none is repeated to fill
what is before it; pixels become square; the picture is scaled once, straight to RGB, to cover the size, and its centre is kept.
*/
function filterOf({ fieldOrder, pixelFormat, colorSpace, width: codedWidth, height: codedHeight }: VideoProbe, { width, height, fps }: { width: number; height: number; fps: number }): string {
  const filters: string[] = []
  // Frames that are not flagged as interlaced pass through; the filter has no use for RGB, and would convert it.
  if (fieldOrder !== 'progressive' && !/rgb|bgr|gbr|pal8|mono|bayer|xyz/.test(pixelFormat ?? '') && codedWidth > 2 && codedHeight > 2) filters.push('bwdif=mode=send_frame:deint=interlaced')
  filters.push('setpts=PTS-STARTPTS', `fps=${fps}`)
  const cover = `max(${width}/(iw*sar),${height}/ih)`
  const size = (side: string, least: number): string => `'max(${least},floor(${side}*${cover}+0.5))'`
  // Players take what says nothing for BT.709 from 720 lines on; swscale takes it for BT.601.
  const matrix = colorSpace === undefined && codedHeight >= 720 ? ':in_color_matrix=bt709' : ''
  filters.push(`scale=w=${size('iw*sar', width)}:h=${size('ih', height)}:flags=area+${accurateScaling}${matrix}`, 'format=rgb24', `crop=${width}:${height}`)
  return filters.join(',')
}

export interface ReadVideoOptions {
  /** Pixels across of the frames that are wanted: the picture is scaled to cover them, and its centre is kept. */
  width: number
  /** Their pixels down. */
  height: number
  /** Frames a second that are wanted, whatever the file has. */
  fps: number
  /** Ends the reading: the iterator throws its reason. */
  signal?: AbortSignal | undefined
  /** Hears of a file that is cut off or damaged, when its last frame has been read. */
  onWarning?: ((warning: VideoWarning) => void) | undefined
  /**
  What `probeVideo` said of the file, if it has been asked.

  @internal
  */
  probe?: VideoProbe | undefined
}

/** What is wrong with a stream of which `read` frames came at rate `fps`: what ffmpeg said, an end that is missing, or fewer frames than the file's header says, beyond what rates and edit lists take. */
async function damageOf(path: string, { format, numFrames, fps: rate, duration }: VideoProbe, complaints: string, read: number, fps: number): Promise<string | undefined> {
  const seconds = Math.min(duration ?? Infinity, numFrames === undefined || rate === undefined ? Infinity : numFrames / rate)
  const whole = Number.isFinite(seconds) ? Math.max(read, Math.round(seconds * fps)) : undefined
  const short = whole !== undefined && numFrames !== undefined && read < 0.98 * whole - 2
  // `[h264 @ 0x55d8c0a] ` is an address.
  const lines = complaints.split('\n').map((line) => line.replace(/^(\[[^\]]*\] ?)+/, '').trim())
  const words = lines.filter((line) => line !== '' && !line.startsWith('Last message repeated')).at(-1)
  // How long it was such a file does not say.
  if (words === undefined && (await lacksItsEnd(path, format))) return `damaged or cut off (its end is missing): ${read} frames at ${fps} fps were read`
  if (!short && words === undefined) return undefined
  return `damaged or cut off${words === undefined ? '' : ` (ffmpeg: ${words})`}: ${read}${whole === undefined ? '' : ` of ${whole}`} frames at ${fps} fps were read`
}

/**
The frames of a video file at a given rate and size: pixels made square, scaled to cover, centre-cropped. Frames wait in the pipe until they are asked for.
A stream that is cut off or garbled ends where ffmpeg gives up: `onWarning` hears how many frames of how many were read, once all have been.

@example
for await (const { index, data } of readVideo('in.mp4', { width: 64, height: 64, fps: 16 })) console.log(index, data.length)
@throws RangeError for a path that cannot be read; ERR_VIN_FORMAT for a file that is no video; ERR_VIN_NOT_SUPPORTED without ffmpeg and for HLG and PQ
*/
export async function* readVideo(path: string, options: ReadVideoOptions): AsyncGenerator<Frame> {
  checkNames(options, 'readVideo', ['width', 'height', 'fps', 'signal', 'onWarning', 'probe'])
  const width = checkInteger(options.width, 'width', 1, 65_536)
  const height = checkInteger(options.height, 'height', 1, 65_536)
  const fps = checkNumber(options.fps, 'fps', 0, 1000, true)
  const signal = checkSignal(options.signal)
  const ffmpeg = await requireFfmpeg(`read ${path}`)
  const probe = options.probe ?? (await probeVideo(path, signal))
  const transfer = highDynamicRange[probe.colorTransfer ?? '']
  if (transfer !== undefined) {
    throw notSupported(transfer, `Expected a video of standard dynamic range in ${path} but its transfer is ${transfer} (HDR); convert it: ffmpeg -i in.mp4 -vf zscale=t=linear:npl=203,format=gbrpf32le,tonemap=mobius,zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p out.mp4`)
  }
  const { child, done } = startProgram(ffmpeg, ['-nostdin', '-v', 'error', ...ffmpegInput(path), '-map', '0:V:0', '-vf', filterOf(probe, { width, height, fps }), '-f', 'rawvideo', '-pix_fmt', 'rgb24', 'pipe:1'], signal)
  const frameBytes = width * height * 3
  try {
    let frame = new Uint8Array(frameBytes)
    let filled = 0
    let index = 0
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; ) {
        const take = Math.min(chunk.length - at, frameBytes - filled)
        frame.set(chunk.subarray(at, at + take), filled)
        at += take
        filled += take
        if (filled === frameBytes) {
          yield { index: index++, data: frame, width, height }
          signal?.throwIfAborted()
          frame = new Uint8Array(frameBytes)
          filled = 0
        }
      }
    }
    const complaints = await done.catch((error: unknown) => {
      throw unreadable(path, error)
    })
    const damage = await damageOf(path, probe, complaints, index, fps)
    if (damage !== undefined) options.onWarning?.({ code: 'damaged-video', message: `${path} is ${damage}` })
  } finally {
    child.kill('SIGKILL')
  }
}

/** The rate that a file says. @throws ERR_VIN_FORMAT for one that says none */
export function rateOf({ fps }: VideoProbe, path: string): number {
  if (fps === undefined) throw new VinError('ERR_VIN_FORMAT', `Expected a number of frames a second in ${path} but it says none`, { file: path, expected: 'a frame rate' })
  return fps
}
