// The trained VAE in its final form: averaged weights in half precision, and shift and scale that give every latent channel mean 0 and a deviation that says how
// much of it pixels show. A channel that hardly changes a picture is as hard to predict as the others: at deviation 1 it would take most of the transformer's loss.

import { cp, readFile, rename, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { VAE } from 'vin-native'
import type { ModelOptions } from 'vin-native'
import { demoWorldVideo, WORLD_FPS } from 'vin-native/demo-world'
import { ifThere, writeWhole } from './files.js'
import { encodeWorld, noiseFor } from './world.js'

const SECONDS = 4
const SEED = 8_000_001

/** Deviation of the noise whose effect on pixels is measured. */
const DISTURBANCE = 0.2

/** A channel that shows nothing still gets this deviation. */
const LEAST_EFFECT = 0.05

export interface ChannelMoments {
  mean: number[]
  deviation: number[]
}

/** Mean and deviation of every latent channel over demo-world videos. */
export async function latentMoments(vae: VAE, videos: number): Promise<ChannelMoments> {
  const channels = vae.config.latent_channels
  const sums = new Array<number>(channels).fill(0)
  const squares = new Array<number>(channels).fill(0)
  let count = 0
  for (let index = 0; index < videos; index++) {
    const { world } = demoWorldVideo(SEED, index, [SECONDS])
    const frames = SECONDS * WORLD_FPS
    const { data } = await encodeWorld(vae, world, frames)
    const size = data.length / channels
    count += size
    for (let channel = 0; channel < channels; channel++) {
      for (let at = channel * size; at < (channel + 1) * size; at++) {
        sums[channel]! += data[at]!
        squares[channel]! += data[at]! ** 2
      }
    }
  }
  const mean = sums.map((sum) => sum / count)
  return { mean, deviation: squares.map((square, channel) => Math.sqrt(square / count - mean[channel]! ** 2)) }
}

/** Deviations of the channels: the root of the squared error in pixels that the same noise in each of them makes, 1 for the largest. Latents have deviation 1. */
export async function channelEffects(vae: VAE, videos: number): Promise<number[]> {
  const frames = SECONDS * WORLD_FPS
  const effects = new Array<number>(vae.config.latent_channels).fill(0)
  for (let index = 0; index < videos; index++) {
    const { world } = demoWorldVideo(SEED, index, [SECONDS])
    const latents = await encodeWorld(vae, world, frames)
    const { data: noise } = noiseFor(latents, SEED, index)
    const clean = await vae.decode(latents, { numFrames: frames })
    const size = latents.data.length / effects.length
    for (let channel = 0; channel < effects.length; channel++) {
      const data = latents.data.slice()
      for (let at = channel * size; at < (channel + 1) * size; at++) data[at]! += DISTURBANCE * noise[at]!
      const disturbed = await vae.decode({ data, shape: latents.shape }, { numFrames: frames })
      effects[channel]! += disturbed.data.reduce((sum, value, at) => sum + (value - clean.data[at]!) ** 2, 0)
    }
  }
  const largest = Math.max(...effects)
  return effects.map((effect) => Math.sqrt(effect / largest))
}

/** Latents have shift and scale behind them: moments are those of latents that have not. */
function setNormalisation(vae: VAE, { mean, deviation }: ChannelMoments): void {
  for (const [name, values] of [['shift', mean], ['scale', deviation]] as const) vae.writeWeight(name, { data: Float32Array.from(values), shape: [1, values.length, 1, 1, 1] })
}

export interface FreezeOptions {
  /** Checkpoint of the VAE's last stage. */
  checkpoint: string
  /** Gets the VAE in its final form, unless it is there. */
  folder: string
  /** A model folder whose VAE is taken as it is when there is no checkpoint: its transformer knows the latents of just these weights. */
  start: string | undefined
  momentVideos: number
  model: ModelOptions
}

export async function freezeVAE(options: FreezeOptions): Promise<void> {
  const { folder } = options
  if (existsSync(join(folder, 'config.json'))) return
  const temporary = `${folder}.next`
  await rm(temporary, { recursive: true, force: true })
  try {
    await writeFrozen(options, temporary)
    await rename(temporary, folder)
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

async function writeFrozen({ checkpoint, start, momentVideos, model }: FreezeOptions, into: string): Promise<void> {
  const opened = await ifThere(VAE.fromPretrained(checkpoint, model))
  if (opened === undefined) {
    if (start === undefined) throw new RangeError(`Expected a checkpoint of the VAE in ${checkpoint} but there is none; run --stage vae-temporal first`)
    return cp(join(start, 'vae'), into, { recursive: true })
  }
  await using vae = opened
  const channels = vae.config.latent_channels
  setNormalisation(vae, { mean: new Array<number>(channels).fill(0), deviation: new Array<number>(channels).fill(1) })
  const moments = await latentMoments(vae, momentVideos)
  setNormalisation(vae, moments)
  const effects = await channelEffects(vae, Math.max(1, Math.round(momentVideos / 4)))
  moments.deviation = moments.deviation.map((deviation, channel) => deviation / Math.max(LEAST_EFFECT, effects[channel]!))
  setNormalisation(vae, moments)
  await vae.save(into, { dtype: 'float16' })
  const config = join(into, 'config.json')
  await writeWhole(config, `${JSON.stringify({ ...(JSON.parse(await readFile(config, 'utf8')) as object), shift: moments.mean, scale: moments.deviation }, null, 2)}\n`)
}
