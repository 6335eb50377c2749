import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { VAE } from '../../lib/models/vae.js'
import { cachedVideos, LatentCache } from '../../models/demo/recipe/latent-cache.js'
import type { DrawShares } from '../../models/demo/recipe/latent-cache.js'

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

async function prompts(draws?: DrawShares): Promise<string[]> {
  const drawn: string[] = []
  for await (const { prompt } of cachedVideos([cache], [1], 3, draws)) {
    drawn.push(prompt as string)
    if (drawn.length === DRAWS) break
  }
  return drawn
}

const share = (drawn: readonly string[], holds: (prompt: string) => boolean) => drawn.filter(holds).length / drawn.length
const curtain = (prompt: string) => prompt.includes('the curtain closes')
const namesAll = (prompt: string) => /^a (small|large) \w+ (circle|square|triangle)( and a (small|large) \w+ (circle|square|triangle))? (moves|bounces) over/.test(prompt)
const namesNothing = (prompt: string) => /^a shape( and a shape)? (moves|bounces)( |$)(?!over)/.test(prompt)

test('without weights, curtains and captions are as the world has them', async () => {
  const drawn = await prompts()
  const curtains = Array.from({ length: 40 }, (_, index) => cache.world(index)).filter(({ event }) => event === 'curtain').length / 40
  expect(share(drawn, curtain)).toBeGreaterThan(curtains - 0.1)
  expect(share(drawn, curtain)).toBeLessThan(curtains + 0.1)
  expect(share(drawn, namesNothing)).toBeGreaterThan(0.15)
  expect(share(drawn, namesNothing)).toBeLessThan(0.4)
})

test('a full weight gives only curtains, whose captions say nothing but the times', async () => {
  const drawn = await prompts({ curtains: 1, unnamed: 1, named: 0 })
  expect(share(drawn, curtain)).toBe(1)
  expect(share(drawn, namesNothing)).toBe(1)
})

test('half a weight gives half of the rest, and the same draws every time', async () => {
  const drawn = await prompts({ curtains: 0.5, unnamed: 0.5, named: 0 })
  const plain = await prompts()
  expect(share(drawn, curtain)).toBeCloseTo(0.5 + 0.5 * share(plain, curtain), 0.8)
  expect(share(drawn, namesNothing)).toBeGreaterThan(0.5)
  expect(share(drawn, namesNothing)).toBeLessThan(0.75)
  expect(await prompts({ curtains: 0.5, unnamed: 0.5, named: 0 })).toEqual(drawn)
})

test('captions that name everything get their share beside those that name nothing', async () => {
  const drawn = await prompts({ curtains: 0, unnamed: 0.3, named: 0.7 })
  expect(share(drawn, namesAll) + share(drawn, namesNothing)).toBe(1)
  expect(share(drawn, namesAll)).toBeGreaterThan(0.6)
  expect(share(drawn, namesAll)).toBeLessThan(0.8)
})

test('a focus gives videos whose only object has one of the words', async () => {
  const draws = { curtains: 0, unnamed: 0, named: 1 }
  const focused = (prompt: string) => /^a (large \w+|\w+ (red|blue)) \w+ (moves|bounces)/.test(prompt)
  const [plain, half, all] = [await prompts(draws), await prompts({ ...draws, focus: { words: ['red', 'blue', 'large'], share: 0.5 } }), await prompts({ ...draws, focus: { words: ['red', 'blue', 'large'], share: 1 } })]
  expect(share(all, focused)).toBe(1)
  expect(share(plain, focused)).toBeLessThan(0.8)
  expect(share(half, focused)).toBeCloseTo(0.5 + 0.5 * share(plain, focused), 0.8)
  // Their captions name everything, the others are as they are asked for.
  const unnamed = { curtains: 0, unnamed: 1, named: 0 }
  expect(share(await prompts({ ...unnamed, focus: { words: ['red', 'blue', 'large'], share: 1 } }), namesAll)).toBe(1)
  const some = await prompts({ ...unnamed, focus: { words: ['red', 'blue', 'large'], share: 0.5 } })
  expect(share(some, namesAll)).toBeCloseTo(0.5, 0.8)
  expect(share(some, namesAll) + share(some, namesNothing)).toBe(1)
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
