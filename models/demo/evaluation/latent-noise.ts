// How much error of its latents a VAE bears: held-out videos of one object, encoded, disturbed, decoded and read. What a little noise changes, a diffusion model
// gets wrong long before its loss shows it.

import { openLatents } from 'vin-native'
import type { VAE, VideoPipeline } from 'vin-native'
import { drawWorld, PhiloxRandom, renderFrames, streams, WORLD_FPS } from 'vin-native/demo-world'
import type { World } from 'vin-native/demo-world'
import { latentMoments } from '../recipe/freeze.js'
import { encodeWorld, noiseFor } from '../recipe/world.js'
import { readFrame, readSegment } from './attributes.js'
import type { Attribute, FrameReading } from './attributes.js'
import { attributesOf } from './gap.js'

const HELD_OUT = 5_000_001
const SECONDS = 4
const MOMENT_VIDEOS = 8

/** Deviations of the noise, as shares of each channel's own. */
export const latentNoiseLevels = [0, 0.15, 0.3, 0.45, 0.6] as const

export interface LatentNoiseRecord {
  video: number
  shown: Record<Attribute, string>
  /** In the order of `latentNoiseLevels`. */
  levels: {
    /** Mean squared error of the frames, pixels 0 … 255. */
    squaredError: number
    read: Partial<Record<Attribute, string>>
  }[]
}

/** Deviation of every latent channel. */
export async function latentDeviations(vae: VAE): Promise<number[]> {
  return (await latentMoments(vae, MOMENT_VIDEOS)).deviation
}

/** One object over one background, nothing in front. */
function openWorld(video: number): World {
  return { ...drawWorld(new PhiloxRandom(HELD_OUT, streams.world, video), { duration: SECONDS, objects: 1 }), event: 'none' }
}

export async function measureLatentNoise(pipeline: VideoPipeline, deviations: readonly number[], video: number): Promise<LatentNoiseRecord> {
  const world = openWorld(video)
  const numFrames = SECONDS * WORLD_FPS
  const rendered = renderFrames(world, 0, numFrames)
  const latents = await encodeWorld(pipeline.vae, world, numFrames)
  const { data: noise } = noiseFor(latents, HELD_OUT, video)
  const channel = latents.data.length / deviations.length
  const levels: LatentNoiseRecord['levels'] = []
  for (const level of latentNoiseLevels) {
    const data = latents.data.map((value, at) => value + level * deviations[Math.floor(at / channel)]! * noise[at]!)
    const readings: FrameReading[] = []
    let squares = 0
    const decoded = await openLatents(pipeline, { data, shape: latents.shape }, { numFrames })
    for await (const frame of decoded.frames()) {
      const offset = frame.index * frame.data.length
      squares += frame.data.reduce((sum, value, at) => sum + (value - rendered[offset + at]!) ** 2, 0)
      readings.push(readFrame(frame.data))
    }
    const { background, colour, shape, size } = readSegment(readings)
    levels.push({ squaredError: squares / rendered.length, read: { background, colour, shape, size } as LatentNoiseRecord['levels'][number]['read'] })
  }
  return { video, shown: attributesOf(world), levels }
}
