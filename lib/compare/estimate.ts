// What a comparison will take, before it is begun: FLOPs are planned; how fast they go is tried with one evaluation and a few measured frames, or known from rows that
// this machine has made.

import { statfs } from 'node:fs/promises'
import { evaluate } from '../evaluate/index.js'
import type { FrameEncoder } from '../evaluate/consistency.js'
import type { VideoPipeline } from '../pipeline/pipeline.js'
import { defaultScale, type Frame } from '../video/frames.js'
import { generateOptionsOf } from './cell.js'
import type { CompareEstimate, ResolvedCompareOptions } from './options.js'
import type { Cell, CompareRow } from './row.js'

/** Bytes a pixel and frame of the videos that are saved: more than what moving shapes and films take at the quality they are saved with. */
const VIDEO_BYTES = 0.04
/** With features; without them a tenth. */
const ROW_BYTES = 60_000

const trialFrames = 5

/** Seconds of what a cell is made of. */
export interface Speed {
  perFlop: number
  /** Decoding, saving and measuring. */
  perFrame: number
}

export function secondsOf(flops: number, frames: number, { perFlop, perFrame }: Speed): number {
  return flops * perFlop + frames * perFrame
}

/** From rows of the same machine; undefined: there are none. */
function knownSpeed(pipeline: VideoPipeline, rows: readonly CompareRow[]): Speed | undefined {
  const { device, isa, threads } = pipeline.runtime
  const own = rows.filter(({ runtime, seconds, measuringSeconds }) => seconds !== undefined && measuringSeconds !== undefined && runtime.device === device && runtime.isa === isa && runtime.threads === threads)
  if (own.length === 0) return undefined
  const sum = (of: (row: CompareRow) => number): number => own.reduce((total, row) => total + of(row), 0)
  return { perFlop: sum((row) => row.seconds!) / sum((row) => row.flops), perFrame: sum((row) => row.measuringSeconds!) / sum((row) => row.frames) }
}

/** One evaluation of the cheapest cell, and a few frames. */
async function trySpeed(pipeline: VideoPipeline, cells: readonly Cell[], options: ResolvedCompareOptions, encoder: FrameEncoder | undefined): Promise<Speed> {
  const { width = 8, height = 8, fps = 16 } = options.shared
  const { signal, metrics } = options
  const { in_channels: channels, caption_channels: wide } = pipeline.transformer.config
  const numFrames = Math.min(...cells.map(({ frames }) => frames))
  const { flops, latentFrames } = pipeline.plan({ ...generateOptionsOf(cells[0]!, options), numFrames, method: 'independent', stepCache: 'off' })
  const shape = [channels, latentFrames, height / 8, width / 8]
  const latents = { data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, at) => Math.sin(12.9898 * at)), shape }
  const promptEmbeds = { data: new Float32Array(wide), shape: [1, wide] }
  const evaluation = (): Promise<unknown> => pipeline.denoise({ latents, timestep: 500, promptEmbeds, method: 'independent', signal })
  const perFlop = (await secondsFor(evaluation)) / flops.perStep
  if (!options.pixels) return { perFlop, perFrame: 0 }
  const frames = async function* (): AsyncGenerator<Frame> {
    for (let index = 0; index < trialFrames; index++) yield { index, width, height, data: Uint8Array.from({ length: 3 * width * height }, (_, at) => (at * 7 + index * 31) % 251) }
  }
  const perFrame = (await secondsFor(() => evaluate(frames(), { metrics, encoder, signal, fps, borders: [1] }))) / trialFrames
  return { perFlop, perFrame }
}

/** Of a second try where the first one was quick: it has warmed things up. */
async function secondsFor(work: () => Promise<unknown>): Promise<number> {
  const once = async (): Promise<number> => {
    const started = performance.now()
    await work()
    return (performance.now() - started) / 1000
  }
  const first = await once()
  return first > 0.5 ? first : once()
}

export async function estimateCells(
  pipeline: VideoPipeline,
  cells: readonly Cell[],
  rows: readonly CompareRow[],
  options: ResolvedCompareOptions,
  encoder: FrameEncoder | undefined,
  folder: string
): Promise<{ estimate: Omit<CompareEstimate, 'cells'>; seconds: (cell: Cell) => number }> {
  const { width = 8, height = 8 } = options.shared
  const speed = knownSpeed(pipeline, rows) ?? (await trySpeed(pipeline, cells, options, encoder))
  // A plan of a length and a method is that of all its prompts and seeds.
  const plans = new Map<string, { seconds: number; latentBytes: number }>()
  const planOf = (cell: Cell): { seconds: number; latentBytes: number } => {
    const key = `${cell.variant.name} ${cell.frames}`
    const known = plans.get(key)
    if (known !== undefined) return known
    const { flops, latentFrames } = pipeline.plan(generateOptionsOf(cell, options))
    const made = { seconds: secondsOf(flops.total, cell.frames, speed), latentBytes: 4 * pipeline.transformer.config.in_channels * latentFrames * (height / 8) * (width / 8) }
    plans.set(key, made)
    return made
  }
  const scale = defaultScale(width, height)
  const rowBytes = encoder === undefined ? ROW_BYTES / 10 : ROW_BYTES
  const keptBytes = (cell: Cell): number => (!options.videos ? 0 : options.pixels ? VIDEO_BYTES * cell.frames * width * height * scale ** 2 : planOf(cell).latentBytes)
  const bytes = cells.reduce((sum, cell) => sum + keptBytes(cell) + rowBytes, 0) + 4 * Math.max(...cells.map((cell) => planOf(cell).latentBytes))
  const { bavail, bsize } = await statfs(folder)
  const seconds = cells.reduce((sum, cell) => sum + planOf(cell).seconds, 0)
  return { estimate: { open: cells.length, seconds, bytes: Math.ceil(bytes), freeBytes: bavail * bsize }, seconds: (cell) => planOf(cell).seconds }
}
