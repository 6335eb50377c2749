// evaluate: what can be measured of any video, whoever made it. One file per metric; the rest of them is refused by name.

import { checkNames, checkOneOf, checkSignal } from '../check.js'
import { expected, notSupported } from '../errors.js'
import { abortableItems } from '../native/cancel.js'
import { readFileFrames } from '../video/ffmpeg.js'
import { checkFrame } from '../video/frames.js'
import type { Frame, Video } from '../video/index.js'
import { TemporalFlickering } from './temporal-flickering.js'

/** A video file (read by ffmpeg, at its own size and rate), a `Video`, or frames of one size, in order. */
export type EvaluateSource = string | Pick<Video, 'frames'> | AsyncIterable<Frame>

const metricNames = ['temporalFlickering', 'motionSmoothness', 'dynamicDegree', 'subjectConsistency', 'backgroundConsistency', 'sceneCuts', 'mawe'] as const

/** Names of metrics. This version measures 'temporalFlickering'; the others reject with ERR_VIN_NOT_SUPPORTED. */
export type MetricName = (typeof metricNames)[number]

export interface EvaluateOptions {
  /**
  What to measure.

  @default ['temporalFlickering']
  */
  metrics?: readonly MetricName[] | undefined
  /** Ends the reading: the call rejects with its reason. */
  signal?: AbortSignal | undefined
}

export interface Evaluation {
  /** Video frames that were read. */
  frames: number
  width: number
  height: number
  /** VBench's: 1 − the mean absolute difference of neighbouring frames, as a share of 255; absent for a video of one frame. */
  temporalFlickering?: number
}

function framesOf(source: EvaluateSource, signal: AbortSignal | undefined): AsyncIterable<Frame> {
  if (typeof source === 'string') return readFileFrames(source, signal)
  if (typeof source === 'object' && source !== null && 'frames' in source) return source.frames({ signal })
  if (typeof source === 'object' && source !== null && Symbol.asyncIterator in source) return source
  throw expected('a path, a Video or frames', 'evaluate', source, 'type')
}

/**
Measures a video, whatever it shows.

@example
const { temporalFlickering } = await evaluate('out.mp4')
@throws VinError ERR_VIN_NOT_SUPPORTED for a metric that this version does not measure, and for a path when there is no ffmpeg
*/
export async function evaluate(source: EvaluateSource, options: EvaluateOptions = {}): Promise<Evaluation> {
  checkNames(options, 'evaluate', ['metrics', 'signal'])
  const signal = checkSignal(options.signal)
  const { metrics = ['temporalFlickering'] } = options
  if (!Array.isArray(metrics)) throw expected('an array of names', 'metrics', metrics, 'type')
  const asked = (metrics as readonly unknown[]).map((name) => checkOneOf(name, 'metrics', metricNames))
  const missing = asked.find((name) => name !== 'temporalFlickering')
  if (missing !== undefined) throw notSupported(missing, `Expected 'temporalFlickering' for metrics but received '${missing}', which this version does not measure`)
  const flickering = asked.length === 0 ? undefined : new TemporalFlickering()
  let frames = 0
  let size: { width: number; height: number } | undefined
  for await (const frame of abortableItems(framesOf(source, signal), signal)) {
    size ??= { width: frame?.width, height: frame?.height }
    checkFrame(frame, frames++, size)
    flickering?.add(frame.data)
  }
  if (size === undefined) throw expected('at least one frame', 'evaluate', frames, 'range')
  const temporalFlickering = flickering?.value
  return { frames, ...size, ...(temporalFlickering === undefined ? {} : { temporalFlickering }) }
}
