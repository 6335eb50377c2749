import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { VAE } from '../../lib/models/vae.js'
import { cachedVideos, LatentCache } from '../../models/demo/recipe/latent-cache.js'

const DRAWS = 400
let folder: string
let cache: LatentCache
let vae: VAE

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-latents-'))
  // What the draws depend on is the world, not the numbers of the latents.
  const shape = [4, 20, 8, 8]
  vae = { microBatch: { frames: 16, latentFrames: 5 }, encode: async () => ({ data: new Float32Array(4 * 20 * 8 * 8), shape }) } as unknown as VAE
  cache = await LatentCache.open({ folder, seconds: 4, seed: 3, vae, fingerprint: 'none' })
  await cache.grow(40)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function prompts(): Promise<string[]> {
  const drawn: string[] = []
  for await (const { prompt } of cachedVideos([cache], [1], 3)) {
    drawn.push(prompt as string)
    if (drawn.length === DRAWS) break
  }
  return drawn
}

const share = (drawn: readonly string[], holds: (prompt: string) => boolean) => drawn.filter(holds).length / drawn.length
const curtain = (prompt: string) => prompt.includes('the curtain closes')
const namesNothing = (prompt: string) => /^a shape( and a shape)? (moves|bounces)( |$)(?!over)/.test(prompt)

test('curtains and captions are as the world has them, and the same every time', async () => {
  const drawn = await prompts()
  const curtains = Array.from({ length: 40 }, (_, index) => cache.world(index)).filter(({ event }) => event === 'curtain').length / 40
  expect(share(drawn, curtain)).toBeGreaterThan(curtains - 0.1)
  expect(share(drawn, curtain)).toBeLessThan(curtains + 0.1)
  expect(share(drawn, namesNothing)).toBeGreaterThan(0.15)
  expect(share(drawn, namesNothing)).toBeLessThan(0.4)
  expect(await prompts()).toEqual(drawn)
})

test('latents of another seed or VAE are kept, and said to be there, until they are to be replaced', async () => {
  const options = { folder, seconds: 4, seed: 3, vae, fingerprint: 'none' }
  await expect(LatentCache.open({ ...options, seed: 4 })).rejects.toThrow(/Expected latents of seed 4 .*"seed":3.* pass their --seed, or replace them with --stage latents/)
  await expect(LatentCache.open({ ...options, fingerprint: 'other' })).rejects.toThrow(/another seed or VAE/)
  expect((await LatentCache.open(options)).count).toBe(40)
  const own = await mkdtemp(join(tmpdir(), 'vin-latents-'))
  const mine = await LatentCache.open({ ...options, folder: own })
  await mine.grow(1)
  expect((await LatentCache.open({ ...options, folder: own, seed: 4, replace: true })).count).toBe(0)
  await rm(own, { recursive: true })
})
