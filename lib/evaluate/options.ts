// Options of evaluate() and evaluateClips(): types, defaults, checks.

import { checkFunction, checkNumber, checkOneOf, checkSignal } from '../check.js'
import { expected, rangeError, typeError } from '../errors.js'
import type { FrameEncoder } from './consistency.js'
import { builtInInterpolator } from './motion-smoothness.js'
import type { FrameInterpolator } from './motion-smoothness.js'
import { builtInFlow } from './optical-flow.js'
import type { OpticalFlow } from './optical-flow.js'
import type { OpenedSource } from './source.js'

export const metricNames = [
  'temporalFlickering',
  'motionSmoothness',
  'dynamicDegree',
  'subjectConsistency',
  'backgroundConsistency',
  'sceneCuts',
  'seamScore',
  'mawe',
  'identityOverGap'
] as const

/** Names of metrics. */
export type MetricName = (typeof metricNames)[number]

export interface EvaluateOptions {
  /**
  What to measure.

  @default ['temporalFlickering']
  */
  metrics?: readonly MetricName[] | undefined
  /**
  Frames a second, for 'dynamicDegree', 'identityOverGap' and clips.

  @default those of the file or Video
  */
  fps?: number | undefined
  /**
  Optical flow of 'mawe' and 'dynamicDegree'. An estimator that runs RAFT makes both as published; 'mawe' shows it frames of 720 × 720.

  @default the built-in one, on the CPU and deterministic
  */
  flow?: OpticalFlow | undefined
  /**
  Makes the frames that 'motionSmoothness' compares with.

  @default half the way along the built-in flow
  */
  interpolator?: FrameInterpolator | undefined
  /** Features for 'subjectConsistency', 'backgroundConsistency' and 'identityOverGap': `vinEncoder(pipeline)`, or any other. */
  encoder?: FrameEncoder | undefined
  /**
  For 'seamScore', the first video frame of every chunk but the first.

  @default those of the run that made the `Video`
  */
  borders?: readonly number[] | undefined
  /**
  Seconds between the frames of 'identityOverGap'. Features of as many frames as the longest has are kept.

  @default [1, 2, 4, 8]
  */
  gaps?: readonly number[] | undefined
  /** Called after each frame; `total` is what the file or Video says, undefined for frames. */
  onProgress?: ((progress: { done: number; total: number | undefined }) => void) | undefined
  /** Ends the work: the call rejects with its reason. */
  signal?: AbortSignal | undefined
}

export const optionNames = ['metrics', 'fps', 'flow', 'interpolator', 'encoder', 'borders', 'gaps', 'onProgress', 'signal']

export interface ResolvedOptions {
  metrics: ReadonlySet<MetricName>
  fps: number | undefined
  flow: OpticalFlow
  interpolator: FrameInterpolator
  encoder: FrameEncoder | undefined
  borders: readonly number[] | undefined
  gaps: readonly number[]
  onProgress: EvaluateOptions['onProgress']
  signal: AbortSignal | undefined
}

/** Those that need an encoder. */
export const metricsWithFeatures: readonly MetricName[] = ['subjectConsistency', 'backgroundConsistency', 'identityOverGap']

/** @throws TypeError or RangeError before anything is read */
export function resolveOptions(options: EvaluateOptions): ResolvedOptions {
  const { metrics = ['temporalFlickering'], flow = builtInFlow, interpolator = builtInInterpolator, encoder, borders, gaps = [1, 2, 4, 8], onProgress } = options
  if (!Array.isArray(metrics)) throw expected('an array of names', 'metrics', metrics, 'type')
  const asked = new Set((metrics as readonly unknown[]).map((name) => checkOneOf(name, 'metrics', metricNames)))
  checkPart(flow, 'flow', 'estimate')
  checkPart(interpolator, 'interpolator', 'between')
  if (encoder !== undefined) checkPart(encoder, 'encoder', 'encode')
  const needy = metricsWithFeatures.find((name) => asked.has(name))
  if (needy !== undefined && encoder === undefined) throw typeError(`Expected an encoder for ${needy} but received none; pass encoder: vinEncoder(pipeline), or { name, encode(frame) } of your own`)
  return {
    metrics: asked,
    fps: options.fps === undefined ? undefined : checkNumber(options.fps, 'fps', 0, 1000, true),
    flow,
    interpolator,
    encoder,
    borders: borders === undefined ? undefined : checkBorders(borders),
    gaps: checkNumbers(gaps, 'gaps').map((seconds) => checkNumber(seconds, 'gaps', 0, 3600, true)),
    onProgress: checkFunction(onProgress, 'onProgress'),
    signal: checkSignal(options.signal)
  }
}

function checkPart(value: unknown, name: string, method: string): void {
  const given = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  if (typeof given['name'] !== 'string' || typeof given[method] !== 'function') throw expected(`{ name, ${method}(…) }`, name, value, 'type')
}

function checkNumbers(values: unknown, name: string): readonly number[] {
  if (!Array.isArray(values)) throw expected('an array of numbers', name, values, 'type')
  return values as readonly number[]
}

function checkBorders(borders: unknown): readonly number[] {
  const wrong = checkNumbers(borders, 'borders').find((frame) => !Number.isInteger(frame) || frame < 1)
  if (wrong !== undefined) throw expected('positive video frames', 'borders', wrong, typeof wrong === 'number' ? 'range' : 'type')
  return borders as readonly number[]
}

/** What the source has to say where no option does. @throws RangeError for what neither does */
export function withSource(options: ResolvedOptions, source: OpenedSource): ResolvedOptions {
  const fps = options.fps ?? source.fps
  const borders = options.borders ?? source.borders
  const needy = (['dynamicDegree', 'identityOverGap'] as const).find((name) => options.metrics.has(name))
  if (needy !== undefined && fps === undefined) throw rangeError(`Expected fps for ${needy} but received frames alone; pass fps`)
  if (options.metrics.has('seamScore') && borders === undefined) throw rangeError('Expected borders for seamScore but the video does not say where its chunks meet; pass borders: [the first video frame of every chunk but the first]')
  return { ...options, fps, borders }
}
