// Plans of memory are kept per shape of a request: a run makes one dry run, and everything that decides which ops run has a plan of its own.
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import type { BackwardRequest, EvaluationRequest, NativeEngine, NativeTensor, NativeTransformer } from '../../lib/native/binding.js'
import { openCpuEngine } from '../../lib/native/engine.js'
import { loadBinding } from '../../lib/native/load.js'
import { fixture, named, readTensors } from '../support/fixtures.js'
import { stirredTransformer, tinyTextEncoder, tinyTransformer, tinyVAE } from '../support/models.js'

test('a run makes one dry run, whatever its steps; another shape makes one more', async () => {
  const io = readTensors('vin-hybrid', 'io.safetensors')
  await using pipeline = await VideoPipeline.fromPretrained(fixture('vin-hybrid'), { device: 'cpu', threads: 1 })
  const engine = openCpuEngine({ threads: 1 })
  const planned = async (options: object): Promise<{ dryRuns: number; latents: Float32Array }> => {
    const before = engine.native.stats().dryRuns
    const { latents } = await pipeline.generate({ promptEmbeds: named(io, 'prompt_embeds'), height: 64, width: 64, seed: 5, outputType: 'latents', ...options })
    return { dryRuns: engine.native.stats().dryRuns - before, latents: latents.data }
  }
  const first = await planned({ numFrames: 64, numInferenceSteps: 4, fusion: 'none' })
  expect(first.dryRuns).toBe(1)
  expect(await planned({ numFrames: 64, numInferenceSteps: 4, fusion: 'none' })).toEqual({ dryRuns: 0, latents: first.latents })
  expect(await planned({ numFrames: 64, numInferenceSteps: 2, fusion: 'none' })).toMatchObject({ dryRuns: 0 })
  expect(await planned({ numFrames: 80, numInferenceSteps: 2, fusion: 'none' })).toMatchObject({ dryRuns: 1 })
  await engine.release()
})

const { in_channels: C, caption_channels: D } = tinyTransformer
const values = (length: number, seed: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(seed + i * 0.7))
const chunks = [{ first: 0, start: 0, end: 4 }, { first: 2, start: 4, end: 8 }]

interface Setup { engine: NativeEngine; transformer: NativeTransformer; base: EvaluationRequest }
async function setup(): Promise<Setup> {
  const engine = loadBinding().createEngine({ device: 'cpu', threads: 2 })
  const base = {
    latents: engine.upload(values(C * 8 * 16, 1), [C, 8, 4, 4]), timestep: 500, text: engine.upload(values(9 * D, 2), [9, D]), guidanceScale: 2, fps: 16, height: 32, width: 32,
    chunks, keyframes: [0, 4], fuse: true
  }
  return { engine, transformer: await stirredTransformer(engine, tinyTransformer, 1n), base }
}
const read = async (tensor: NativeTensor) => (await tensor.read()).data

// What differs from the request before it in something that the dry run depends on.
const variants: [string, (setup: Setup) => Partial<EvaluationRequest>][] = [
  ['the request itself', () => ({})],
  ['a frame mask', () => ({ frameMask: [0, 1, 1, 1, 1, 1, 1, 1] })],
  ['a mask that leaves out a chunk', () => ({ frameMask: [0, 0, 0, 0, 1, 1, 1, 1] })],
  ['other chunks', () => ({ chunks: [{ first: 0, start: 0, end: 8 }] })],
  ['no global tokens', () => ({ keyframes: undefined })],
  ['other keyframes', () => ({ keyframes: [0, 3, 6] })],
  ['a second branch', ({ engine }) => ({ negativeText: engine.upload(values(3 * D, 3), [3, D]) })],
  ['fewer rows of text', ({ engine }) => ({ text: engine.upload(values(5 * D, 2), [5, D]) })],
  ['texts of chunks', () => ({ chunkText: [{ begin: 0, end: 6 }, { begin: 1, end: 9 }], vinTextRows: 9 })],
  ['one chunk at a time', () => ({ chunksInFlight: 1 })],
  ['other latents for the VIN', ({ engine }) => ({ globalTokensFrom: engine.upload(values(C * 8 * 16, 4), [C, 8, 4, 4]) })],
  ['latents that are a view', ({ engine }) => ({ latents: engine.slice(engine.upload(values(C * 12 * 16, 5), [C, 12, 4, 4]), 1, 2, 10) })],
  ['a small picture', ({ engine }) => ({ latents: engine.upload(values(C * 8 * 6, 6), [C, 8, 2, 3]) })]
]

test('every shape has a plan of its own, eight are kept, and no bit depends on them', async () => {
  const kept = await setup()
  for (const [name, change] of variants) {
    const before = kept.engine.stats().dryRuns
    const request = { ...kept.base, ...change(kept) }
    const one = await read(kept.transformer.denoise(request))
    expect(kept.engine.stats().dryRuns - before, name).toBe(1)
    // Another timestep and scale are the same shape.
    await read(kept.transformer.denoise({ ...request, timestep: 20, guidanceScale: 3 }))
    const again = await read(kept.transformer.denoise(request))
    expect(kept.engine.stats().dryRuns - before, name).toBe(1)
    const fresh = await setup()
    expect(again, name).toEqual(one)
    expect(await read(fresh.transformer.denoise({ ...fresh.base, ...change(fresh) })), name).toEqual(one)
    await fresh.engine.dispose()
  }
  // The last eight are there; the first has made way.
  const before = kept.engine.stats().dryRuns
  for (const [, change] of variants.slice(-8)) await read(kept.transformer.denoise({ ...kept.base, ...change(kept) }))
  expect(kept.engine.stats().dryRuns - before).toBe(0)
  await read(kept.transformer.denoise(kept.base))
  expect(kept.engine.stats().dryRuns - before).toBe(1)
  await kept.engine.dispose()
})

test('a model of the same shapes has plans of its own', async () => {
  const { engine, transformer, base } = await setup()
  const one = await read(transformer.denoise(base))
  transformer.dispose()
  const other = await stirredTransformer(engine, { ...tinyTransformer, mlp_ratio: 2 }, 1n)
  const before = engine.stats().dryRuns
  expect(await read(other.denoise(base))).not.toEqual(one)
  expect(engine.stats().dryRuns - before).toBe(1)
  await engine.dispose()
})

describe('training', () => {
  interface Step { videos: Partial<BackwardRequest>[]; gradientCheckpointing?: boolean }
  const text = (length: number) => ({ engine }: { engine: NativeEngine }) => ({ text: engine.upload(values(length * D, 2), [length, D]) })
  const withText = text(9)
  async function trained() {
    const { engine, transformer, base } = await setup()
    const encoder = await engine.create('t5', tinyTextEncoder, 4n)
    const trainer = engine.createTrainer([transformer, encoder], [transformer.weights(), encoder.weights()].map((list) => list.map(({ name }) => name)))
    const { text: _text, ...evaluation } = base
    const video = { ...evaluation, guidanceScale: 1, fuse: false, target: engine.upload(values(C * 8 * 16, 9), [C, 8, 4, 4]), contextLossWeight: 1, lossScale: 0.5 }
    const gradients = async ({ videos, gradientCheckpointing = false }: Step): Promise<string[]> => {
      trainer.zeroGradients()
      const losses = await trainer.backward(videos.map((change) => ({ ...video, ...change }) as BackwardRequest), { gradientCheckpointing }).read()
      const found = await Promise.all(trainer.names().map(async (name) => (await trainer.gradient(name).read()).data))
      return [losses.data, ...found].map((data) => createHash('sha256').update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest('hex'))
    }
    return { engine, gradients }
  }
  type Trained = Awaited<ReturnType<typeof trained>>

  // What differs from the step before it in something that the dry run depends on.
  const steps: [string, (setup: Trained) => Step][] = [
    ['a video', (one) => ({ videos: [withText(one)] })],
    ['recomputation', (one) => ({ videos: [withText(one)], gradientCheckpointing: true })],
    ['two videos, which are one batch', (one) => ({ videos: [withText(one), withText(one)] })],
    ['two videos, which are two', (one) => ({ videos: [withText(one), text(5)(one)] })],
    ['two of the same latents, which pixels make two', (one) => ({ videos: [withText(one), { ...withText(one), height: 31 }] })],
    ['no text', () => ({ videos: [{ nullText: 9 }] })],
    ['ids', () => ({ videos: [{ ids: [3, 4, 1] }] })],
    ['more ids', () => ({ videos: [{ ids: [3, 4, 5, 1] }] })],
    ['a frame mask', (one) => ({ videos: [{ ...withText(one), frameMask: [0, 1, 1, 1, 1, 1, 1, 1] }] })],
    ['a mask that leaves out a chunk', (one) => ({ videos: [{ ...withText(one), frameMask: [0, 0, 0, 0, 1, 1, 1, 1] }] })],
    ['no global tokens', (one) => ({ videos: [{ ...withText(one), keyframes: undefined }] })]
  ]

  test('every shape of a step has a plan of its own, and no bit depends on it', async () => {
    const kept = await trained()
    for (const [name, step] of steps) {
      const before = kept.engine.stats().dryRuns
      const one = await kept.gradients(step(kept))
      expect(kept.engine.stats().dryRuns - before, name).toBe(1)
      const { videos, ...rest } = step(kept)
      // Another timestep and share are the same shape.
      await kept.gradients({ ...rest, videos: videos.map((video) => ({ ...video, timestep: 20, lossScale: 1 })) })
      expect(await kept.gradients(step(kept)), name).toEqual(one)
      expect(kept.engine.stats().dryRuns - before, name).toBe(1)
      const fresh = await trained()
      expect(await fresh.gradients(step(fresh)), name).toEqual(one)
      await fresh.engine.dispose()
    }
    await kept.engine.dispose()
  })

  test('so has every stage of the VAE', async () => {
    const { engine } = await setup()
    const vae = await engine.create('vae', tinyVAE, 9n)
    const trainer = engine.createTrainer([vae], [vae.weights().map(({ name }) => name).filter((name) => name !== 'scale' && name !== 'shift')])
    const randn = (shape: number[]) => engine.op('randn', { y: { shape }, seed_low: 1, seed_high: 0, stream: 0, frame_major: 1 })['y']!
    const pixels = randn([3, 6, 16, 16]), noise = randn([4, 3, 2, 2]), weight = engine.upload(values(6 * 256, 1), [6, 16, 16])
    const requests: Parameters<typeof trainer.backwardVae>[0][] = [
      { pixels, noise, stage: 'all', l1: 1, mse: 1, kl: 1 },
      { pixels, noise, weight, stage: 'all', l1: 1, mse: 1, kl: 1 },
      { pixels, noise: randn([4, 6, 2, 2]), stage: 'spatial', l1: 1, mse: 1, kl: 1 },
      { pixels, noise, stage: 'temporal', l1: 1, mse: 1, kl: 1 },
      { pixels, latents: noise, stage: 'decoder', l1: 1, mse: 1, kl: 0 }
    ]
    for (const request of requests) {
      const before = engine.stats().dryRuns
      const one = await read(trainer.backwardVae(request))
      expect(await read(trainer.backwardVae(request))).toEqual(one)
      expect(engine.stats().dryRuns - before).toBe(1)
    }
    await engine.dispose()
  })
})
