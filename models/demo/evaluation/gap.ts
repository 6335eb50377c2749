// Identity across a gap, row by row: real videos (the ceiling), the methods, and videos whose chunks hear of other videos (the floor).

import { createScheduler, randn } from 'vin-native'
import type { GenerateOptions, TensorData, VideoPipeline } from 'vin-native'
import { drawWorld, PhiloxRandom, streams, WORLD_FPS, WORLD_SIZE } from 'vin-native/demo-world'
import type { World } from 'vin-native/demo-world'
import { encodeWorld, noiseFor } from '../recipe/world.js'
import type { Attribute } from './attributes.js'
import { gapFrames, readGap } from './identity.js'
import type { GapReading } from './identity.js'
import { noisy, spliced } from './latents.js'
import { readLatents } from './pixels.js'
import type { FramesFrom } from './pixels.js'
import { embedPrompt } from './sampler.js'
import type { Sampler } from './sampler.js'

/** Steps by which each chunk of the row 'stagger' is behind the one before it. */
export const STAGGER = 5

/** Rows that `generate` samples. */
const sampled = {
  vin: { method: 'vin' },
  independent: { method: 'independent' },
  autoregressive: { method: 'autoregressive' },
  full: { method: 'full' },
  stagger: { method: 'vin', stagger: STAGGER }
} as const satisfies Record<string, GenerateOptions>

/** 'ceiling': rendered worlds. 'other-tokens': `vin`, whose chunks on either side of the gap hear of two other videos. 'stagger': `vin`, whose chunks are some steps behind each other. The rest are methods. */
export const gapRows = ['ceiling', 'vin', 'independent', 'autoregressive', 'full', 'stagger', 'other-tokens'] as const
export type GapRow = (typeof gapRows)[number]

/** What one video of one row showed. */
export interface GapRecord extends GapReading {
  row: GapRow
  seed: number
  /** What the row was given to show on either side: the rendered world of the ceiling, the worlds whose tokens the floor had. */
  given?: { before: Record<Attribute, string>; after: Record<Attribute, string> }
}

export interface GapTask {
  pipeline: VideoPipeline
  sampler: Sampler
  /** Video frames. */
  frames: number
  framesFrom: FramesFrom
}

/** Seconds at which the curtain closes and opens. */
export function gapTimes(frames: number): { t1: number; t2: number } {
  return frames >= 192 ? { t1: 3, t2: 9 } : { t1: 1, t2: 3 }
}

/** Names neither attribute: every method would keep what the prompt says. */
export function gapPrompt(frames: number): string {
  const { t1, t2 } = gapTimes(frames)
  return `a shape moves the curtain closes at ${t1}s opens at ${t2}s`
}

/** Seed of worlds that lend their tokens. */
const LENDERS = 6_000_001

function curtainWorld(seed: number, block: number, frames: number): World {
  const drawn = drawWorld(new PhiloxRandom(seed, streams.world, block), { duration: Math.ceil(frames / WORLD_FPS), objects: 1 })
  return { ...drawn, event: 'curtain', ...gapTimes(frames) }
}

export function attributesOf({ background, objects }: World): Record<Attribute, string> {
  const { colour, shape, size } = objects[0]!
  return { background, colour, shape, size }
}

type Side = 'before' | 'after'

export interface ForeignTokens {
  prompt: string
  numFrames: number
  seed: number
  sampler: Sampler
  /** Latents that the VIN reads for one side of the gap; `latents` are the video's own. */
  tokensFrom: (side: Side, timestep: number, latents: TensorData) => TensorData
}

/** The latent frame from which a video counts as after the gap: the start of the chunk nearest to the gap's middle. */
export function sideBorder(pipeline: VideoPipeline, numFrames: number): number {
  const { frames: videoFrames, latentFrames: step } = pipeline.vae.microBatch
  const { t1, t2 } = gapTimes(numFrames)
  const middle = (((t1 + t2) / 2) * WORLD_FPS * step) / videoFrames
  const starts = pipeline.plan({ numFrames }).chunks.slice(1).map(({ start }) => start)
  if (starts.length === 0) throw new RangeError(`Expected frames for at least two chunks but ${numFrames} are one`)
  return starts.reduce((best, start) => (Math.abs(start - middle) < Math.abs(best - middle) ? start : best))
}

/**
Samples as `generate` does, except that the chunks on either side of the gap hear the global tokens of other videos: one evaluation for each side. It must be
two videos; a single one would tie the sides together just as the video's own tokens do.
*/
export async function sampleWithTokens(pipeline: VideoPipeline, { prompt, numFrames, seed, sampler, tokensFrom }: ForeignTokens): Promise<TensorData> {
  const { numInferenceSteps, guidanceScale } = sampler
  const { fps } = pipeline.defaults
  const promptEmbeds = await embedPrompt(pipeline, prompt)
  const { latentFrames: frames } = pipeline.plan({ numFrames })
  const border = sideBorder(pipeline, numFrames)
  const scheduler = createScheduler(sampler.scheduler)
  scheduler.setTimesteps(numInferenceSteps, { height: WORLD_SIZE, width: WORLD_SIZE, latentFrames: frames })
  let latents = await randn({ seed, shape: [pipeline.transformer.config.in_channels, frames, WORLD_SIZE / 8, WORLD_SIZE / 8] })
  for (const [step, timestep] of scheduler.timesteps.entries()) {
    // Early fusion: over the first three fifths of the schedule.
    const fuse = (numInferenceSteps - step) / numInferenceSteps > 0.4
    const shared = { latents, timestep, promptEmbeds, guidanceScale, fps, fuse }
    const before = await pipeline.denoise({ ...shared, globalTokensFrom: tokensFrom('before', timestep, latents) })
    const after = await pipeline.denoise({ ...shared, globalTokensFrom: tokensFrom('after', timestep, latents) })
    latents = await scheduler.step(spliced(before, after, border), timestep, latents)
  }
  return latents
}

async function otherTokens({ pipeline, sampler, frames }: GapTask, seed: number): Promise<{ latents: TensorData; given: NonNullable<GapRecord['given']> }> {
  const lend = async (side: number) => {
    const block = 2 * seed + side
    const world = curtainWorld(LENDERS, block, frames)
    const latents = await encodeWorld(pipeline.vae, world, frames)
    return { world, latents, noise: noiseFor(latents, LENDERS, block).data }
  }
  const lenders = { before: await lend(0), after: await lend(1) }
  const tokensFrom: ForeignTokens['tokensFrom'] = (side, timestep) => noisy(lenders[side].latents, lenders[side].noise, sampler.scheduler.noiseTerms(timestep))
  const latents = await sampleWithTokens(pipeline, { prompt: gapPrompt(frames), numFrames: frames, seed, sampler, tokensFrom })
  return { latents, given: { before: attributesOf(lenders.before.world), after: attributesOf(lenders.after.world) } }
}

/** Makes and reads one video. */
export async function measureGap(task: GapTask, row: GapRow, seed: number): Promise<GapRecord> {
  const { pipeline, sampler, frames, framesFrom } = task
  const { latents, given } = await makeVideo()
  const { t1, t2 } = gapTimes(frames)
  const readings = await readLatents(pipeline, { latents, numFrames: frames }, framesFrom, gapFrames(t1, t2))
  return { row, seed, ...readGap(readings, t1, t2), ...(given === undefined ? {} : { given }) }

  async function makeVideo(): Promise<{ latents: TensorData; given?: GapRecord['given'] }> {
    if (row === 'other-tokens') return otherTokens(task, seed)
    if (row !== 'ceiling') return pipeline.generate({ prompt: gapPrompt(frames), numFrames: frames, seed, outputType: 'latents', ...sampled[row], ...sampler })
    const world = curtainWorld(seed, 0, frames)
    const shown = attributesOf(world)
    return { latents: await encodeWorld(pipeline.vae, world, frames), given: { before: shown, after: shown } }
  }
}
