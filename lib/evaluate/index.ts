// evaluate: what a video of the demo world shows, second by second, and whether what comes out from behind its curtain is what went in.

import { expected } from '../errors.js'
import { abortableItems } from '../native/cancel.js'
import { checkNames, checkSignal } from '../options/check.js'
import { WORLD_FPS, WORLD_SIZE } from '../training/demo-world.js'
import { readVideo } from '../video/ffmpeg.js'
import { resample } from '../video/frames.js'
import type { Frame, Video } from '../video/index.js'
import { attributes, readFrame, readSegment } from './attributes.js'
import type { Attribute, FrameReading, SegmentReading } from './attributes.js'
import { promptedAttributes, promptedGap } from './caption.js'
import { readGap } from './identity.js'
import { isOpen, readability } from './readability.js'
import type { Readability } from './readability.js'

/** A video file (read by ffmpeg), a `Video`, or frames in order. What says another rate than the world's 16 frames a second is read at that of the world. */
export type EvaluateSource = string | (Pick<Video, 'frames'> & Partial<Pick<Video, 'fps'>>) | AsyncIterable<Frame>

export interface EvaluateOptions {
  /** The caption it was made from: says which attributes were asked for, and when the curtain closes and opens. */
  prompt?: string | undefined
  /** Stops reading: `evaluate` rejects with its reason. */
  signal?: AbortSignal | undefined
}

export interface Evaluation {
  /** Video frames read. */
  frames: number
  /** Share of frames that show anything of this world, of those that no curtain covers. */
  readable: Readability
  /** What most frames show. */
  whole: SegmentReading
  /** Second by second. */
  seconds: SegmentReading[]
  /** Attributes that the prompt names: what it asks for and what was read. */
  prompted?: { attribute: Attribute; asked: string; read: string | undefined; obeyed: boolean }[]
  /** Before and after the curtain of the prompt. */
  gap?: { before: SegmentReading; after: SegmentReading; same: Record<Attribute, boolean> }
}

/** A frame at the size of the world: enlarged ones give the pixel in the middle of each square. */
export function worldPixels({ data, width, height }: Frame): Uint8Array {
  if (width === WORLD_SIZE && height === WORLD_SIZE) return data
  const scale = width / WORLD_SIZE
  if (width !== height || !Number.isInteger(scale)) throw expected(`frames of ${WORLD_SIZE} × ${WORLD_SIZE} pixels or a whole multiple`, 'evaluate', `${width} × ${height}`, 'range')
  const out = new Uint8Array(WORLD_SIZE * WORLD_SIZE * 3)
  const middle = Math.floor(scale / 2)
  for (let y = 0; y < WORLD_SIZE; y++) {
    for (let x = 0; x < WORLD_SIZE; x++) {
      const from = ((y * scale + middle) * width + x * scale + middle) * 3
      out.set(data.subarray(from, from + 3), (y * WORLD_SIZE + x) * 3)
    }
  }
  return out
}

function framesOf(source: EvaluateSource, signal: AbortSignal | undefined): AsyncIterable<Frame> {
  if (typeof source === 'string') return readVideo(source, { width: WORLD_SIZE, height: WORLD_SIZE, fps: WORLD_FPS, signal })
  if (typeof source === 'object' && source !== null && 'frames' in source) return resample(source.frames({ signal }), source.fps ?? WORLD_FPS, WORLD_FPS)
  if (typeof source === 'object' && source !== null && Symbol.asyncIterator in source) return source
  throw expected('a path, a Video or frames', 'evaluate', source, 'type')
}

/** Reads every frame of a video. */
export async function readFrames(source: EvaluateSource, signal?: AbortSignal): Promise<FrameReading[]> {
  const readings: FrameReading[] = []
  for await (const frame of abortableItems(framesOf(source, signal), signal)) {
    readings.push(readFrame(worldPixels(frame)))
  }
  return readings
}

/**
Reads the attributes of the demo world from a video's pixels.

@example
const { gap } = await evaluate(video, { prompt: 'a shape moves the curtain closes at 1s opens at 3s' })
@throws VinError ERR_VIN_NOT_SUPPORTED for a path when there is no ffmpeg
*/
export async function evaluate(source: EvaluateSource, options: EvaluateOptions = {}): Promise<Evaluation> {
  checkNames(options, 'evaluate', ['prompt', 'signal'])
  const signal = checkSignal(options.signal)
  const readings = await readFrames(source, signal)
  const whole = readSegment(readings)
  const seconds: SegmentReading[] = []
  for (let at = 0; at < readings.length; at += WORLD_FPS) seconds.push(readSegment(readings.slice(at, at + WORLD_FPS)))
  const result: Evaluation = { frames: readings.length, readable: readability(readings.filter(isOpen)), whole, seconds }
  if (options.prompt === undefined) return result
  result.prompted = promptedAttributes(options.prompt).map(({ attribute, value }) => ({ attribute, asked: value, read: whole[attribute], obeyed: whole[attribute] === value }))
  const times = promptedGap(options.prompt)
  if (times === undefined) return result
  const { before, after } = readGap(readings, times.t1, times.t2)
  const same = Object.fromEntries(attributes.map((name) => [name, before[name] !== undefined && before[name] === after[name]])) as Record<Attribute, boolean>
  result.gap = { before, after, same }
  return result
}
