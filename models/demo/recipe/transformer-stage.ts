// Stages 'images' and 'transformer': transformer, VIN and text encoder together, on cached latents. Flow match with logit-normal noise levels, chunk masks, a falling rate.
// Appearance and words are learned from single pictures, of which a step shows twenty times as many as of videos of 4 s; motion and memory from videos.

import { cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Trainer, VideoPipeline } from 'vin-native'
import type { ModelOptions, TrainerOptions } from 'vin-native'
import { demoTokenizerJson } from './tokenizer.js'
import { demoSizes, modelDefaults, schedulerConfig } from './config.js'
import type { DemoSizes } from './config.js'
import { WORLD_FEATURES } from './features.js'
import { ifThere } from './files.js'
import { cachedVideos } from './latent-cache.js'
import type { CachedVideosOptions } from './latent-cache.js'
import { openCaches } from './latents-stage.js'
import { Progress } from './progress.js'
import { sheets } from './samples.js'

/** `shares`: of videos of 4, 8 and 16 seconds. `images` 1, the stage 'images': nothing else, and no global tokens. */
export interface TransformerStageOptions extends CachedVideosOptions {
  folder: string
  minutes: number
  learningRate?: number | undefined
  /** Logit-normal noise levels. */
  sigma: { mean: number; std: number }
  /** Share of videos in which every chunk is clean with probability ½ (the recipe's). */
  chunkMasks?: number | undefined
  /** Weight of what global tokens are to tell of the world (features.ts); a model that begins gets the head for it. @default 0 */
  features?: number | undefined
  model: ModelOptions
  /** A model folder whose weights are the start when there is no checkpoint, with fresh moments and a new warm-up; absent: untrained weights. */
  start?: string | undefined
  sizes?: DemoSizes
}

/** The recipe of the built-in model. */
export const recipe = {
  learningRate: 1.5e-3,
  betas: [0.9, 0.98],
  weightDecay: 0.02,
  maxGradNorm: 1,
  warmupSteps: 100,
  emaDecay: { max: 0.999, ramp: true },
  textDropout: 0.1,
  globalTokenDropout: 0.15,
  maskRatios: { chunks: 0.4, imageHead: 0.08, imageTail: 0.06, quarterHead: 0.03 },
  trainable: 'all'
} as const satisfies TrainerOptions

/** Untrained weights, or those of `start` with its sampler, and the frozen VAE. */
async function initialModel({ folder, start, seed, model: options, features = 0, sizes = demoSizes }: TransformerStageOptions): Promise<VideoPipeline> {
  const model = features > 0 ? { ...options, globalFeatures: WORLD_FEATURES } : options
  const initial = join(folder, 'initial')
  await rm(initial, { recursive: true, force: true })
  if (start === undefined) {
    const { transformer, textEncoder } = sizes
    await using untrained = await VideoPipeline.fromConfig({ transformer, textEncoder, tokenizer: demoTokenizerJson(), scheduler: schedulerConfig }, { ...model, seed, defaults: modelDefaults })
    await untrained.save(initial)
  } else {
    for (const part of ['transformer', 'text_encoder', 'scheduler', 'model_index.json']) await cp(join(start, part), join(initial, part), { recursive: true })
    await mkdir(join(initial, 'tokenizer'))
    await writeFile(join(initial, 'tokenizer', 'tokenizer.json'), JSON.stringify(demoTokenizerJson(), null, 2))
  }
  await cp(join(folder, 'vae-final'), join(initial, 'vae'), { recursive: true })
  return VideoPipeline.fromPretrained(initial, model)
}

export async function trainTransformer(options: TransformerStageOptions): Promise<void> {
  const { folder, minutes, images = 0, sigma, seed, model } = options
  const { vae, caches } = await openCaches(options)
  if (caches.every((cache) => cache.count === 0)) throw new RangeError('Expected latents of at least one video; run --stage latents first')
  const checkpoint = join(folder, 'transformer')
  // A sitting's rate falls to 0 at its end: the next one begins without that end.
  const changes: TrainerOptions = {
    totalSteps: undefined,
    decayFrom: undefined,
    timestepSampling: sigma,
    ...(images < 1
      ? {
          lengths: [...(images > 0 ? [1] : []), ...caches.map(({ frames }) => frames)],
          globalTokenDropout: recipe.globalTokenDropout,
          globalFeatureWeight: options.features,
          maskRatios: { ...recipe.maskRatios, chunks: options.chunkMasks ?? recipe.maskRatios.chunks }
        }
      : { lengths: [1], globalTokenDropout: 1, globalFeatureWeight: undefined, maskRatios: {} }),
    ...(options.learningRate === undefined ? {} : { learningRate: options.learningRate })
  }
  const trainer =
    (await ifThere(Trainer.resume(checkpoint, changes, model))) ??
    new Trainer(await initialModel(options), {
      ...recipe,
      latentFramesPerStep: (options.sizes ?? demoSizes).latentFramesPerStep,
      seed,
      ...changes
    })
  const first = trainer.globalStep
  const stage = images < 1 ? 'transformer' : 'images'
  const progress = new Progress(stage, folder, 20)
  const writeSheet = sheets(stage, folder, model)
  await trainer.fit(cachedVideos(caches, options), { minutes, checkpoint, checkpointEvery: 200, onStep: progress.sitting(trainer, minutes), onCheckpoint: (_, step) => (step > first ? writeSheet(checkpoint, step) : undefined) })
  progress.line(`${trainer.globalStep} steps; checkpoint in ${checkpoint}`)
  trainer.dispose()
  await trainer.pipeline.dispose()
  await vae.dispose()
}
