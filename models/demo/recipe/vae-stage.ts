// Stages 'vae2d' and 'vae-temporal': the 2D autoencoder on single frames, then the temporal one on its latents of micro-batches of 16 frames.
// Stage 'vae-decoder': the decoders of the frozen VAE, on latents that are not quite right.

import { join } from 'node:path'
import { VAE, VAETrainer } from 'vin-native'
import type { ModelOptions } from 'vin-native'
import { worldClip, worldClips } from './clips.js'
import { demoSizes } from './config.js'
import type { DemoSizes } from './config.js'
import { ifThere } from './files.js'
import { openFrozenVAE } from './latents-stage.js'
import { Progress } from './progress.js'
import { startTemporalVAE } from './temporal-start.js'

export interface VAEStageOptions {
  folder: string
  minutes: number
  learningRate?: number | undefined
  seed: number
  model: ModelOptions
  /** A model folder whose VAE is the start of the first stage that runs; absent: untrained weights. */
  start?: string | undefined
  sizes?: DemoSizes
}

/** Seed of clips that training never sees. */
const HELD_OUT = 9_000_001

// A VAE trained with a KL factor of 3e-4 kept everything in two of four latent channels, so finely that noise of half a deviation changed an object's colour; one trained with these bears more.
const settings = {
  vae2d: { stage: 'spatial', frames: 1, batchSize: 16, learningRate: 2e-3, kl: 4e-3 },
  'vae-temporal': { stage: 'temporal', frames: 16, batchSize: 4, learningRate: 3e-4, kl: 2e-3 },
  'vae-decoder': { stage: 'decoder', frames: 16, batchSize: 4, learningRate: 3e-4, latentNoise: 0.4, firstPictures: 0.3, lastPictures: 0.3, cuts: 0.35 }
} as const

export type VAEStageName = keyof typeof settings

/** Weights of the stage before, else of the start, else untrained ones; for the decoders those of the frozen VAE. */
async function initialVAE(name: VAEStageName, options: VAEStageOptions): Promise<VAE> {
  const { folder, start, seed, model, sizes = demoSizes } = options
  if (name === 'vae-decoder') return openFrozenVAE(options)
  const earlier = name === 'vae-temporal' ? await ifThere(VAE.fromPretrained(join(folder, 'vae2d'), model)) : undefined
  if (earlier !== undefined) return earlier
  return start === undefined ? VAE.fromConfig(sizes.vae, { ...model, seed }) : VAE.fromPretrained(join(start, 'vae'), model)
}

async function openTrainer(name: VAEStageName, options: VAEStageOptions): Promise<VAETrainer> {
  const { folder, seed, model } = options
  const { frames: _, stage, ...trainer } = settings[name]
  // A sitting's rate falls to 0 at its end: the next one begins without that end.
  const changes = {
    ...trainer,
    totalSteps: undefined,
    decayFrom: undefined,
    ...(options.learningRate === undefined ? {} : { learningRate: options.learningRate })
  }
  const resumed = await ifThere(VAETrainer.resume(join(folder, name), changes, model))
  if (resumed !== undefined) return resumed
  const vae = await initialVAE(name, options)
  if (stage === 'temporal' && options.start === undefined) await startTemporalVAE(vae)
  return new VAETrainer(vae, { stage, emaDecay: { max: 0.99, ramp: true }, seed, ...changes })
}

/** Trains for the given minutes, the rate falling to 0 at their end, from the stage's checkpoint or from the stage before it. */
export async function trainVAE(name: VAEStageName, options: VAEStageOptions): Promise<void> {
  const { frames } = settings[name]
  const { heldOutFrames, heldOutClips } = options.sizes ?? demoSizes
  const trainer = await openTrainer(name, options)
  const progress = new Progress(name, options.folder, 50)
  const heldOut = Array.from({ length: frames === 1 ? heldOutFrames : heldOutClips }, (_, index) => worldClip(HELD_OUT, index, frames))
  await trainer.fit(worldClips({ seed: options.seed, frames, count: 1 << 20 }), {
    minutes: options.minutes,
    checkpoint: join(options.folder, name),
    onStep: progress.sitting(trainer, options.minutes),
    evalEvery: 250,
    onEvaluate: async () => progress.line(`held-out reconstruction ${(await trainer.psnr(heldOut)).toFixed(2)} dB`)
  })
  progress.line(`held-out reconstruction ${(await trainer.psnr(heldOut)).toFixed(2)} dB after ${trainer.globalStep} steps`)
  trainer.dispose()
  await trainer.vae.dispose()
}
