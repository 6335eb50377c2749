// MAWE, how well each frame is the one before it, moved: warping error W over motion M, in three forms that have the name. methods.md §7.1.
//   code     mean_i W_i / (9.5 M_i)              StreamingT2V's program; a static pair gives Infinity or NaN
//   guarded  Σ_i W_i / (9.5 Σ_i M_i)             over pairs that move (M_i ≥ 1e-3) and of which something is left in the frame
//   paper    mean_i W_i / mean |flow|²           StreamingT2V's text
// Frames of 720 × 720, W_i in squared grey values of 0 … 255, M_i mean length of the flow in pixels.

import type { Picture } from '../video/index.js'
import type { Meter } from './meter.js'
import { builtInFlow, checkFlow, resizeFlow } from './optical-flow.js'
import type { FlowField, OpticalFlow } from './optical-flow.js'
import { roundHalfEven } from './rounding.js'
import { Slices } from './slices.js'

const SIZE = 720
const MOTION_WEIGHT = 9.5
const LEAST_MOTION = 1e-3

/** What one pair of frames gives. */
export interface PairError {
  /** W_i: mean squared difference of the second frame and the first one moved, where something was moved to. */
  warpError: number
  /** M_i: mean length of the flow. */
  motion: number
  /** Mean squared length of the flow. */
  squaredMotion: number
  /** Pixels that something was moved to. */
  known: number
}

export interface Mawe {
  /** The form to compare videos by; absent where no pair of frames moves. */
  guarded?: number
  /** The form of the published program: Infinity or NaN where a pair is static. */
  code: number
  /** The form of the published text. */
  paper: number
  /** Mean W_i of all pairs, and mean M_i in pixels of 720 × 720: a video that stands still has the least W. */
  warpError: number
  motion: number
  /** Pairs of neighbouring frames; those without motion, and those whose whole picture left the frame, which `guarded` leaves out. */
  pairs: number
  static: number
  lost: number
  /** The optical flow it was measured with. Without RAFT-large nothing here compares with published numbers: compare only within one flow. */
  flow: string
}

/** Source of each pixel of the next frame, or −1: every pixel goes where the flow says, rounded half to even; of several the last in raster order stays. */
export function splat({ data, width, height }: FlowField): Int32Array {
  const pixels = width * height
  const source = new Int32Array(pixels).fill(-1)
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const toX = roundHalfEven(Math.fround(x + data[at]!))
      const toY = roundHalfEven(Math.fround(y + data[pixels + at]!))
      if (toX >= 0 && toY >= 0 && toX < width && toY < height) source[toY * width + toX] = at
    }
  }
  return source
}

export function pairError(left: Picture, right: Picture, flow: FlowField): PairError {
  const source = splat(flow)
  let [sum, known] = [0, 0]
  for (let at = 0; at < source.length; at++) {
    const from = source[at]!
    if (from < 0) continue
    known += 1
    for (let c = 0; c < 3; c++) {
      const difference = right.data[3 * at + c]! - left.data[3 * from + c]!
      sum += difference * difference
    }
  }
  let [length, squared] = [0, 0]
  for (let at = 0; at < source.length; at++) {
    const u = flow.data[at]!
    const v = flow.data[source.length + at]!
    squared += u * u + v * v
    length += Math.sqrt(u * u + v * v)
  }
  return { warpError: sum / (3 * (known === 0 ? source.length : known)), motion: length / source.length, squaredMotion: squared / source.length, known }
}

/** Sums over pairs, from which every form is had. */
export class MaweSums {
  #pairs = 0
  #static = 0
  #lost = 0
  #ratios = 0
  #errors = 0
  #motion = 0
  #squaredMotion = 0
  #guardedErrors = 0
  #guardedMotion = 0

  add({ warpError, motion, squaredMotion, known }: PairError): void {
    this.#pairs += 1
    this.#ratios += warpError / (MOTION_WEIGHT * motion)
    this.#errors += warpError
    this.#motion += motion
    this.#squaredMotion += squaredMotion
    if (motion < LEAST_MOTION) this.#static += 1
    else if (known === 0) this.#lost += 1
    else {
      this.#guardedErrors += warpError
      this.#guardedMotion += motion
    }
  }

  valueBy(flow: string): Mawe | undefined {
    const pairs = this.#pairs
    if (pairs === 0) return undefined
    return {
      ...(this.#guardedMotion > 0 ? { guarded: this.#guardedErrors / (MOTION_WEIGHT * this.#guardedMotion) } : {}),
      code: this.#ratios / pairs,
      paper: this.#errors / this.#squaredMotion,
      warpError: this.#errors / pairs,
      motion: this.#motion / pairs,
      pairs,
      static: this.#static,
      lost: this.#lost,
      flow
    }
  }
}

/** Keeps two frames. A given flow sees frames of 720 × 720, as the published program's does; the built-in one their own size, and its flow is resized. */
export class MaweMeter implements Meter<Mawe> {
  readonly #flow: OpticalFlow
  readonly #signal: AbortSignal | undefined
  readonly #sums = new MaweSums()
  #before: { frame: Picture; resized: Picture } | undefined

  constructor(flow: OpticalFlow, signal?: AbortSignal) {
    this.#flow = flow
    this.#signal = signal
  }

  async add(frame: Picture): Promise<void> {
    const slices = new Slices(this.#signal)
    const resized = await resizeBilinear(frame, SIZE, SIZE, slices)
    const before = this.#before
    this.#before = { frame, resized }
    if (before === undefined) return
    const flow = await this.#between(before, { frame, resized })
    await slices.turn()
    this.#sums.add(pairError(before.resized, resized, flow))
    await slices.turn()
  }

  async #between(before: { frame: Picture; resized: Picture }, after: { frame: Picture; resized: Picture }): Promise<FlowField> {
    if (this.#flow === builtInFlow) return resizeFlow(await builtInFlow.estimate(before.frame, after.frame, this.#signal), SIZE, SIZE)
    const flow = await this.#flow.estimate(before.resized, after.resized, this.#signal)
    return checkFlow(flow, after.resized, true)
  }

  get value(): Mawe | undefined {
    return this.#sums.valueBy(this.#flow.name)
  }
}

/** Bilinear between pixel centres, without filtering when it shrinks; rounded half to even. */
export async function resizeBilinear({ data, width, height }: Picture, toWidth: number, toHeight: number, slices: Slices): Promise<Picture> {
  if (width === toWidth && height === toHeight) return { data, width, height }
  const result = new Uint8Array(toWidth * toHeight * 3)
  const [scaleX, scaleY] = [width / toWidth, height / toHeight]
  await slices.rows(toHeight, toWidth, (begin, end) => {
    for (let y = begin; y < end; y++) {
      const sy = Math.max(0, (y + 0.5) * scaleY - 0.5)
      const top = Math.floor(sy)
      const bottom = Math.min(height - 1, top + 1)
      const fy = sy - top
      for (let x = 0; x < toWidth; x++) {
        const sx = Math.max(0, (x + 0.5) * scaleX - 0.5)
        const left = Math.floor(sx)
        const right = Math.min(width - 1, left + 1)
        const fx = sx - left
        for (let c = 0; c < 3; c++) {
          const above = data[(top * width + left) * 3 + c]! * (1 - fx) + data[(top * width + right) * 3 + c]! * fx
          const below = data[(bottom * width + left) * 3 + c]! * (1 - fx) + data[(bottom * width + right) * 3 + c]! * fx
          result[(y * toWidth + x) * 3 + c] = roundHalfEven(above * (1 - fy) + below * fy)
        }
      }
    }
  })
  return { data: result, width: toWidth, height: toHeight }
}
