// The model's loss on videos it never saw, with and without global tokens: what the tokens are worth shows here long before it shows in pixels.
// Mean of (output − target)² over the frames that are denoised, each from the chunk that owns it; target as in training, ε − x_0 for flow match.

import type { TensorData, VideoPipeline } from 'vin-native'
import { demoWorldVideo, drawCaption, PhiloxRandom, streams, WORLD_FPS } from 'vin-native/demo-world'
import type { EventName } from 'vin-native/demo-world'
import { encodeWorld, noiseFor } from '../recipe/world.js'
import { noisy } from './latents.js'
import { embedPrompt } from './sampler.js'

/** Seed of videos that training never draws. */
const HELD_OUT = 7_000_001

/** Noise levels σ, and the one at which a clean chunk is shown: only there the rest of the video has to be asked. */
export const noiseLevels = [0.5, 0.85, 0.95] as const
export const FAR_LEVEL = 0.95
/** The noise level around which the background behind a curtain is decided. */
export const HIDDEN_LEVEL = 0.9

export interface TokenLosses {
  withTokens: number
  withoutTokens: number
}

export interface LossRecord {
  video: number
  event: EventName
  /** In the order of `noiseLevels`. */
  levels: TokenLosses[]
  /** The last chunk's, while the first one is clean. */
  far: TokenLosses
  /** Of a video with a curtain, whose caption names nothing but its times. */
  hidden?: HiddenLosses
}

/**
How much of what stands behind a curtain the tokens carry, as losses of the last chunk at `HIDDEN_LEVEL`. Tokens that carry everything make `noisy.withTokens`
what twice the evidence gives, and `clean` what is left when the background is known, `named`.
*/
export interface HiddenLosses {
  /** All chunks are equally noisy. */
  noisy: TokenLosses
  /** The first chunk is clean; with tokens. */
  clean: number
  /** The caption names the background; without tokens. */
  named: number
}

export interface ProbeInput {
  /** x_0 [C, N, H, W] */
  latents: TensorData
  /** ε, in the same order */
  noise: Float32Array
  /** [L, D] */
  promptEmbeds: TensorData
  /** σ */
  level: number
  method: 'vin' | 'independent'
  /** Latent frames [begin, end) that are clean. */
  clean?: readonly [number, number]
  /** Latent frames [begin, end) whose loss is taken; they must not be clean. */
  measured?: readonly [number, number]
}

export async function probeLoss(pipeline: VideoPipeline, { latents, noise, promptEmbeds, level, method, clean, measured }: ProbeInput): Promise<number> {
  const [channels = 0, frames = 0, height = 0, width = 0] = latents.shape
  const plane = height * width
  const { target, numTrainTimesteps } = pipeline.scheduler
  const timestep = numTrainTimesteps * level
  const given = noisy(latents, noise, pipeline.scheduler.noiseTerms(timestep))
  const isClean = (frame: number) => clean !== undefined && frame >= clean[0] && frame < clean[1]
  for (let channel = 0; channel < channels; channel++) {
    for (let frame = 0; frame < frames; frame++) {
      const at = (channel * frames + frame) * plane
      if (isClean(frame)) given.data.set(latents.data.subarray(at, at + plane), at)
    }
  }
  const frameMask = Array.from({ length: frames }, (_, frame) => (isClean(frame) ? 0 : 1))
  const { data } = await pipeline.denoise({ latents: given, timestep, promptEmbeds, fps: pipeline.defaults.fps, method, fuse: false, ...(clean === undefined ? {} : { frameMask }) })
  const [begin, end] = measured ?? [0, frames]
  let sum = 0
  let count = 0
  for (let channel = 0; channel < channels; channel++) {
    for (let frame = begin; frame < end; frame++) {
      if (isClean(frame)) continue
      for (let at = (channel * frames + frame) * plane; at < (channel * frames + frame + 1) * plane; at++) {
        sum += (data[at]! - target.sample * latents.data[at]! - target.noise * noise[at]!) ** 2
        count += 1
      }
    }
  }
  return sum / count
}

/** All losses of held-out video number `video`. */
export async function measureLosses(pipeline: VideoPipeline, seconds: number, video: number): Promise<LossRecord> {
  const frames = seconds * WORLD_FPS
  const { world } = demoWorldVideo(HELD_OUT, video, [seconds])
  const latents = await encodeWorld(pipeline.vae, world, frames)
  const { data: noise } = noiseFor(latents, HELD_OUT, video)
  const drawn = await embedPrompt(pipeline, drawCaption(new PhiloxRandom(HELD_OUT, streams.caption, video), world))
  type Rest = Pick<ProbeInput, 'level' | 'clean' | 'measured'>
  const probe = (method: ProbeInput['method'], promptEmbeds: TensorData, rest: Rest) => probeLoss(pipeline, { latents, noise, promptEmbeds, method, ...rest })
  const both = async (rest: Rest, promptEmbeds = drawn): Promise<TokenLosses> => ({
    withTokens: await probe('vin', promptEmbeds, rest),
    withoutTokens: await probe('independent', promptEmbeds, rest)
  })
  const levels: TokenLosses[] = []
  for (const level of noiseLevels) levels.push(await both({ level }))
  const { chunks } = pipeline.plan({ numFrames: frames })
  const [first, last] = [chunks[0]!, chunks.at(-1)!]
  const [clean, measured] = [[first.start, first.end], [last.start, last.end]] as const
  const record: LossRecord = { video, event: world.event, levels, far: await both({ level: FAR_LEVEL, clean, measured }) }
  if (world.event !== 'curtain') return record
  const times = `the curtain closes at ${world.t1}s opens at ${world.t2}s`
  const unnamed = await embedPrompt(pipeline, `a shape moves ${times}`)
  const level = HIDDEN_LEVEL
  record.hidden = {
    noisy: await both({ level, measured }, unnamed),
    clean: await probe('vin', unnamed, { level, clean, measured }),
    named: await probe('independent', await embedPrompt(pipeline, `a shape moves over the ${world.background} ${times}`), { level, measured })
  }
  return record
}
