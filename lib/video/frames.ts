// What writers read: RGB frames in order, and the pixel operations between the model's frames and a file: nearest enlargement and padding to an even size.

import { types } from 'node:util'
import { VinError, expected } from '../errors.js'

/** One picture: RGB, 8 bits, row-major [height, width, 3]. */
export interface Picture {
  data: Uint8Array
  width: number
  height: number
}

/** A frame of a video; `index` counts from 0. */
export interface Frame extends Picture {
  index: number
}

/** A video as a writer sees it. `frames` starts from the first frame each time it is called. */
export interface FrameSource {
  width: number
  height: number
  fps: number
  numFrames: number
  frames(): AsyncIterable<Frame>
  /** Something was adjusted: joins `video.warnings`. */
  warn(code: string, message: string): void
  signal: AbortSignal | undefined
}

/** The smallest whole number by which the shorter side reaches 256 pixels. */
export function defaultScale(width: number, height: number): number {
  return Math.max(1, Math.ceil(256 / Math.min(width, height)))
}

/** Refuses a frame of another size or in another order: writers have fixed sizes in their headers before the first frame comes. */
export function checkFrame(frame: Frame, index: number, source: { width: number; height: number }): void {
  if (!types.isUint8Array(frame?.data)) throw expected('{ index, data (RGB), width, height }', `frame ${index}`, frame, 'type')
  if (frame.index !== index || frame.width !== source.width || frame.height !== source.height || frame.data.length !== frame.width * frame.height * 3) {
    throw new VinError(
      'ERR_VIN_FORMAT',
      `Expected frame ${index} with ${source.width} × ${source.height} RGB pixels but received frame ${frame.index} with ${frame.width} × ${frame.height} pixels in ${frame.data.length} bytes`,
      { expected: { index, width: source.width, height: source.height }, found: { index: frame.index, width: frame.width, height: frame.height, bytes: frame.data.length } }
    )
  }
}

/**
Frames at another rate: each instant shows the frame that began last, its beginning rounded to the new rate, as ffmpeg's filter `fps` does. So a video gives the
frames that its file would.
*/
export async function* resample<F extends Picture>(frames: AsyncIterable<F>, from: number, to: number): AsyncGenerator<F & Frame> {
  let given = 0
  let index = 0
  for await (const frame of frames) {
    const end = Math.round((++given * to) / from)
    for (; index < end; index++) yield { ...frame, index }
  }
}

/** Every n-th frame, from the first on, at an n-th of the rate: motion stays even, where another rate would make it stutter. */
export function everyNth(source: FrameSource, n: number): FrameSource {
  const frames = async function* (): AsyncGenerator<Frame> {
    for await (const frame of source.frames()) if (frame.index % n === 0) yield { ...frame, index: frame.index / n }
  }
  return { ...source, fps: source.fps / n, numFrames: Math.ceil(source.numFrames / n), frames }
}

/** The frames of a source, enlarged. */
export async function* enlargedFrames(source: FrameSource, scale: number): AsyncGenerator<Frame> {
  for await (const { index, data, width, height } of source.frames()) {
    yield { index, data: enlarge(data, width, height, scale), width: width * scale, height: height * scale }
  }
}

/** Every pixel becomes a square of scale × scale pixels. Scale 1 returns the data itself. */
export function enlarge(data: Uint8Array, width: number, height: number, scale: number, channels = 3): Uint8Array {
  if (scale === 1) return data
  const rowBytes = width * scale * channels
  const result = new Uint8Array(rowBytes * height * scale)
  for (let y = 0; y < height; y++) {
    const first = y * scale * rowBytes
    let to = first
    for (let from = y * width * channels; from < (y + 1) * width * channels; from += channels) {
      for (let k = 0; k < scale; k++) for (let c = 0; c < channels; c++) result[to++] = data[from + c]!
    }
    for (let k = 1; k < scale; k++) result.copyWithin(first + k * rowBytes, first, first + rowBytes)
  }
  return result
}

/** Repeats the last column and row of odd sizes. */
export function padToEven(data: Uint8Array, width: number, height: number): Picture {
  const evenWidth = width + (width & 1)
  const evenHeight = height + (height & 1)
  if (evenWidth === width && evenHeight === height) return { data, width, height }
  const result = new Uint8Array(evenWidth * evenHeight * 3)
  for (let y = 0; y < evenHeight; y++) {
    const from = Math.min(y, height - 1) * width * 3
    const to = y * evenWidth * 3
    result.set(data.subarray(from, from + width * 3), to)
    if (evenWidth > width) result.copyWithin(to + width * 3, to + (width - 1) * 3, to + width * 3)
  }
  return { data: result, width: evenWidth, height: evenHeight }
}
