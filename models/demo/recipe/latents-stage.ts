// Stage 'latents': freezes the VAE and encodes the first videos of each length.

import { join } from 'node:path'
import { VAE } from 'vin-native'
import type { ModelOptions } from 'vin-native'
import { demoSizes } from './config.js'
import type { DemoSizes } from './config.js'
import { freezeVAE } from './freeze.js'
import { LatentCache, weightsFingerprint } from './latent-cache.js'
import { Progress } from './progress.js'

/** Seconds of the videos that the transformer sees: 20, 40 and 80 latent frames. */
export const VIDEO_SECONDS = [4, 8, 16] as const

export interface LatentsStageOptions {
  folder: string
  /** Videos of each length. */
  videos: readonly number[]
  seed: number
  model: ModelOptions
  /** A model folder whose VAE is used when there is no checkpoint of one. */
  start?: string | undefined
  sizes?: DemoSizes
}

const frozenFolder = (folder: string): string => join(folder, 'vae-final')

/** The frozen VAE of a training folder; freezes it when there is none. */
export async function openFrozenVAE({ folder, model, start, sizes = demoSizes }: Omit<LatentsStageOptions, 'videos'>): Promise<VAE> {
  const frozen = frozenFolder(folder)
  await freezeVAE({ checkpoint: join(folder, 'vae-temporal'), folder: frozen, start, momentVideos: sizes.momentVideos, model })
  return VAE.fromPretrained(frozen, model)
}

/** Opens the caches of all lengths with the frozen VAE of a training folder. `replace`: those of another seed or VAE are begun anew. */
export async function openCaches(options: Omit<LatentsStageOptions, 'videos'> & { replace?: boolean }): Promise<{ vae: VAE; caches: LatentCache[] }> {
  const { folder, seed, replace = false } = options
  const vae = await openFrozenVAE(options)
  const fingerprint = await weightsFingerprint(join(frozenFolder(folder), 'diffusion_pytorch_model.safetensors'))
  const caches: LatentCache[] = []
  for (const seconds of VIDEO_SECONDS) caches.push(await LatentCache.open({ folder, seconds, seed, vae, fingerprint, replace }))
  return { vae, caches }
}

export async function encodeLatents(options: LatentsStageOptions): Promise<void> {
  const { folder, videos } = options
  const { vae, caches } = await openCaches({ ...options, replace: true })
  const progress = new Progress('latents', folder, 50)
  const started = performance.now()
  let encoded = 0
  for (const [index, cache] of caches.entries()) {
    await cache.grow(videos[index] ?? 0, (done, count) => {
      encoded += 1
      if (done % 100 === 0 || done === count) {
        progress.line(`${done} of ${count} videos of ${cache.seconds} s  ${((1000 * encoded) / (performance.now() - started)).toFixed(1)} videos/s`)
      }
    })
  }
  await vae.dispose()
}
