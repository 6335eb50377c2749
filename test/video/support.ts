// Videos without a model: frames from a formula.

import { Video } from '../../lib/video/video.js'
import type { Frame } from '../../lib/video/frames.js'

export interface SyntheticOptions {
  width?: number
  height?: number
  numFrames?: number
  fps?: number
  /** Value of channel c at (x, y) of a frame. */
  pixel?: (x: number, y: number, c: number, frame: number) => number
  /** Runs before each frame; may throw or wait. */
  before?: (frame: number, signal?: AbortSignal) => void | Promise<void>
}

/** A disk that moves over a gradient. */
export function movingDisk(width: number, height: number): (x: number, y: number, c: number, frame: number) => number {
  return (x, y, c, frame) => {
    const inside = Math.hypot(x - (10 + 2 * frame) % width, y - height / 2) < height / 5
    if (inside) return [235, 60, 40][c]!
    return [40 + (100 * x) / width, 120, 60 + (120 * y) / height][c]!
  }
}

export function frameOf(options: SyntheticOptions, index: number): Frame {
  const { width = 64, height = 64, pixel = movingDisk(width, height) } = options
  const data = new Uint8Array(width * height * 3)
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < 3; c++) data[i++] = Math.round(pixel(x, y, c, index))
  return { index, data, width, height }
}

export function syntheticVideo(options: SyntheticOptions = {}): Video {
  const { width = 64, height = 64, numFrames = 12, fps = 16, before } = options
  const latents = { data: Float32Array.from({ length: 4 * 4 * 8 * 8 }, (_, i) => Math.sin(i)), shape: [4, 4, 8, 8] }
  const decode = async function* (signal?: AbortSignal): AsyncGenerator<Frame> {
    for (let index = 0; index < numFrames; index++) {
      await before?.(index, signal)
      signal?.throwIfAborted()
      yield frameOf(options, index)
    }
  }
  return new Video({ latents, decode, width, height, fps, numFrames, seed: 7, options: { prompt: 'a red circle', seed: 7n }, plan: undefined, timings: {}, warnings: [] })
}

/** 10 · log10(255² / mean squared error). */
export function psnr(a: Uint8Array, b: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return 10 * Math.log10((255 * 255 * a.length) / sum)
}
