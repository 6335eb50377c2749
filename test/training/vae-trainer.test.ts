import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VAE, VAETrainer } from '../../lib/index.js'
import { worldClip } from '../../lib/training/demo/clips.js'
import type { WeightedExample } from '../../lib/training/vae-trainer.js'
import { startTemporalVAE } from '../../lib/training/demo/temporal-start.js'
import { tinyVAE } from '../support/models.js'

/** The middle 16 × 16 pixels of a demo-world clip: small enough to train on within a test. */
function smallClip(seed: number, index: number, frames: 1 | 16): WeightedExample {
  const clip = worldClip(seed, index, frames)
  const data = new Uint8Array(frames * 256 * 3)
  const weights = new Float32Array(frames * 256)
  for (let row = 0; row < frames * 16; row++) {
    const from = (Math.floor(row / 16) * 64 + 24 + (row % 16)) * 64 + 24
    data.set(clip.frames!.data.subarray(3 * from, 3 * (from + 16)), row * 48)
    weights.set(clip.weights!.subarray(from, from + 16), row * 16)
  }
  return { prompt: '', frames: { data, shape: [frames, 16, 16, 3] }, weights }
}

describe.each([
  { stage: 'spatial', frames: 1, batchSize: 4, steps: 60 },
  { stage: 'temporal', frames: 16, batchSize: 2, steps: 60 },
  { stage: 'all', frames: 16, batchSize: 1, steps: 40 }
] as const)('stage $stage', ({ stage, frames, batchSize, steps }) => {
  let folder: string
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'vae-'))))
  afterAll(() => rm(folder, { recursive: true, force: true }))
  const clips = {
    async *[Symbol.asyncIterator]() {
      for (let index = 0; index < 5; index++) yield smallClip(3, index, frames)
    }
  }
  const start = async () => new VAETrainer(await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 }), { stage, batchSize, learningRate: 4e-3, seed: 2 })
  const fit = async (trainer: VAETrainer, count: number) => {
    const losses: number[] = []
    await trainer.fit(clips, { steps: count, onStep: ({ loss }) => void losses.push(loss) })
    return losses
  }
  const close = async (trainer: VAETrainer) => {
    trainer.dispose()
    await trainer.vae.dispose()
  }

  test('the loss of a clip that is shown again and again falls', async () => {
    const trainer = await start()
    const losses: number[] = []
    for (let step = 0; step < steps; step++) losses.push((await trainer.step([smallClip(77, 0, frames)])).loss)
    expect(losses.every(Number.isFinite)).toBe(true)
    expect(losses.at(-1)!).toBeLessThan(0.8 * losses[0]!)
    await close(trainer)
  })

  test('saved and resumed, losses continue with the same bits', async () => {
    const whole = await start()
    const losses = await fit(whole, 6)
    const first = await start()
    const before = await fit(first, 3)
    await first.save(join(folder, 'vae'))
    const resumed = await VAETrainer.resume(join(folder, 'vae'), {}, { device: 'cpu' })
    expect([...before, ...(await fit(resumed, 3))]).toEqual(losses)
    for (const trainer of [whole, first, resumed]) await close(trainer)
  })
})

test.each([
  ['spatial', 'temporal'],
  ['temporal', 'spatial']
] as const)("stage '%s' leaves the %s part alone", async (stage, other) => {
  const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
  const trainer = new VAETrainer(vae, { stage, batchSize: 2 })
  const read = async (name: string) => (await vae.native.weight(name).read()).data
  const names = vae.weights().map(({ name }) => name)
  const before = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)] as const)))
  await trainer.step([smallClip(1, 0, 16), smallClip(1, 1, 16)])
  const changed: string[] = []
  for (const name of names) if (Buffer.compare(Buffer.from((await read(name)).buffer), Buffer.from(before[name]!.buffer)) !== 0) changed.push(name)
  expect(changed.length).toBeGreaterThan(20)
  expect(changed.filter((name) => name.startsWith(`${other}_vae.`))).toEqual([])
  trainer.dispose()
  await vae.dispose()
})

test("stage 'temporal' weighs a cell of 8 × 8 pixels by the mean of their weights", async () => {
  const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
  const clip = smallClip(1, 0, 16)
  // The noise of a step is its own: losses compare only within one step, so each weighting has a new trainer at step 0.
  const loss = async (weight?: (x: number, y: number) => number) => {
    const fresh = new VAETrainer(vae, { stage: 'temporal', learningRate: 0, kl: 0, l1: 1, mse: 0 })
    const { prompt, frames } = clip
    const weights = weight === undefined ? {} : { weights: Float32Array.from({ length: 16 * 256 }, (_, i) => weight(i % 16, Math.floor(i / 16) % 16)) }
    const { loss } = await fresh.step([{ prompt, frames: frames!, ...weights }])
    fresh.dispose()
    return loss
  }
  expect(await loss(() => 1)).toBeCloseTo(await loss(), 6)
  const left = await loss((x) => (x < 8 ? 1 : 0))
  const right = await loss((x) => (x < 8 ? 0 : 1))
  expect(left).toBeGreaterThan(0)
  expect(Math.abs(left - right)).toBeGreaterThan(1e-4 * left)
  // In the left half one pixel column of 8 counts 4, so the mean is ½; the right half counts 3 throughout.
  expect(await loss((x) => (x < 8 ? (x === 5 ? 4 : 0) : 3))).toBeCloseTo(left / 2 + 3 * right, 5)
  await vae.dispose()
})

test('wrong options and examples are refused', async () => {
  const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
  expect(() => new VAETrainer(vae, { stage: '3d' as never })).toThrow(RangeError)
  expect(() => new VAETrainer(vae, { stage: 'all', kll: 1 } as never)).toThrow(/'kl'/)
  const trainer = new VAETrainer(vae, { stage: 'spatial' })
  await expect(trainer.step([])).rejects.toThrow(RangeError)
  await expect(trainer.step([{ prompt: 'no frames' }])).rejects.toThrow(TypeError)
  trainer.dispose()
  await vae.dispose()
})

test('the temporal part of the built-in VAE starts as pictures that pass through', async () => {
  // 16 channels a level are the least that carries four values as pairs beside constants.
  const config = { ...tinyVAE, temporal: { ...tinyVAE.temporal, filters: 32 }, norm_num_groups: 8 }
  const vae = await VAE.fromConfig(config, { device: 'cpu', seed: 4 })
  const still = smallClip(5, 0, 1).frames!
  const frames = { data: new Uint8Array(16 * still.data.length), shape: [16, 16, 16, 3] as [number, number, number, number] }
  for (let frame = 0; frame < 16; frame++) frames.data.set(still.data, frame * still.data.length)
  const psnr = async (stage: 'spatial' | 'all') => {
    const trainer = new VAETrainer(vae, { stage, batchSize: 1, learningRate: 4e-3 })
    if (stage === 'spatial') for (let step = 0; step < 60; step++) await trainer.step([{ prompt: '', frames: still }])
    const value = await trainer.psnr([{ prompt: '', frames }])
    trainer.dispose()
    return value
  }
  const spatial = await psnr('spatial')
  const random = await psnr('all')
  await startTemporalVAE(vae)
  const passing = await psnr('all')
  expect(Math.abs(passing - spatial)).toBeLessThan(1.5)
  expect(passing).toBeGreaterThan(random)
  await vae.dispose()
})
