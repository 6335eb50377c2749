// What is measured: a file, a Video, or frames; with the rate, the length and the borders of chunks, where it has them.

import { expected } from '../errors.js'
import { firstVideoFrame, latentFramesOf } from '../plan/frames.js'
import type { MicroBatch } from '../plan/frames.js'
import { rateOf, readVideo } from '../video/ffmpeg.js'
import { probeVideo } from '../video/probe.js'
import type { Frame, Video, VideoWarning } from '../video/index.js'

/** A video file (read by ffmpeg, at its own size and rate), a `Video`, or frames of one size, in order. */
export type EvaluateSource = string | (Pick<Video, 'frames'> & Partial<Pick<Video, 'fps' | 'numFrames' | 'plan'>>) | AsyncIterable<Frame>

export interface OpenedSource {
  fps: number | undefined
  /** As far as it is known before all have been read. */
  numFrames: number | undefined
  /** First video frame of every chunk but the first. */
  borders: readonly number[] | undefined
  /** From the first frame on. */
  frames(): AsyncIterable<Frame>
  /** Frames can be read more than once. */
  repeats: boolean
}

/** @throws RangeError for a path that cannot be read, ERR_VIN_FORMAT for a file that is no video or says no rate, ERR_VIN_NOT_SUPPORTED without ffmpeg */
export async function openSource(source: EvaluateSource, signal: AbortSignal | undefined, onWarning: (warning: VideoWarning) => void): Promise<OpenedSource> {
  if (typeof source === 'string') {
    const probe = await probeVideo(source, signal)
    const { width, height, numFrames } = probe
    const fps = rateOf(probe, source)
    return { fps, numFrames, borders: undefined, frames: () => readVideo(source, { width, height, fps, signal, probe, onWarning }), repeats: true }
  }
  if (typeof source === 'object' && source !== null && 'frames' in source) {
    const { fps, numFrames, plan } = source
    return { fps, numFrames, borders: bordersOf(plan, numFrames), frames: () => source.frames({ signal }), repeats: true }
  }
  if (typeof source === 'object' && source !== null && Symbol.asyncIterator in source) return { fps: undefined, numFrames: undefined, borders: undefined, frames: () => source, repeats: false }
  throw expected('a path, a Video or frames', 'evaluate', source, 'type')
}

/** The pairs of models that there are. */
const microBatches: readonly MicroBatch[] = [
  { frames: 16, latentFrames: 5 },
  { frames: 17, latentFrames: 5 }
]

/** The first video frames of chunks, from the plan of the run that made the video. */
function bordersOf(plan: unknown, numFrames: number | undefined): number[] | undefined {
  if (typeof plan !== 'object' || plan === null || !('chunks' in plan) || !('latentFrames' in plan) || !Array.isArray(plan.chunks) || numFrames === undefined) return undefined
  const micro = microBatches.find((each) => latentFramesOf(numFrames, each) === plan.latentFrames)
  if (micro === undefined) return undefined
  return (plan.chunks as { start: number }[]).slice(1).map(({ start }) => firstVideoFrame(start, micro))
}
