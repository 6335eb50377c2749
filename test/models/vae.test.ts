// The VAE beyond its numbers (vae-reference.test.ts): every weight is used, micro-batches stand alone, memory does not grow with length, gradients.
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VAE } from '../../lib/index.js'
import type { TensorData } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import type { NativeEngine, NativeTensor, NativeVae } from '../../lib/native/binding.js'
import { bits, compare, fixture, readJson } from '../support/fixtures.js'
import { directional, disturb } from '../support/gradients.js'
import { tinyVAE } from '../support/models.js'
import { pictures } from '../support/vae.js'

const binding = loadBinding()

/** Frames [begin, end) of [C, T, H, W], or of one without the batch axis in front. */
function frames({ data, shape }: TensorData, begin: number, end: number): TensorData {
  const [C = 0, T = 0, H = 0, W = 0] = shape.slice(-4)
  const result = new Float32Array(C * (end - begin) * H * W)
  for (let c = 0; c < C; c++) result.set(data.subarray((c * T + begin) * H * W, (c * T + end) * H * W), c * (end - begin) * H * W)
  return { data: result, shape: [C, end - begin, H, W] }
}

const zeros = (engine: NativeEngine, shape: number[]): NativeTensor => engine.upload(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape)

describe('weights of which every one counts', () => {
  let vae: VAE
  beforeAll(async () => {
    vae = await VAE.fromPretrained(fixture('vae'), { device: 'cpu', threads: 1 })
  })
  afterAll(() => vae.dispose())

  // A value added to a whole channel is taken away again by a group norm whose groups have one channel (8 groups of 8 channels) and nothing else reads it;
  // a bias of the keys adds the same to all scores of a query.
  const withoutEffect = [
    ...['encoder.down_blocks.0', 'encoder.down_blocks.1', 'decoder.up_blocks.2', 'decoder.up_blocks.3'].map((block) => `${block}.resnets.0.conv1.bias`),
    ...['decoder.up_blocks.2', 'decoder.up_blocks.3'].map((block) => `${block}.resnets.1.conv1.bias`),
    ...['encoder', 'decoder'].map((part) => `${part}.mid_block.attentions.0.to_k.bias`),
    'decoder.up_blocks.2.upsamplers.0.conv.bias',
    ...[0, 1].map((i) => `decoder.up_blocks.3.resnets.${i}.conv2.bias`)
  ].map((name) => `spatial_vae.module.${name}`)

  test('any weight tensor disturbed moves the output beyond the reference’s tolerance, but for those without effect', async () => {
    // One small frame is enough to pass through all of it.
    const pixels = pictures(1, 16, 16)
    const latents = await vae.encode(pixels)
    const decoded = await vae.decode(latents, { numFrames: 1 })
    const differs = (actual: TensorData, wanted: TensorData): boolean => {
      const { difference, magnitude } = compare(actual, wanted)
      return !(difference <= 2e-5 * Math.max(1, magnitude))
    }
    const red = async (name = ''): Promise<boolean> =>
      (!/decoder|post_quant/.test(name) && differs(await vae.encode(pixels), latents)) ||
      (!/encoder|\.quant/.test(name) && differs(await vae.decode(latents, { numFrames: 1 }), decoded))
    const unseen: string[] = []
    for (const { name } of vae.weights()) {
      const restore = await disturb(vae.engine.native, vae.native.weight(name))
      if (!(await red(name))) unseen.push(name)
      restore()
    }
    expect(unseen.sort()).toEqual([...withoutEffect].sort())
    expect(await red()).toBe(false)
  })

  test('names of older SDXL files load as the same model', async () => {
    const { tensors } = binding.readSafetensors(fixture('vae', 'model.safetensors'))
    const older = { 'to_q.': 'query.', 'to_k.': 'key.', 'to_v.': 'value.', 'to_out.0.': 'proj_attn.' }
    const rename = (name: string): string => Object.entries(older).reduce((text, [now, before]) => text.replace(now, before), name)
    const folder = await mkdtemp(join(tmpdir(), 'vin-vae-'))
    try {
      const renamed = Object.entries(tensors).map(([name, { data, shape }]) => [rename(name), { data: data!, shape }] as const)
      expect(renamed.filter(([name]) => name.includes('proj_attn'))).toHaveLength(4)
      binding.writeSafetensors(join(folder, 'model.safetensors'), Object.fromEntries(renamed))
      await writeFile(join(folder, 'config.json'), JSON.stringify(readJson('vae', 'config.json')))
      await using other = await VAE.fromPretrained(folder, { device: 'cpu' })
      const pixels = pictures(1, 24, 16)
      expect(bits(await other.encode(pixels)).equals(bits(await vae.encode(pixels)))).toBe(true)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('a state dict without shift and scale takes those of the config', async () => {
    const { tensors } = binding.readSafetensors(fixture('vae', 'model.safetensors'))
    const { shift, scale, ...rest } = tensors
    const folder = await mkdtemp(join(tmpdir(), 'vin-vae-'))
    try {
      binding.writeSafetensors(join(folder, 'model.safetensors'), Object.fromEntries(Object.entries(rest).map(([name, { data, shape }]) => [name, { data: data!, shape }])))
      await writeFile(join(folder, 'config.json'), JSON.stringify({ ...readJson('vae', 'config.json'), shift: [...shift!.data!], scale: [...scale!.data!] }))
      await using other = await VAE.fromPretrained(folder, { device: 'cpu' })
      const pixels = pictures(5, 24, 16)
      const latents = await vae.encode(pixels)
      expect(bits(await other.encode(pixels)).equals(bits(latents))).toBe(true)
      expect(bits(await other.decode(latents)).equals(bits(await vae.decode(latents)))).toBe(true)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('every number of threads gives the same bits', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vin-vae-'))
    try {
      for (const name of ['config.json', 'model.safetensors']) await symlink(fixture('vae', name), join(folder, name))
      const results = []
      for (const threads of [1, 2, 3]) {
        await using one = await VAE.fromPretrained(folder, { device: 'cpu', threads })
        const latents = await one.encode(pictures(17, 24, 16))
        results.push([bits(latents).toString('base64'), bits(await one.decode(latents)).toString('base64')])
      }
      expect(results[1]).toEqual(results[0])
      expect(results[2]).toEqual(results[0])
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('decodePixels is decode, rounded to bytes', async () => {
    const latents = await vae.encode(pictures(21, 24, 16))
    const decoded = await vae.decode(latents, { numFrames: 21 })
    const [, T = 0, H = 0, W = 0] = decoded.shape
    const input = vae.engine.native.upload(latents.data, latents.shape)
    let frame = 0
    for (const [begin, end] of [[0, 5], [5, 6]] as const) {
      const { data, shape } = await vae.native.decodePixels(input, { begin, end, numFrames: 21 }).read()
      expect(shape).toEqual([begin === 0 ? 17 : 4, H, W, 3])
      let largest = 0
      for (let i = 0; i < data.length; i++) {
        const value = decoded.data[((i % 3) * T + frame) * H * W + Math.floor(i / 3)]! // frames follow one another in both
        largest = Math.max(largest, Math.abs(data[i]! - ((Math.min(1, Math.max(-1, value)) + 1) / 2) * 255))
      }
      expect(largest).toBeLessThanOrEqual(0.5 + 1e-4) // 1e-4: 255 times an fp32 rounding of values up to 1
      frame += shape[0]!
    }
    expect(frame).toBe(T)
    expect(() => vae.native.decodePixels(input, { begin: 0, end: 4, numFrames: 21 })).toThrow(/one micro-batch/)
  })
})

describe.each([
  // video frames → latent frames: model.md §1 and §7, opensora.md §3.1
  [16, 5, { 1: 2, 4: 2, 5: 3, 16: 5, 17: 7, 21: 8, 32: 10, 64: 20, 128: 40, 256: 80 }, { 2: 4, 5: 16, 7: 20, 10: 32 }],
  [17, 5, { 1: 1, 16: 4, 17: 5, 20: 6, 34: 10, 51: 15, 68: 20, 102: 30 }, { 1: 4, 4: 16, 5: 17, 6: 21 }]
])('%i ↔ %i', (micro, latent, encoded, decoded) => {
  let vae: VAE
  beforeAll(async () => {
    vae = await VAE.fromConfig({ ...tinyVAE, micro_frame_size: micro, micro_latent_size: latent }, { device: 'cpu', seed: 3 })
  })
  afterAll(() => vae.dispose())

  test('latent frames of a video, video frames of latents', async () => {
    for (const [count, latents] of Object.entries(encoded)) expect((await vae.encode(pictures(Number(count), 8, 8))).shape).toEqual([4, latents, 1, 1])
    for (const [count, video] of Object.entries(decoded)) {
      const latents = { data: new Float32Array(4 * Number(count)), shape: [4, Number(count), 1, 1] }
      expect((await vae.decode(latents)).shape).toEqual([3, video, 8, 8])
      await expect(vae.decode(latents, { numFrames: video + 1 })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    }
    const padding = { data: new Float32Array(4 * 6), shape: [4, 6, 1, 1] }
    if (micro === 16) await expect(vae.decode(padding)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })

  test('frames that 8 does not divide lose their right and lower edge', async () => {
    const latents = await vae.encode(pictures(2, 20, 29))
    expect(latents.shape.slice(2)).toEqual([2, 3])
    expect(latents.data.every(Number.isFinite)).toBe(true)
  })

  test('a micro-batch does not know its neighbours', async () => {
    const video = pictures(2 * micro, 16, 16)
    const first = await vae.encode(frames(video, 0, micro))
    const both = await vae.encode(video)
    expect(bits(frames(both, 0, latent)).equals(bits(first))).toBe(true)
    expect(bits(frames(both, latent, 2 * latent)).equals(bits(await vae.encode(frames(video, micro, 2 * micro))))).toBe(true)
    const whole = await vae.decode(both)
    expect(bits(frames(whole, 0, micro)).equals(bits(await vae.decode(first)))).toBe(true)
  })
})

describe('memory', () => {
  /** Peak bytes of `work` on an engine of its own, without the tensors that must grow with the video. */
  async function peak(work: (engine: NativeEngine, vae: NativeVae) => Promise<number>): Promise<number> {
    const engine = binding.createEngine({ device: 'cpu', threads: 2 })
    const vae = await engine.create('vae', tinyVAE, 1n)
    const grows = await work(engine, vae)
    const { peakBytes } = engine.stats()
    await engine.dispose()
    return peakBytes - grows
  }
  const pages = (elements: number): number => Math.ceil((4 * elements) / 4096) * 4096

  test.each(['encode', 'decode', 'decodePixels'] as const)('%s needs no more for 16 micro-batches than for 2', async (operation) => {
    const sizes = []
    for (const batches of [2, 16]) {
      const [latentFrames, numFrames] = [5 * batches, 16 * batches]
      sizes.push(
        await peak(async (engine, vae) => {
          const [latents, pixels] = [[4, latentFrames, 4, 4], [3, numFrames, 32, 32]]
          const sum = pages(4 * latentFrames * 16) + (operation === 'decodePixels' ? 0 : pages(3 * numFrames * 1024))
          if (operation === 'encode') await vae.encode(zeros(engine, pixels), {}).ready()
          if (operation === 'decode') await vae.decode(zeros(engine, latents), { numFrames }).ready()
          if (operation !== 'decodePixels') return sum
          const input = zeros(engine, latents)
          for (let batch = 0; batch < batches; batch++) {
            const bytes = vae.decodePixels(input, { begin: 5 * batch, end: 5 * batch + 5, numFrames })
            await bytes.ready()
            bytes.dispose()
          }
          return sum
        })
      )
    }
    expect(sizes[1]).toBe(sizes[0])
  })

  test('the dry run knows the bytes of a decoded micro-batch', async () => {
    const engine = binding.createEngine({ device: 'cpu', threads: 2 })
    const vae = await engine.create('vae', tinyVAE, 1n)
    const input = zeros(engine, [4, 5, 4, 4])
    await input.ready()
    const before = engine.stats().bytes
    await vae.decodePixels(input, { begin: 0, end: 5, numFrames: 16 }).ready()
    const used = engine.stats().peakBytes - before
    const planned = vae.memory({ height: 32, width: 32 })
    expect(planned).toBeGreaterThan(0)
    expect(Math.abs(used - planned)).toBeLessThanOrEqual(0.02 * planned + 16384) // the plan counts input and output too
    await engine.dispose()
  })
})

describe('gradients against finite differences', () => {
  test.each([
    ['spatial', 'spatial_vae.module.encoder.'],
    ['spatial', 'spatial_vae.module.quant_conv.'],
    ['spatial', 'spatial_vae.module.decoder.'],
    ['temporal', 'temporal_vae.encoder.'],
    ['temporal', 'temporal_vae.quant_conv.'],
    ['temporal', 'temporal_vae.post_quant_conv.'],
    ['temporal', 'temporal_vae.decoder.'],
    ['all', 'spatial_vae.module.encoder.'],
    ['all', 'temporal_vae.encoder.'],
    ['all', 'temporal_vae.quant_conv.'],
    ['all', 'temporal_vae.post_quant_conv.'],
    ['all', 'temporal_vae.decoder.'],
    ['all', 'spatial_vae.module.decoder.']
  ] as const)('stage %s, %s*', async (stage, prefix) => {
    const engine = binding.createEngine({ device: 'cpu', threads: 2 })
    const vae = await engine.create('vae', tinyVAE, 9n)
    const names = vae.weights().map(({ name }) => name).filter((name) => name.startsWith(prefix))
    const trainer = engine.createTrainer([vae], [names])
    const [T, size] = [6, 16]
    const video = pictures(T, size, size)
    const pixels = engine.upload(video.data, video.shape)
    const side = stage === 'temporal' ? size / 8 : size
    const weight = engine.upload(video.data.slice(0, T * side * side).map((value) => 1.5 + value), [T, side, side])
    const noise = engine.op('randn', { y: { shape: [4, stage === 'spatial' ? T : 3, 2, 2] }, seed_low: 1, seed_high: 0, stream: 0, frame_major: 1 })['y']!
    const parts = async (): Promise<number[]> => {
      const { data } = await trainer.backwardVae({ pixels, weight, noise, stage, l1: 0, mse: 1e-3, kl: 1e-2 }).read()
      return [...data]
    }
    const [reconstruction, kl] = await parts()
    expect(reconstruction).toBeGreaterThan(0)
    expect(kl).toBeGreaterThan(0)
    const { predicted, found } = await directional(engine, trainer, (name) => vae.weight(name), async () => (await parts()).reduce((a, b) => a + b))
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(5e-3 * predicted)
    await engine.dispose()
  })

  test("stage temporal compares what the temporal VAE gives back with the 2D latents, cell by cell", async () => {
    const engine = binding.createEngine({ device: 'cpu', threads: 2 })
    const vae = await engine.create('vae', tinyVAE, 9n)
    const trainer = engine.createTrainer([vae], [vae.weights().map(({ name }) => name).filter((name) => name.startsWith('temporal_vae.'))])
    const video = pictures(6, 16, 16)
    const pixels = engine.upload(video.data, video.shape)
    const noise = zeros(engine, [4, 3, 2, 2])
    const loss = async (weight?: Float32Array): Promise<number> => {
      const given = weight === undefined ? {} : { weight: engine.upload(weight, [6, 2, 2]) }
      return (await trainer.backwardVae({ pixels, noise, stage: 'temporal', l1: 0, mse: 1, kl: 0, ...given }).read()).data[0]!
    }
    const whole = await loss()
    // One cell of one frame at a time: the parts add up to the whole.
    let sum = 0
    for (let cell = 0; cell < 24; cell++) sum += await loss(new Float32Array(24).map((_, i) => (i === cell ? 1 : 0)))
    expect(sum).toBeCloseTo(whole, 4)
    expect(() => trainer.backwardVae({ pixels, noise, stage: 'temporal', l1: 0, mse: 1, kl: 0, weight: engine.upload(new Float32Array(6 * 256), [6, 16, 16]) })).toThrow(/\[6, 2, 2\]/)
    // A decoder whose last convolution is all zeros gives 0 back, so that the loss is the sum of squares of the target, and a bias b of it Σ (x − b)².
    const biasTo = (value: number) => engine.op('fill', { y: vae.weight('temporal_vae.decoder.conv_out.conv.bias'), value })
    engine.op('fill', { y: vae.weight('temporal_vae.decoder.conv_out.conv.weight'), value: 0 })
    biasTo(0)
    const squares = await loss()
    biasTo(1)
    const above = await loss()
    biasTo(-1)
    const below = await loss()
    // Σ (x − 1)² + Σ (x + 1)² = 2 Σ x² + 2 · 96.
    expect(above + below).toBeCloseTo(2 * squares + 2 * 96, 3)
    expect(squares).toBeGreaterThan(0)
    expect(Math.abs(above - below)).toBeGreaterThan(1e-3)
    await engine.dispose()
  })

  test.each(['temporal_vae.post_quant_conv.', 'temporal_vae.decoder.', 'spatial_vae.module.post_quant_conv.', 'spatial_vae.module.decoder.'])('stage decoder, %s*', async (prefix) => {
    const engine = binding.createEngine({ device: 'cpu', threads: 2 })
    const vae = await engine.create('vae', tinyVAE, 9n)
    const trainer = engine.createTrainer([vae], [vae.weights().map(({ name }) => name).filter((name) => name.startsWith(prefix))])
    const video = pictures(6, 16, 16)
    const pixels = engine.upload(video.data, video.shape)
    const weight = engine.upload(video.data.slice(0, 6 * 256).map((value) => 1.5 + value), [6, 16, 16])
    const latents = engine.op('randn', { y: { shape: [4, 3, 2, 2] }, seed_low: 1, seed_high: 0, stream: 0, frame_major: 1 })['y']!
    const loss = async (): Promise<number> => (await trainer.backwardVae({ stage: 'decoder', pixels, weight, latents, l1: 0, mse: 1e-3, kl: 0 }).read()).data[0]!
    const { predicted, found } = await directional(engine, trainer, (name) => vae.weight(name), loss)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(5e-3 * predicted)
    await engine.dispose()
  })

  test('stage decoder compares what decode gives, pixel by pixel', async () => {
    const engine = binding.createEngine({ device: 'cpu', threads: 2 })
    const vae = await engine.create('vae', { ...tinyVAE, shift: [0.3, -0.2, 0.1, 0], scale: [2, 0.5, 1, 3] }, 9n)
    const trainer = engine.createTrainer([vae], [['spatial_vae.module.decoder.conv_out.bias']])
    // 12 frames of 128 × 128 are decoded in several groups.
    const video = pictures(12, 128, 128)
    const pixels = engine.upload(video.data, video.shape)
    const latents = engine.op('randn', { y: { shape: [4, 4, 16, 16] }, seed_low: 1, seed_high: 0, stream: 0, frame_major: 1 })['y']!
    const decoded = (await vae.decode(latents, { numFrames: 12 }).read()).data
    const plane = 128 * 128
    const weights = Float32Array.from({ length: 12 * plane }, (_, at) => (at % 7) / 3)
    const expected = { l1: 0, mse: 0, weighted: 0 }
    decoded.forEach((value, at) => {
      const difference = value - video.data[at]!
      expected.l1 += Math.abs(difference)
      expected.mse += difference ** 2
      expected.weighted += weights[at % (12 * plane)]! * difference ** 2
    })
    const loss = async (factors: { l1: number; mse: number }, weight?: NativeTensor) =>
      [...(await trainer.backwardVae({ stage: 'decoder', pixels, latents, kl: 0, ...factors, ...(weight === undefined ? {} : { weight }) }).read()).data]
    for (const [factors, weight, sum] of [
      [{ l1: 1, mse: 0 }, undefined, expected.l1],
      [{ l1: 0, mse: 1 }, undefined, expected.mse],
      [{ l1: 0, mse: 1 }, engine.upload(weights, [12, 128, 128]), expected.weighted]
    ] as const) {
      const [reconstruction, kl] = await loss(factors, weight)
      expect(Math.abs(reconstruction! - sum)).toBeLessThan(1e-5 * sum)
      expect(kl).toBe(0)
    }
    const wrong = engine.op('randn', { y: { shape: [4, 3, 16, 16] }, seed_low: 1, seed_high: 0, stream: 0, frame_major: 1 })['y']!
    expect(() => trainer.backwardVae({ stage: 'decoder', pixels, latents: wrong, l1: 1, mse: 0, kl: 0 })).toThrow(/latents of shape \[4, 4, 16, 16\]/)
    await engine.dispose()
  })

  test('the factors scale their part of the loss, and weight counts pixels', async () => {
    const engine = binding.createEngine({ device: 'cpu', threads: 2 })
    const vae = await engine.create('vae', tinyVAE, 9n)
    const trainer = engine.createTrainer([vae], [['spatial_vae.module.decoder.conv_out.bias']])
    const video = pictures(1, 16, 16)
    const pixels = engine.upload(video.data, video.shape)
    const noise = zeros(engine, [4, 1, 2, 2])
    const loss = async (factors: { l1: number; mse: number; kl: number }, weight?: number): Promise<number[]> => {
      const given = weight === undefined ? {} : { weight: engine.upload(new Float32Array(256).fill(weight), [1, 16, 16]) }
      return [...(await trainer.backwardVae({ pixels, noise, stage: 'spatial', ...factors, ...given }).read()).data]
    }
    const [l1] = await loss({ l1: 1, mse: 0, kl: 0 })
    const [mse, none] = await loss({ l1: 0, mse: 1, kl: 0 })
    const [both, kl] = await loss({ l1: 2, mse: 3, kl: 4 })
    expect(none).toBe(0)
    expect(both).toBeCloseTo(2 * l1! + 3 * mse!, 4)
    expect((await loss({ l1: 0, mse: 0, kl: 1 }))[1]! * 4).toBeCloseTo(kl!, 6)
    expect((await loss({ l1: 1, mse: 0, kl: 0 }, 6))[0]).toBeCloseTo(6 * l1!, 4)
    await engine.dispose()
  })
})
