// All metrics that are asked of one video, or of one clip of it: each frame is shown to each of them, and encoded once for those that look at features.

import type { Picture } from '../video/index.js'
import { ConsistencySums, encodeFrame } from './consistency.js'
import type { Consistency } from './consistency.js'
import { DynamicDegreeMeter } from './dynamic-degree.js'
import type { DynamicDegree } from './dynamic-degree.js'
import { IdentitySums } from './identity-over-gap.js'
import type { IdentityOverGap } from './identity-over-gap.js'
import { MaweMeter } from './mawe.js'
import type { Mawe } from './mawe.js'
import type { Meter } from './meter.js'
import { MotionSmoothnessMeter } from './motion-smoothness.js'
import type { MotionSmoothness } from './motion-smoothness.js'
import type { ResolvedOptions } from './options.js'
import { SceneCuts } from './scene-cuts.js'
import { SeamScore } from './seam-score.js'
import { TemporalFlickering } from './temporal-flickering.js'

/** What was asked for; absent where the video is too short for it. */
export interface MetricValues {
  /** VBench's: 1 − the mean absolute difference of neighbouring frames, as a share of 255. */
  temporalFlickering?: number
  motionSmoothness?: MotionSmoothness
  dynamicDegree?: DynamicDegree
  subjectConsistency?: Consistency
  backgroundConsistency?: Consistency
  /** First frames of new scenes, as PySceneDetect's AdaptiveDetector finds them. */
  sceneCuts?: number[]
  /** Mean change at the borders of chunks over the median change of neighbouring frames: 1 is no seam. Absent without a border in the video, and where most neighbouring frames are equal. */
  seamScore?: number
  mawe?: Mawe
  identityOverGap?: IdentityOverGap
}

export class Measurement {
  readonly #options: ResolvedOptions
  readonly #meters: { [K in keyof MetricValues]?: Meter<NonNullable<MetricValues[K]>> } = {}
  readonly #consistency: ConsistencySums | undefined
  readonly #identity: IdentitySums | undefined

  constructor(options: ResolvedOptions) {
    this.#options = options
    const { metrics, fps = 0, flow, interpolator, borders = [], gaps, signal } = options
    const asked = (name: keyof MetricValues): boolean => metrics.has(name)
    if (asked('temporalFlickering')) this.#meters.temporalFlickering = new TemporalFlickering()
    if (asked('motionSmoothness')) this.#meters.motionSmoothness = new MotionSmoothnessMeter(interpolator, signal)
    if (asked('dynamicDegree')) this.#meters.dynamicDegree = new DynamicDegreeMeter(fps, flow, signal)
    if (asked('sceneCuts')) this.#meters.sceneCuts = new SceneCuts()
    if (asked('seamScore')) this.#meters.seamScore = new SeamScore(borders)
    if (asked('mawe')) this.#meters.mawe = new MaweMeter(flow, signal)
    if (asked('subjectConsistency') || asked('backgroundConsistency')) this.#consistency = new ConsistencySums()
    if (asked('identityOverGap')) this.#identity = new IdentitySums(gaps, fps)
  }

  /** The next frame, which nobody writes to again; the unit features of it, where an encoder is asked. */
  async add(frame: Picture): Promise<Float32Array | undefined> {
    const { encoder, signal } = this.#options
    for (const meter of Object.values(this.#meters)) await meter.add(frame)
    if (encoder === undefined || (this.#consistency === undefined && this.#identity === undefined)) return undefined
    const features = await encodeFrame(encoder, frame, signal)
    this.#consistency?.add(features)
    this.#identity?.add(features)
    return features
  }

  get values(): MetricValues {
    const { metrics, encoder } = this.#options
    const said = Object.entries(this.#meters).map(([name, meter]) => [name, meter.value] as const)
    const similarity = this.#consistency?.value
    const consistency: Consistency | undefined = similarity === undefined ? undefined : { value: similarity, encoder: encoder!.name, form: 'VBench-form' }
    for (const name of ['subjectConsistency', 'backgroundConsistency'] as const) if (metrics.has(name)) said.push([name, consistency as never])
    said.push(['identityOverGap', this.#identity?.valueBy(encoder!.name) as never])
    return Object.fromEntries(said.filter(([, value]) => value !== undefined)) as MetricValues
  }
}
