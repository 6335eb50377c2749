// Does a video show what its prompt says? Captions of one object that name everything; what cannot be read counts as wrong.

import type { VideoPipeline } from 'vin-native'
import { backgrounds, colours, drawCaption, drawWorld, PhiloxRandom, radii, shapes, streams, WORLD_FPS } from 'vin-native/demo-world'
import type { World } from 'vin-native/demo-world'
import { readSegment } from './attributes.js'
import type { Attribute, FrameReading } from './attributes.js'
import { promptedAttributes } from './caption.js'
import { isOpen, readability } from './readability.js'
import type { Readability } from './readability.js'
import { readLatents } from './pixels.js'
import type { FramesFrom } from './pixels.js'
import type { Sampler } from './sampler.js'

/** Prompts are those of seeds from here on. */
export const FIRST_PROMPT = 1000

export interface ObedienceRecord {
  seed: number
  prompt: string
  asked: Record<Attribute, string>
  read: Partial<Record<Attribute, string>>
  readable: Readability
  /** By the step cache. */
  skippedSteps?: number
}

/** The rate of a guess. */
export const guesses: Record<Attribute, number> = {
  background: 1 / Object.keys(backgrounds).length,
  colour: 1 / Object.keys(colours).length,
  shape: 1 / shapes.length,
  size: 1 / Object.keys(radii).length
}

export function promptOf(seed: number, frames: number): { world: World; prompt: string } {
  const world = drawWorld(new PhiloxRandom(seed, streams.world), { duration: Math.ceil(frames / WORLD_FPS), objects: 1 })
  return { world, prompt: drawCaption(new PhiloxRandom(seed, streams.caption), world, 'everything') }
}

/** Background where no curtain covers it; the object from frame 4 until what hides it begins. */
export function readObedience(seed: number, frames: number, readings: readonly FrameReading[]): ObedienceRecord {
  const { world, prompt } = promptOf(seed, frames)
  const hides = world.event === 'curtain' || world.event === 'leave'
  const open = readings.filter(isOpen)
  const { background } = readSegment(open)
  const { colour, shape, size } = readSegment(readings.slice(4, hides ? WORLD_FPS * world.t1 - 8 : readings.length))
  const asked = Object.fromEntries(promptedAttributes(prompt).map(({ attribute, value }) => [attribute, value])) as Record<Attribute, string>
  return { seed, prompt, asked, read: { background, colour, shape, size } as ObedienceRecord['read'], readable: readability(open) }
}

export async function measureObedience(pipeline: VideoPipeline, sampler: Sampler, frames: number, framesFrom: FramesFrom, seed: number): Promise<ObedienceRecord> {
  const { latents, numFrames, skippedSteps } = await pipeline.generate({ prompt: promptOf(seed, frames).prompt, numFrames: frames, seed, outputType: 'latents', ...sampler })
  const readings = await readLatents(pipeline, { latents, numFrames }, framesFrom)
  return { ...readObedience(seed, frames, readings.flatMap((reading) => reading ?? [])), skippedSteps }
}
