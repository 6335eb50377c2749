// Stages 'vae2d' and 'vae': the 2D autoencoder on single frames, then both autoencoders on micro-batches of 16 frames.

import { join } from 'node:path'
import { VAE } from '../../models/vae.js'
import type { ModelOptions } from '../../options/model.js'
import { settleCheckpoint } from '../checkpoint.js'
import { VAETrainer } from '../vae-trainer.js'
import { worldClip, worldClips } from './clips.js'
import { vaeConfig } from './config.js'
import { Progress, StepBudget } from './progress.js'
import { startTemporalVAE } from './temporal-start.js'

export interface VAEStageOptions {
  folder: string
  minutes: number
  learningRate?: number | undefined
  batchSize?: number | undefined
  seed: number
  model: ModelOptions
}

/** Seed of clips that training never sees. */
const HELD_OUT = 9_000_001

const settings = {
  vae2d: { stage: 'spatial', frames: 1, batchSize: 16, learningRate: 2e-3 },
  vae: { stage: 'all', frames: 16, batchSize: 1, learningRate: 1e-3 }
} as const

async function openTrainer(name: 'vae2d' | 'vae', options: VAEStageOptions): Promise<VAETrainer> {
  const { folder, seed, model } = options
  const { stage, batchSize, learningRate } = settings[name]
  const changes = {
    ...(options.learningRate === undefined ? {} : { learningRate: options.learningRate }),
    ...(options.batchSize === undefined ? {} : { batchSize: options.batchSize })
  }
  if (await settleCheckpoint(join(folder, name))) return VAETrainer.resume(join(folder, name), changes, model)
  const before = name === 'vae' && (await settleCheckpoint(join(folder, 'vae2d')))
  const vae = before ? await VAE.fromPretrained(join(folder, 'vae2d'), model) : await VAE.fromConfig(vaeConfig, { ...model, seed })
  if (name === 'vae') await startTemporalVAE(vae)
  return new VAETrainer(vae, { stage, batchSize, learningRate, emaDecay: { max: 0.99, ramp: true }, seed, ...changes })
}

/** Trains for the given minutes, the rate falling to 0 at their end, from the stage's checkpoint or from the stage before it. */
export async function trainVAE(name: 'vae2d' | 'vae', options: VAEStageOptions): Promise<void> {
  const { frames } = settings[name]
  const trainer = await openTrainer(name, options)
  const progress = new Progress(name, options.folder, 50)
  const budget = new StepBudget(trainer.globalStep, options.minutes)
  const heldOut = Array.from({ length: frames === 1 ? 64 : 8 }, (_, index) => worldClip(HELD_OUT, index, frames))
  await trainer.fit(worldClips({ seed: options.seed, frames, count: 1 << 20 }), {
    minutes: options.minutes,
    checkpoint: join(options.folder, name),
    onStep: async (report) => {
      await progress.step(report)
      const last = budget.lastStep(trainer.globalStep)
      if (last !== undefined) trainer.fallingRate(budget.first, last)
    },
    evalEvery: 250,
    onEvaluate: async () => progress.line(`held-out reconstruction ${(await trainer.psnr(heldOut)).toFixed(2)} dB`)
  })
  progress.line(`held-out reconstruction ${(await trainer.psnr(heldOut)).toFixed(2)} dB after ${trainer.globalStep} steps`)
  trainer.dispose()
  await trainer.vae.dispose()
}
