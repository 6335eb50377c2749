import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VAE, VAETrainer } from '../../lib/index.js'
import { worldClip, worldClips } from '../../lib/training/demo/clips.js'
import { tinyVAE } from '../support/models.js'

describe.each([
  { stage: 'spatial', frames: 1, batchSize: 4, steps: 30 },
  { stage: 'all', frames: 16, batchSize: 1, steps: 12 }
] as const)('stage $stage', ({ stage, frames, batchSize, steps }) => {
  let folder: string
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'vae-'))))
  afterAll(() => rm(folder, { recursive: true, force: true }))
  const clips = worldClips({ seed: 3, frames, count: 100 })
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

  test('the reconstruction gets better', async () => {
    const trainer = await start()
    const heldOut = [worldClip(77, 0, frames), worldClip(77, 1, frames)]
    const before = await trainer.psnr(heldOut)
    await fit(trainer, steps)
    expect(await trainer.psnr(heldOut)).toBeGreaterThan(before + 1)
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

test("stage 'spatial' leaves the temporal part alone", async () => {
  const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
  const trainer = new VAETrainer(vae, { stage: 'spatial', batchSize: 2 })
  const read = async (name: string) => (await vae.native.weight(name).read()).data
  const names = vae.weights().map(({ name }) => name)
  const before = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)] as const)))
  await trainer.step([worldClip(1, 0, 16), worldClip(1, 1, 16)])
  const changed: string[] = []
  for (const name of names) if (Buffer.compare(Buffer.from((await read(name)).buffer), Buffer.from(before[name]!.buffer)) !== 0) changed.push(name)
  expect(changed.length).toBeGreaterThan(50)
  expect(changed.every((name) => name.startsWith('spatial_vae.'))).toBe(true)
  trainer.dispose()
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
