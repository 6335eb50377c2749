import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VAE, VAETrainer } from '../../lib/index.js'
import type { TensorData, VAETrainerOptions } from '../../lib/index.js'
import type { VideoPixels } from '../../lib/training/dataset.js'
import { disturbLatents, replaceLatentFrame } from '../../lib/training/decoder-latents.js'
import { worldClip } from '../../models/demo/recipe/clips.js'
import { pixelPlanes } from '../../lib/training/pixels.js'
import type { WeightedExample } from '../../lib/training/pixels.js'
import { startTemporalVAE } from '../../models/demo/recipe/temporal-start.js'
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
  { stage: 'decoder', frames: 16, batchSize: 2, steps: 40 },
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

describe("stage 'decoder'", () => {
  /** Decoders that ignore the latents: all weights of the last convolution are 0, so that the loss tells what a clip is compared with. */
  const deaf = async (): Promise<VAE> => {
    const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
    vae.engine.native.op('fill', { y: vae.native.weight('spatial_vae.module.decoder.conv_out.weight'), value: 0 })
    return vae
  }
  const grey = (levels: readonly number[]): WeightedExample => ({
    prompt: '',
    frames: { data: Uint8Array.from({ length: 16 * 768 }, (_, at) => levels[Math.floor(at / 768)]!), shape: [16, 16, 16, 3] },
    weights: new Float32Array(16 * 256).fill(1)
  })
  const ramp = grey(Array.from({ length: 16 }, (_, frame) => 10 * frame))
  const bright = grey(Array.from({ length: 16 }, () => 250))
  const lossOf = async (vae: VAE, examples: WeightedExample[], options: Partial<VAETrainerOptions>): Promise<number> => {
    const trainer = new VAETrainer(vae, { stage: 'decoder', learningRate: 0, l1: 0, mse: 1, ...options })
    const { loss } = await trainer.step(examples)
    trainer.dispose()
    return loss
  }

  test('changes the decoders and nothing else, so that latents keep their bits', async () => {
    const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
    const trainer = new VAETrainer(vae, { stage: 'decoder', latentNoise: 0.5, firstPictures: 0.5, lastPictures: 0.5, cuts: 0.5 })
    const names = vae.weights().map(({ name }) => name)
    const read = async () => new Map(await Promise.all(names.map(async (name) => [name, (await vae.native.weight(name).read()).data] as const)))
    const before = await read()
    await trainer.step([smallClip(1, 0, 16), smallClip(1, 1, 16)])
    const after = await read()
    const changed = names.filter((name) => Buffer.compare(Buffer.from(before.get(name)!.buffer), Buffer.from(after.get(name)!.buffer)) !== 0)
    expect(changed).toEqual(names.filter((name) => /\.(decoder|post_quant_conv)\./.test(name)))
    expect(changed.length).toBeGreaterThan(20)
    trainer.dispose()
    await vae.dispose()
  })

  test('a clip is compared with itself, or with the picture that is given, which counts as four', async () => {
    const vae = await deaf()
    const bias = Float32Array.from((await vae.native.weight('spatial_vae.module.decoder.conv_out.bias').read()).data)
    /** Mean square of 16 grey frames beside what the decoders give, each frame counted so often. */
    const squares = (levels: readonly number[], counts: readonly number[] = []) =>
      levels.reduce((sum, level, frame) => sum + bias.reduce((part, b) => part + (level / 127.5 - 1 - b) ** 2, 0) * (counts[frame] ?? 1), 0) / 48
    const first = [4]
    const last = [...new Array<number>(15).fill(1), 4]
    const up = Array.from({ length: 16 }, (_, frame) => 10 * frame)
    const high = new Array<number>(16).fill(250)
    const both = (a: number, b: number) => (a + b) / 2
    expect(await lossOf(vae, [ramp, bright], { latentNoise: 1 })).toBeCloseTo(both(squares(up), squares(high)), 5)
    expect(await lossOf(vae, [ramp, bright], { firstPictures: 1 })).toBeCloseTo(both(squares(up, first), squares(high, first)), 5)
    expect(await lossOf(vae, [ramp, bright], { lastPictures: 1 })).toBeCloseTo(both(squares(up, last), squares(high, last)), 5)
    // From another clip: a first picture is one frame, a last one the four of its latent frame.
    const begun = both(squares([250, ...up.slice(1)], first), squares([0, ...high.slice(1)], first))
    const ended = both(squares([...up.slice(0, 12), 250, 250, 250, 250], last), squares([...high.slice(0, 12), 150, 150, 150, 150], last))
    expect(await lossOf(vae, [ramp, bright], { firstPictures: 1, cuts: 1 })).toBeCloseTo(begun, 5)
    expect(await lossOf(vae, [ramp, bright], { lastPictures: 1, cuts: 1 })).toBeCloseTo(ended, 5)
    // One clip alone has nothing to be cut to.
    expect(await lossOf(vae, [ramp], { lastPictures: 1, cuts: 1 })).toBeCloseTo(squares(up, last), 5)
    // Nor has one beside a clip of another size.
    const wide: WeightedExample = { prompt: '', frames: { data: new Uint8Array(16 * 1536).fill(250), shape: [16, 16, 32, 3] } }
    expect(await lossOf(vae, [ramp, wide], { lastPictures: 1, cuts: 1 })).toBeCloseTo(both(squares(up, last), squares(high, last)), 5)
    // Weights of a picture go along with it; without any, all pixels count.
    const unseen: WeightedExample = { ...bright, weights: new Float32Array(16 * 256) }
    const seen = both(squares(up, [...new Array<number>(12).fill(1), 0, 0, 0, 0]), squares([...high.slice(0, 12), 150, 150, 150, 150], [...new Array<number>(12).fill(0), 1, 1, 1, 4]))
    expect(await lossOf(vae, [ramp, unseen], { lastPictures: 1, cuts: 1 })).toBeCloseTo(seen, 5)
    const plain: WeightedExample = { prompt: '', frames: ramp.frames! }
    expect(await lossOf(vae, [plain, plain], { firstPictures: 1 })).toBeCloseTo(squares(up, first), 5)
    await vae.dispose()
  })

  test('what is decoded: the posterior means, with noise up to a level, beside the latent frame of a picture as generate encodes it', async () => {
    const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
    const clip = smallClip(1, 0, 16)
    const target = pixelPlanes(clip.frames!).data
    const encode = (frames: VideoPixels) => vae.encode(pixelPlanes(frames))
    const picture = (frame: number, count: number): VideoPixels => {
      const data = new Uint8Array(count * 768)
      for (let at = 0; at < count; at++) data.set(clip.frames!.data.subarray(768 * frame, 768 * (frame + 1)), 768 * at)
      return { data, shape: [count, 16, 16, 3] }
    }
    const expected = async (latents: TensorData, given?: number) => {
      const decoded = await vae.decode(latents, { numFrames: 16 })
      const weight = (pixel: number) => clip.weights![pixel]! * (Math.floor(pixel / 256) === given ? 4 : 1)
      return decoded.data.reduce((sum, value, at) => sum + weight(at % (16 * 256)) * (value - target[at]!) ** 2, 0) / decoded.data.length
    }
    const means = await encode(clip.frames!)
    const plain = await lossOf(vae, [clip], {})
    expect(plain).toBeCloseTo(await expected(means), 5)
    const [begins, ends] = [{ ...means, data: means.data.slice() }, { ...means, data: means.data.slice() }]
    replaceLatentFrame(begins, 0, await encode(picture(0, 1)), 0)
    replaceLatentFrame(ends, 4, await encode(picture(15, 16)), 4)
    expect(await lossOf(vae, [clip], { firstPictures: 1 })).toBeCloseTo(await expected(begins, 0), 5)
    expect(await lossOf(vae, [clip], { lastPictures: 1 })).toBeCloseTo(await expected(ends, 15), 5)
    const moved = Math.abs((await expected(ends, 15)) - (await expected(means, 15)))
    expect(moved).toBeGreaterThan(1e-4 * plain)
    const noisy = [await lossOf(vae, [clip], { latentNoise: 0.5 }), await lossOf(vae, [clip], { latentNoise: 5 })]
    expect(new Set([plain, ...noisy]).size).toBe(3)
    await vae.dispose()
  })
})

test('noise on latents has the deviation that is asked for, channel by channel, and spares what is given', () => {
  const shape = [2, 4, 16, 16]
  const values = (scale: readonly number[]) => Float32Array.from({ length: 2 * 1024 }, (_, at) => scale[Math.floor(at / 1024)]! * Math.sin(12.9898 * at))
  const latents = { data: values([1, 10]), shape }
  const before = latents.data.slice()
  const noise = Float32Array.from({ length: 2 * 1024 }, (_, at) => (at % 2 === 0 ? 1 : -1))
  disturbLatents(latents, noise, 0.5, 1, 3)
  for (const channel of [0, 1]) {
    const own = (data: Float32Array) => data.subarray(channel * 1024, (channel + 1) * 1024)
    const deviation = Math.sqrt(own(before).reduce((sum, value) => sum + value ** 2, 0) / 1024)
    own(latents.data).forEach((value, at) => {
      if (at < 256 || at >= 768) expect(value).toBe(own(before)[at])
      else expect(Math.abs((value - own(before)[at]!) * noise[at]! - 0.5 * deviation)).toBeLessThan(0.01 * deviation)
    })
  }
  const other = { data: Float32Array.from({ length: 2 * 512 }, (_, at) => at), shape: [2, 2, 16, 16] }
  replaceLatentFrame(latents, 3, other, 1)
  expect(latents.data.subarray(768, 1024)).toEqual(other.data.subarray(256, 512))
  expect(latents.data.subarray(1024 + 768)).toEqual(other.data.subarray(768))
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
  for (const name of ['latentNoise', 'firstPictures', 'lastPictures', 'cuts']) {
    expect(() => new VAETrainer(vae, { stage: 'all', [name]: 0.5 })).toThrow(`Expected stage 'decoder' for ${name}`)
    expect(() => new VAETrainer(vae, { stage: 'decoder', [name]: -1 })).toThrow(RangeError)
  }
  for (const name of ['learningRate', 'warmupSteps', 'totalSteps', 'decayFrom', 'weightDecay', 'betas', 'maxGradNorm', 'emaDecay', 'batchSize', 'l1', 'mse', 'latentNoise', 'firstPictures', 'lastPictures', 'cuts', 'seed']) {
    expect(() => new VAETrainer(vae, { stage: 'decoder', [name]: null }), name).toThrow(new RegExp(`for ${name} .*received null`))
  }
  expect(() => new VAETrainer(vae, { stage: 'decoder', firstPictures: 0.6, lastPictures: 0.5 })).toThrow(/lastPictures/)
  expect(() => new VAETrainer(vae, { stage: 'decoder', kl: 1e-3 })).toThrow(/Expected no kl with stage 'decoder'.*received 0.001/)
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
