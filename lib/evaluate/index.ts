// evaluate: what can be measured of any video, whoever made it. One file per metric.

import { checkNames } from '../check.js'
import { expected } from '../errors.js'
import { abortableItems } from '../native/cancel.js'
import { checkFrame } from '../video/frames.js'
import type { VideoWarning } from '../video/index.js'
import { Measurement } from './measurement.js'
import type { MetricValues } from './measurement.js'
import { optionNames, resolveOptions, withSource } from './options.js'
import type { EvaluateOptions } from './options.js'
import { openSource } from './source.js'
import type { EvaluateSource } from './source.js'

export { evaluateClips } from './clips.js'
export type { ClipEvaluation, ClipsEvaluation, EvaluateClipsOptions } from './clips.js'
export type { Consistency, FrameEncoder } from './consistency.js'
export type { DynamicDegree } from './dynamic-degree.js'
export type { IdentityOverGap } from './identity-over-gap.js'
export type { Mawe } from './mawe.js'
export type { MetricValues } from './measurement.js'
export type { FrameInterpolator, MotionSmoothness } from './motion-smoothness.js'
export type { FlowField, OpticalFlow } from './optical-flow.js'
export type { EvaluateOptions, MetricName } from './options.js'
export type { EvaluateSource } from './source.js'
export type { EvaluationScores } from './scores.js'
export { summarize } from './summary.js'
export type { EvaluationSummary } from './summary.js'
export { vbenchTotal } from './vbench-total.js'
export type { VBenchDimension, VBenchTotal } from './vbench-total.js'
export { vinEncoder } from './vin-encoder.js'

export interface Evaluation extends MetricValues {
  /** Video frames that were read. */
  frames: number
  width: number
  height: number
  /** Frames a second; absent for frames that came without. */
  fps?: number
  /** What is wrong with a file that could be read nevertheless. */
  warnings?: VideoWarning[]
}

/**
Measures a video, whatever it shows. Frames are read one after another, and what is kept of them does not grow with the video but for a number a frame (dynamic degree,
seam score) and features of the longest gap. Long work lets other work of the process go on every few milliseconds.

Without RAFT, AMT-S, DINO and CLIP nothing that needs them compares with published numbers: results name the flow, interpolator and encoder they were measured with.

@example
const { temporalFlickering, sceneCuts } = await evaluate('out.mp4', { metrics: ['temporalFlickering', 'sceneCuts'] })
@throws RangeError for a path that cannot be read, and for what a metric lacks (fps, borders); TypeError for features without an encoder
@throws VinError ERR_VIN_FORMAT for a file that is no video, ERR_VIN_NOT_SUPPORTED for a path when there is no ffmpeg
*/
export async function evaluate(source: EvaluateSource, options: EvaluateOptions = {}): Promise<Evaluation> {
  checkNames(options, 'evaluate', optionNames)
  const asked = resolveOptions(options)
  const { signal, onProgress } = asked
  const warnings: VideoWarning[] = []
  const opened = await openSource(source, signal, (warning) => void warnings.push(warning))
  const resolved = withSource(asked, opened)
  const measurement = new Measurement(resolved)
  let frames = 0
  let size: { width: number; height: number } | undefined
  for await (const frame of abortableItems(opened.frames(), signal)) {
    size ??= { width: frame?.width, height: frame?.height }
    checkFrame(frame, frames, size)
    // Frames that are read may come in one array again and again.
    await measurement.add({ data: frame.data.slice(), ...size })
    signal?.throwIfAborted()
    frames += 1
    onProgress?.({ done: frames, total: opened.numFrames })
  }
  if (size === undefined) throw expected('at least one frame', 'evaluate', frames, 'range')
  const { fps } = resolved
  return { frames, ...size, ...(fps === undefined ? {} : { fps }), ...measurement.values, ...(warnings.length === 0 ? {} : { warnings }) }
}
