// What the VAE of the built-in model learns from: single frames, or whole micro-batches, of demo-world videos, with object pixels weighted.

import type { Dataset, WeightedExample } from 'vin-native'
import { demoWorldVideo, objectWeights, PhiloxRandom, renderFrames, streams, WORLD_FPS, WORLD_SIZE } from 'vin-native/demo-world'

export interface WorldClipsOptions {
  seed: number
  /** 1, or the 16 of a micro-batch. */
  frames: 1 | 16
  count: number
}

/** Half of the clips show objects without a curtain: one-second videos have none, and in long ones objects are hidden half of the time. */
const DURATIONS = [1, 4]

/** Objects cover little of a frame and carry most of what matters, their edges above all: with equal weights squares lost their corners and were read as circles. */
const OBJECT = { edge: 12, inside: 4, margin: 2 }

/** Clip number `index`. */
export function worldClip(seed: number, index: number, frames: 1 | 16): WeightedExample {
  const { world, duration } = demoWorldVideo(seed, index, DURATIONS)
  const begin = frames * new PhiloxRandom(seed, streams.order, index).int((duration * WORLD_FPS) / frames)
  const plane = WORLD_SIZE * WORLD_SIZE
  const weights = new Float32Array(frames * plane)
  for (let frame = 0; frame < frames; frame++) objectWeights(world, begin + frame, OBJECT, weights.subarray(frame * plane, (frame + 1) * plane))
  return { prompt: '', frames: { data: renderFrames(world, begin, begin + frames), shape: [frames, WORLD_SIZE, WORLD_SIZE, 3] }, weights }
}

export function worldClips({ seed, frames, count }: WorldClipsOptions): Dataset<WeightedExample> {
  const examples = async function* (epoch: number, skip: number): AsyncGenerator<WeightedExample> {
    // Videos do not repeat: pass e shows clips e · count … of the same endless world.
    for (let index = skip; index < count; index++) yield worldClip(seed, epoch * count + index, frames)
  }
  return { examples, [Symbol.asyncIterator]: () => examples(0, 0) }
}
