// VBench-Long: a video as clips of two seconds, each measured as a video of its own. methods.md §7.4. Subject and background also say how alike the clips are: the
// similarity of their first frames, mapped to the scale of the similarity inside clips, counts for one half.

import { checkBoolean, checkNames, checkNumber } from '../check.js'
import { rangeError } from '../errors.js'
import { abortableItems } from '../native/cancel.js'
import { checkFrame } from '../video/frames.js'
import type { Picture, VideoWarning } from '../video/index.js'
import { ConsistencySums } from './consistency.js'
import { mapSimilarity } from './clip-similarity.js'
import { Measurement } from './measurement.js'
import type { MetricValues } from './measurement.js'
import { optionNames, resolveOptions, withSource } from './options.js'
import type { EvaluateOptions, ResolvedOptions } from './options.js'
import { ContentCuts, ContentScores } from './scene-cuts.js'
import { meansOf, scoresOf } from './scores.js'
import type { EvaluationScores } from './scores.js'
import { openSource } from './source.js'
import type { EvaluateSource, OpenedSource } from './source.js'

/** Score at which a video is cut into scenes. */
const SCENE_THRESHOLD = 35

export interface EvaluateClipsOptions extends EvaluateOptions {
  /**
  Length of a clip. VBench-Long's is 2, and 10 for its metrics of actions and styles.

  @default 2
  */
  seconds?: number | undefined
  /**
  Cut the video into scenes first (PySceneDetect's ContentDetector, threshold 35), so that no clip holds a cut. Reads the video twice.

  @default false
  */
  splitScenes?: boolean | undefined
}

/** A clip, video frames [from, until). */
export interface ClipEvaluation extends MetricValues {
  from: number
  until: number
}

export interface ClipsEvaluation {
  frames: number
  width: number
  height: number
  fps: number
  /** In order; the last one of a scene begins earlier than the one before it ends, so that it is complete. */
  clips: ClipEvaluation[]
  /** Similarity of the clips' first frames, in the consistency's form; absent for one clip, and without features. */
  clipToClip?: number
  /** Mean over the clips: of what each says, and for consistency of ½ in-clip + ½ mapped clip-to-clip. */
  mean: EvaluationScores
  warnings?: VideoWarning[]
}

/** Clips of frames [from, until) of so many frames: whole ones, and one more that ends with the last frame; one of all frames where they are too few. */
export function clipsOf(from: number, until: number, length: number): [number, number][] {
  if (until - from < length) return until > from ? [[from, until]] : []
  const whole = Array.from({ length: Math.floor((until - from) / length) }, (_, clip): [number, number] => [from + clip * length, from + (clip + 1) * length])
  return (until - from) % length === 0 ? whole : [...whole, [until - length, until]]
}

/** Frames of a clip: whole seconds of ⌊fps⌋ frames. */
export function clipLength(fps: number, seconds: number): number {
  return Math.max(1, Math.floor(Math.floor(fps) * seconds))
}

/**
Measures a video clip by clip. Keeps the frames of one clip, whatever the video's length.

@example
const { mean, clips } = await evaluateClips('long.mp4', { metrics: ['temporalFlickering', 'sceneCuts'] })
@throws as `evaluate`; RangeError for `splitScenes` with frames that can be read once
*/
export async function evaluateClips(source: EvaluateSource, options: EvaluateClipsOptions = {}): Promise<ClipsEvaluation> {
  checkNames(options, 'evaluateClips', [...optionNames, 'seconds', 'splitScenes'])
  const seconds = checkNumber(options.seconds ?? 2, 'seconds', 0, 3600, true)
  const splitScenes = checkBoolean(options.splitScenes ?? false, 'splitScenes')
  const asked = resolveOptions(options)
  const warnings: VideoWarning[] = []
  const opened = await openSource(source, asked.signal, (warning) => void (warnings.some(({ message }) => message === warning.message) || warnings.push(warning)))
  const resolved = withSource(asked, opened)
  const { fps } = resolved
  if (fps === undefined) throw rangeError('Expected fps for clips but received frames alone; pass fps')
  if (splitScenes && !opened.repeats) throw rangeError('Expected a file or a Video for splitScenes, which reads it twice, but received frames')
  const scenes = splitScenes ? await scenesOf(opened, resolved.signal) : []
  // Each clip is a video of ⌊fps⌋ frames a second.
  const measured = await measureClips(opened, { ...resolved, fps: Math.max(1, Math.floor(fps)) }, clipLength(fps, seconds), scenes)
  return { ...measured, fps, ...(warnings.length === 0 ? {} : { warnings }) }
}

async function scenesOf(source: OpenedSource, signal: AbortSignal | undefined): Promise<number[]> {
  const [scores, cuts] = [new ContentScores(), new ContentCuts(SCENE_THRESHOLD)]
  for await (const frame of abortableItems(source.frames(), signal)) cuts.add(scores.next(frame))
  return cuts.cuts
}

async function measureClips(source: OpenedSource, options: ResolvedOptions, length: number, cuts: readonly number[]): Promise<Omit<ClipsEvaluation, 'fps' | 'warnings'>> {
  const clips: ClipEvaluation[] = []
  const firstFrames = new ConsistencySums()
  const between = new Set(cuts)
  /** The frames of the scene that its last clip may need. */
  let recent: Picture[] = []
  let begin = 0
  let frames = 0
  let current: { measurement: Measurement; from: number; features: Float32Array | undefined } | undefined
  let size: { width: number; height: number } | undefined

  const start = (from: number): NonNullable<typeof current> => {
    // What seams there are is said by their place in the video.
    const borders = options.borders?.map((frame) => frame - from).filter((frame) => frame > 0)
    return { measurement: new Measurement({ ...options, borders }), from, features: undefined }
  }
  const show = async (clip: NonNullable<typeof current>, frame: Picture): Promise<void> => {
    const features = await clip.measurement.add(frame)
    clip.features ??= features
  }
  const finish = (clip: NonNullable<typeof current>, until: number): void => {
    if (clip.features !== undefined) firstFrames.add(clip.features)
    clips.push({ from: clip.from, until, ...clip.measurement.values })
  }
  const endScene = async (): Promise<void> => {
    if (current !== undefined && frames - begin < length) finish(current, frames)
    else if (current !== undefined) {
      const last = start(frames - length)
      for (const frame of recent) await show(last, frame)
      finish(last, frames)
    }
    current = undefined
    recent = []
    begin = frames
  }

  for await (const frame of abortableItems(source.frames(), options.signal)) {
    size ??= { width: frame?.width, height: frame?.height }
    checkFrame(frame, frames, size)
    if (between.has(frames)) await endScene()
    const own = { data: frame.data.slice(), ...size }
    recent.push(own)
    if (recent.length > length) recent.shift()
    current ??= start(frames)
    frames += 1
    await show(current, own)
    if (frames - current.from === length) {
      finish(current, frames)
      current = undefined
    }
    options.onProgress?.({ done: frames, total: source.numFrames })
  }
  if (size === undefined) throw rangeError('Expected at least one frame for evaluateClips but received 0')
  await endScene()
  const clipToClip = clips.length > 1 ? firstFrames.value : undefined
  return { frames, ...size, clips, ...(clipToClip === undefined ? {} : { clipToClip }), mean: meanOf(clips, clipToClip) }
}

/** ½ in-clip + ½ mapped clip-to-clip; in-clip alone where there is one clip. */
export function fusedConsistency(inClip: number, clipToClip: number | undefined, of: 'subject' | 'background'): number {
  return clipToClip === undefined ? inClip : 0.5 * inClip + 0.5 * mapSimilarity(clipToClip, of)
}

function meanOf(clips: readonly MetricValues[], clipToClip: number | undefined): ClipsEvaluation['mean'] {
  return meansOf(
    clips.map((clip) => {
      const scores = scoresOf(clip)
      for (const of of ['subject', 'background'] as const) {
        const inClip = scores[`${of}Consistency`]
        if (inClip !== undefined) scores[`${of}Consistency`] = fusedConsistency(inClip, clipToClip, of)
      }
      return scores
    })
  )
}
