// Passes over the schedule that a run makes: one over all chunks, or one per chunk, and another over all of them where their overlaps are blended at random places.

import type { Chunk } from './chunks.js'
import { PhiloxRandom } from './random.js'

export interface Pass {
  /** The chunk whose turn it is; absent: all chunks. */
  turn?: number | undefined
  /** [N]: 0 for latent frames that are held fixed. Absent: none is. */
  frameMask: number[] | undefined
  /** Number of its first step within the run. */
  firstStep: number
  /** Its first step within the schedule. */
  begin: number
  /** Goes on from finished latents, which get noise again: StreamingT2V's second pass, with randomized blending. */
  blends: boolean
}

/** Share of the schedule that the second pass goes over. */
const SECOND_PASS = 0.6

export interface PassesOptions {
  inTurn: boolean
  /** With the second pass. A single chunk has no overlaps, so it has none. */
  blending: boolean
  numInferenceSteps: number
  /** [N]: 0 for conditioning frames. */
  frameMask?: readonly number[] | undefined
}

export function passesOf(chunks: readonly Chunk[], { inTurn, blending, numInferenceSteps, frameMask }: PassesOptions): Pass[] {
  const given = frameMask === undefined ? undefined : [...frameMask]
  const passes: Pass[] = []
  let firstStep = 0
  const add = (pass: Omit<Pass, 'firstStep'>): void => {
    passes.push({ ...pass, firstStep })
    firstStep += numInferenceSteps - pass.begin
  }
  if (!inTurn) add({ frameMask: given, begin: 0, blends: false })
  else {
    const latentFrames = chunks.at(-1)?.end ?? 0
    for (const [turn, { start, end }] of chunks.entries()) {
      // Everything but the chunk's own frames is held fixed; the finished ones in front of it are its context.
      const own = Array.from({ length: latentFrames }, (_, frame) => (frame >= start && frame < end ? (given?.[frame] ?? 1) : 0))
      if (own.includes(1)) add({ turn, frameMask: own, begin: 0, blends: false })
    }
  }
  if (blending && chunks.length > 1) {
    let begin = 0
    while ((numInferenceSteps - begin) / numInferenceSteps > SECOND_PASS) begin++
    add({ frameMask: given, begin, blends: true })
  }
  return passes
}

/** Of the draws of randomized blending; the step is added. */
const STREAM = 0x80000000

/**
Randomized blending (methods.md §5): for each chunk but the first, how many frames of its overlap have the earlier chunk's value at this step. Frame k of F keeps it
with probability (F − k)/(F + 1).
*/
export function overlapCuts(chunks: readonly Chunk[], step: number, seed: number | bigint): number[] {
  const random = new PhiloxRandom(seed, STREAM + step)
  // Boundary i takes word i.
  random.word()
  return chunks.slice(1).map(({ first, start }) => random.int(start - first + 1))
}
