// Stage 'transformer': transformer, VIN and text encoder together, on cached latents. Flow match with logit-normal noise levels, chunk masks, a falling rate.

import { existsSync } from 'node:fs'
import { cp, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelOptions } from '../../options/model.js'
import { VideoPipeline } from '../../pipeline/pipeline.js'
import { settleCheckpoint, writeDurably } from '../checkpoint.js'
import { demoTokenizerJson } from '../demo-tokenizer.js'
import type { TrainerOptions } from '../options.js'
import { Trainer } from '../trainer.js'
import { modelIndex, schedulerConfig, textEncoderConfig, transformerConfig } from './config.js'
import { cachedVideos } from './latent-cache.js'
import { openCaches } from './latents-stage.js'
import { Progress, StepBudget } from './progress.js'

export interface TransformerStageOptions {
  folder: string
  minutes: number
  learningRate?: number | undefined
  /** Shares of latent frames that come from videos of 4, 8 and 16 seconds. */
  shares: readonly number[]
  /** Logit-normal noise levels. */
  sigma: { mean: number; std: number }
  seed: number
  model: ModelOptions
  /** A model folder whose averaged weights are the start when there is no checkpoint. */
  start?: string | undefined
}

/** The recipe of the built-in model. */
export const recipe = {
  learningRate: 1.5e-3,
  betas: [0.9, 0.98],
  weightDecay: 0.02,
  maxGradNorm: 1,
  warmupSteps: 100,
  emaDecay: { max: 0.999, ramp: true },
  latentFramesPerStep: 160,
  textDropout: 0.1,
  globalTokenDropout: 0.15,
  maskRatios: { chunks: 0.4, imageHead: 0.04, imageTail: 0.03, quarterHead: 0.03 },
  trainable: 'all'
} as const satisfies TrainerOptions

/** Puts untrained weights, or those of `start`, together with the frozen VAE into a model folder. */
async function initialModel(folder: string, vae: string, start: string | undefined, seed: number, model: ModelOptions): Promise<VideoPipeline> {
  const initial = join(folder, 'initial')
  await rm(initial, { recursive: true, force: true })
  await mkdir(initial, { recursive: true })
  if (start !== undefined) await cp(start, initial, { recursive: true })
  else {
    const parts = { transformer: transformerConfig, textEncoder: textEncoderConfig }
    const untrained = await VideoPipeline.fromConfig(parts, { ...model, seed })
    for (const [name, component, config] of [
      ['transformer', untrained.transformer, transformerConfig],
      ['text_encoder', untrained.textEncoder, textEncoderConfig]
    ] as const) {
      await mkdir(join(initial, name))
      await writeDurably(join(initial, name, 'config.json'), JSON.stringify(config, null, 2))
      await component.native.save(join(initial, name, 'model.safetensors'), { dtype: 'float32' })
    }
    await untrained.dispose()
  }
  for (const [name, file, value] of [
    ['tokenizer', 'tokenizer.json', demoTokenizerJson()],
    ['scheduler', 'scheduler_config.json', schedulerConfig]
  ] as const) {
    await mkdir(join(initial, name), { recursive: true })
    await writeDurably(join(initial, name, file), JSON.stringify(value, null, 2))
  }
  await writeDurably(join(initial, 'model_index.json'), JSON.stringify(modelIndex, null, 2))
  await rm(join(initial, 'vae'), { recursive: true, force: true })
  await cp(vae, join(initial, 'vae'), { recursive: true })
  return VideoPipeline.fromPretrained(initial, model)
}

export async function trainTransformer(options: TransformerStageOptions): Promise<void> {
  const { folder, minutes, shares, sigma, seed, model } = options
  const { vae, caches } = await openCaches(folder, seed, model)
  if (caches.every((cache) => cache.count === 0)) throw new RangeError('Expected latents of at least one video; run --stage latents first')
  const checkpoint = join(folder, 'transformer')
  const changes: TrainerOptions = { timestepSampling: sigma, ...(options.learningRate === undefined ? {} : { learningRate: options.learningRate }) }
  const trainer = (await settleCheckpoint(checkpoint))
    ? await Trainer.resume(checkpoint, changes, model)
    : new Trainer(await initialModel(folder, join(folder, 'vae-final'), existsSync(options.start ?? '') ? options.start : undefined, seed, model), { ...recipe, seed, ...changes })
  const progress = new Progress('transformer', folder, 20)
  const budget = new StepBudget(trainer.globalStep, minutes)
  await trainer.fit(cachedVideos(caches, shares, seed), {
    minutes,
    checkpoint,
    checkpointEvery: 200,
    onStep: async (report) => {
      await progress.step(report)
      const last = budget.lastStep(trainer.globalStep)
      if (last !== undefined) trainer.fallingRate(budget.first, last)
    }
  })
  progress.line(`${trainer.globalStep} steps; checkpoint in ${checkpoint}`)
  trainer.dispose()
  await trainer.pipeline.dispose()
  await vae.dispose()
}
