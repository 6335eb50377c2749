// The reader itself, on frames whose attributes are known and on noise: without these two every other figure hangs in the air.

import { drawWorld, PhiloxRandom, renderFrame, streams, WORLD_SIZE } from 'vin-native/demo-world'
import { attributes, readFrame, readSegment } from './attributes.js'
import type { Attribute } from './attributes.js'

const SEED = 5_000_001
const FRAMES = 8

export interface ReaderCheck {
  /** Share of segments of rendered worlds whose attribute is read right. */
  right: Record<Attribute, number>
  /** Share of segments of noise in which an attribute is read at all. */
  onNoise: number
}

function noiseFrame(random: PhiloxRandom): Uint8Array {
  const words = Uint32Array.from({ length: (WORLD_SIZE * WORLD_SIZE * 3) / 4 }, () => random.word())
  return new Uint8Array(words.buffer)
}

export function checkReader(worlds = 32, noises = 8): ReaderCheck {
  const right = { background: 0, colour: 0, shape: 0, size: 0 }
  for (let index = 0; index < worlds; index++) {
    const world = { ...drawWorld(new PhiloxRandom(SEED, streams.world, index), { duration: 4, objects: 1 }), event: 'none' as const }
    const read = readSegment(Array.from({ length: FRAMES }, (_, frame) => readFrame(renderFrame(world, frame))))
    const shown = { background: world.background, ...world.objects[0]! }
    for (const name of attributes) right[name] += (read[name] === shown[name] ? 1 : 0) / worlds
  }
  let onNoise = 0
  for (let index = 0; index < noises; index++) {
    const random = new PhiloxRandom(SEED, streams.pixels, index)
    const read = readSegment(Array.from({ length: FRAMES }, () => readFrame(noiseFrame(random))))
    if (attributes.some((name) => read[name] !== undefined)) onNoise += 1 / noises
  }
  return { right, onNoise }
}
