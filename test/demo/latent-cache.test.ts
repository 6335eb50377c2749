import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { VAE } from '../../lib/models/vae.js'
import type { TrainingExample } from '../../lib/training/dataset.js'
import { curtainClosedness, objectPosition } from '../../lib/training/demo-world.js'
import { WORLD_FEATURES } from '../../models/demo/recipe/features.js'
import { cachedVideos, LatentCache } from '../../models/demo/recipe/latent-cache.js'

const DRAWS = 400
let folder: string
let cache: LatentCache
let vae: VAE

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-latents-'))
  // What the draws depend on is the world, not the numbers of the latents.
  const shape = [4, 20, 8, 8]
  let videos = 0
  const encode = async () => {
    const data = new Float32Array(4 * 20 * 64)
    for (let frame = 0; frame < 20; frame++) data.fill(20 * videos + frame, 64 * frame, 64 * frame + 64)
    videos++
    return { data, shape }
  }
  vae = { microBatch: { frames: 16, latentFrames: 5 }, encode } as unknown as VAE
  cache = await LatentCache.open({ folder, seconds: 4, seed: 3, vae, fingerprint: 'none' })
  await cache.grow(40)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function prompts(options: { curtains?: number; unnamed?: number } = {}): Promise<string[]> {
  const drawn: string[] = []
  for await (const { prompt } of cachedVideos([cache], { shares: [1], seed: 3, ...options })) {
    drawn.push(prompt as string)
    if (drawn.length === DRAWS) break
  }
  return drawn
}

/** Which latent frame of which video a picture is. */
const marked = (data: Float32Array) => ({ world: cache.world(Math.floor(data[0]! / 20)), frame: data[0]! % 20 })

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

test('more curtains and captions that name nothing, where they are asked for', async () => {
  const drawn = await prompts({ curtains: 0.8, unnamed: 0.6 })
  const curtains = Array.from({ length: 40 }, (_, index) => cache.world(index)).filter(({ event }) => event === 'curtain').length / 40
  expect(share(drawn, curtain)).toBeGreaterThan(0.8 + 0.2 * curtains - 0.08)
  expect(share(drawn, curtain)).toBeLessThan(0.8 + 0.2 * curtains + 0.08)
  expect(share(drawn, namesNothing)).toBeGreaterThan(0.6)
  expect(share(drawn, namesNothing)).toBeLessThan(0.8)
  expect(share(await prompts({ curtains: 1, unnamed: 1 }), (prompt) => curtain(prompt) && namesNothing(prompt))).toBe(1)
})

test('every example says what is in it, as far as the world has it', async () => {
  let left = 200
  for await (const { prompt, globalFeatures } of cachedVideos([cache], { shares: [1], seed: 3, images: 0.3 })) {
    if (left-- === 0) break
    const told = Array.from(globalFeatures!)
    expect(told).toHaveLength(WORLD_FEATURES)
    expect(told.every((value) => value === 0 || value === 1)).toBe(true)
    // A background, an event; and of one or two objects a shape and a size each, which may be the same.
    const count = (from: number, to: number) => told.slice(from, to).reduce((a, b) => a + b, 0)
    expect([count(0, 5), count(5, 9)]).toEqual([1, 1])
    for (const [from, to] of [[10, 28], [28, 40]] as const) expect(count(from, to) - told[9]!).toBeOneOf(told[9] === 1 ? [0, 1] : [1])
    for (const [i, background] of ['night', 'meadow', 'sea', 'sand', 'room'].entries()) if ((prompt as string).includes(`the ${background}`)) expect(told[i]).toBe(1)
    expect((prompt as string).includes('the curtain closes')).toBe(told[6] === 1)
    for (const [i, pair] of ['red circle', 'red square', 'red triangle', 'green circle', 'green square', 'green triangle'].entries()) if ((prompt as string).includes(pair)) expect(told[10 + i]).toBe(1)
    if ((prompt as string).includes('small red ')) expect(told[28]).toBe(1)
    if ((prompt as string).includes('large white ')) expect(told[39]).toBe(1)
  }
})

test('single pictures get their share of the latent frames, show their objects, and have captions without events', async () => {
  const drawn = async (images: number) => {
    const examples: TrainingExample[] = []
    for await (const example of cachedVideos([cache], { shares: [1], seed: 3, images })) {
      examples.push(example)
      if (examples.length === DRAWS) break
    }
    return examples
  }
  const frames = (example: TrainingExample) => example.latents!.shape[1]
  const half = await drawn(0.5)
  const pictures = half.filter((example) => frames(example) === 1)
  expect(pictures.length / half.reduce((sum, example) => sum + frames(example), 0)).toBeGreaterThan(0.35)
  expect(pictures.length / half.reduce((sum, example) => sum + frames(example), 0)).toBeLessThan(0.65)
  expect((await drawn(0)).filter((example) => frames(example) === 1)).toEqual([])
  const all = await drawn(1)
  expect(all.filter((example) => frames(example) !== 1)).toEqual([])
  expect(all.filter(({ prompt }) => /curtain|leaves/.test(prompt))).toEqual([])
  expect(all.some(({ prompt }) => prompt.includes('behind a wall'))).toBe(true)
  // The fake encoder writes the number of the latent frame, from which the world says what it shows.
  for (const { latents } of all) {
    const { world, frame } = marked(latents!.data)
    const from = Math.floor(frame / 5) * 16 + [0, 0, 4, 8, 12][frame % 5]!
    for (let at = from; at <= from + 4; at++) {
      expect(curtainClosedness(world, at)).toBe(0)
      for (const object of world.objects) expect(Math.abs(objectPosition(world, object, at)[0] - 32)).toBeLessThanOrEqual(32)
    }
  }
  expect(await drawn(1)).toEqual(all)
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
