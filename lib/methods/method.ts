// A method decides how a video is split into evaluations: numbers only. The model code is the same for all of them.

import type { FrameAttention } from '../plan/attention.js'
import type { Chunk } from '../plan/chunks.js'
import type { Fusion, FusionWeights } from '../plan/fusion.js'

/** What a plan depends on; frames are latent frames. */
export interface Geometry {
  latentFrames: number
  chunkFrames: number
  contextFrames: number
  /** Seconds. */
  keyframeInterval: number
  latentFps: number
}

export interface MethodPlan {
  chunks: Chunk[]
  /** Latent frames the VIN reads; absent: chunks see no global tokens. */
  keyframes?: number[] | undefined
  /** How the chunk of all frames attends over frames; absent: every frame sees every frame. */
  attention?: FrameAttention | undefined
  /** Chunks behind the first read their context through `cam.*`, and this latent frame through `apm.*`. */
  streaming?: { anchor: number } | undefined
}

/** One evaluation: what goes into the native request beside tensors. */
export interface Evaluation {
  chunks: Chunk[]
  keyframes?: number[] | undefined
  attention?: FrameAttention | undefined
  streaming?: { anchor?: number | undefined } | undefined
  /** Blend overlaps, all or per chunk but the first, or cut each at a place of its own: the frames of it that the earlier chunk keeps, per chunk but the first. */
  fuse: boolean | boolean[]
  fusionWeights?: FusionWeights | undefined
  overlapCuts?: number[] | undefined
}

export interface Method {
  name: string
  /** 'parallel': every step evaluates all chunks. 'in turn': one chunk runs all steps, then the next, with the finished frames clean in front of it. */
  order: 'parallel' | 'in turn'
  /** Its chunks may be at different noise levels. */
  staggers?: true
  /** Needs `vin.*` weights. */
  globalTokens: boolean
  /** Needs `cam.*` and `apm.*` weights, and may be told how much the anchor counts, and to blend in a second pass. */
  streaming?: true
  plan(geometry: Geometry): MethodPlan
  /** For each latent frame the one whose noise of the seed it starts from; absent: its own. */
  noise?(geometry: Pick<Geometry, 'latentFrames' | 'chunkFrames'>, seed: bigint): number[]
  /** The evaluation of `step` of `numInferenceSteps`; of methods in turn, for the chunk whose turn it is. */
  evaluation(plan: MethodPlan, step: number, numInferenceSteps: number, fusion: Fusion, turn?: number): Evaluation
  /** That of the second pass, over all chunks, with randomized blending; absent: the method has no such pass. */
  blended?(plan: MethodPlan, step: number, seed: bigint): Evaluation
}
