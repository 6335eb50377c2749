// Weights with which the overlaps of neighbouring chunks are blended.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FlowMatchEulerDiscreteScheduler, randn, Trainer, VideoPipeline } from '../../lib/index.js'
import type { FusionWeights, GenerateOptions, TensorData } from '../../lib/index.js'
import type { Device } from '../../lib/native/backends.js'
import { devices } from '../support/devices.js'
import { bits, compare } from '../support/fixtures.js'
import { tinyPipeline, tinyTransformer } from '../support/models.js'

let pipeline: VideoPipeline
let promptEmbeds: TensorData
let latents: TensorData
beforeAll(async () => {
  promptEmbeds = await randn({ seed: 4, shape: [5, 32] })
  latents = await randn({ seed: 3, shape: [4, 25, 4, 4] })
})
const open = (device: Device): void => {
  beforeAll(async () => {
    pipeline = await tinyPipeline({ device })
  })
  afterAll(() => pipeline.dispose())
}

const run = async (extra: GenerateOptions): Promise<TensorData> => (await pipeline.generate({ numFrames: 64, seed: 3, outputType: 'latents', promptEmbeds, ...extra })).latents

/** What each of the four channels has learned, at 1/8 … 7/8. */
const offsets = Array.from({ length: 4 }, (_, c) => Array.from({ length: 7 }, (_2, j) => 0.05 * (c + 1) * Math.sin(3 * j + c)))
/** The straight line between the two nearest places; 0 at both ends. */
const learned = (u: number, c: number): number => {
  const places = [0, ...offsets[c]!, 0, 0]
  const below = Math.floor(8 * u)
  return places[below]! + (8 * u - below) * (places[below + 1]! - places[below]!)
}

/** Shares of the later chunk. */
const shares: Record<FusionWeights, (k: number, F: number, c: number) => number> = {
  linear: (k, F) => k / F,
  'raised-cosine': (k, F) => (1 - Math.cos((Math.PI * k) / F)) / 2,
  learned: (k, F, c) => k / F + learned(k / F, c)
}

test('raised cosine: four frames between 1 and 3', () => {
  expect([0, 1, 2, 3].map((k) => Number((1 + 2 * shares['raised-cosine'](k, 4, 0)).toFixed(6)))).toEqual([1, 1.292893, 2, 2.707107])
})

describe.each(devices)('on %s', (device) => {
  open(device)

  test.each(['linear', 'raised-cosine', 'learned'] as const)('%s: each overlap is the two predictions by their shares', async (fusionWeights) => {
    const engine = pipeline.transformer.engine.native
    const model = await engine.create('transformer', { ...tinyTransformer, fusion: true }, 3n)
    for (const { name } of model.weights()) engine.op('copy', { y: model.weight(name), x: name === 'fusion.offsets' ? engine.upload(Float32Array.from(offsets.flat()), [4, 7]) : pipeline.transformer.native.weight(name) })
    const upload = ({ data, shape }: TensorData) => engine.upload(data, shape)
    // Overlaps of different lengths.
    const chunks = [{ first: 0, start: 0, end: 10 }, { first: 6, start: 10, end: 18 }, { first: 11, start: 18, end: 25 }]
    const traced = model.trace({ latents: upload(latents), text: upload(promptEmbeds), timestep: 500, fps: 16, height: 32, width: 32, chunks, fusionWeights })
    const eps = (await traced.output.read()).data as Float32Array
    const predictions = await Promise.all(traced.chunks!.map(async (chunk) => (await chunk.read()).data))
    const largest = eps.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    for (const [i, { first, start }] of chunks.entries()) {
      if (i === 0) continue
      const [F, before] = [start - first, chunks[i - 1]!]
      for (let c = 0; c < 4; c++) {
        for (let k = 0; k < F; k++) {
          const w = shares[fusionWeights](k, F, c)
          for (let at = 0; at < 16; at++) {
            const a = predictions[i - 1]![(c * (before.end - before.first) + first - before.first + k) * 16 + at]!
            const b = predictions[i]![(c * (chunks[i]!.end - first) + k) * 16 + at]!
            const value = eps[(c * 25 + first + k) * 16 + at]!
            // Three roundings of fp32.
            expect(Math.abs(value - ((1 - w) * a + w * b))).toBeLessThanOrEqual(2 ** -22 * largest)
            if (k === 0) expect(value).toBe(a)
          }
        }
      }
    }
    model.dispose()
  })

  test('weights are those of every step that blends: the loop written out', async () => {
    const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
    scheduler.setTimesteps(4)
    let current = await randn({ seed: 3, shape: [4, 20, 4, 4] })
    for (const [step, timestep] of scheduler.timesteps.entries()) {
      const eps = await pipeline.denoise({ latents: current, timestep, promptEmbeds, guidanceScale: 2, fuse: (4 - step) / 4 > 0.4, fusionWeights: 'raised-cosine' })
      current = await scheduler.step(eps, timestep, current)
    }
    const own = await run({ fusion: { weights: 'raised-cosine' }, numInferenceSteps: 4, guidanceScale: 2 })
    expect(bits(own)).toEqual(bits(current))
    expect(compare(own, await run({ numInferenceSteps: 4, guidanceScale: 2 })).difference).toBeGreaterThan(1e-4)
  })

  test.runIf(device === 'cpu')('linear ones are the default, one chunk has none, and without blending they are not asked', async () => {
    const other = { weights: 'raised-cosine' } satisfies { weights: FusionWeights }
    expect(bits(await run({ fusion: { weights: 'linear' } }))).toEqual(bits(await run({})))
    expect(bits(await run({ fusion: { ...other, from: 0, until: 0 } }))).toEqual(bits(await run({ fusion: 'none' })))
    expect(bits(await run({ fusion: other, numFrames: 32 }))).toEqual(bits(await run({ numFrames: 32 })))
    for (const method of ['autoregressive', 'full'] as const) expect(bits(await run({ fusion: other, method }))).toEqual(bits(await run({ method })))
    expect(bits(await run({ fusion: other, method: 'independent', chunksInFlight: 1 }))).toEqual(bits(await run({ fusion: other, method: 'independent', chunksInFlight: 3 })))
  })
})

describe.each(devices)('learned weights on %s', (device) => {
  open(device)
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vin-fusion-'))
    await pipeline.save(join(folder, 'plain'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('untrained ones are the linear ones, bit for bit, and a folder keeps them', async () => {
    const request = { numFrames: 64, seed: 3, outputType: 'latents', promptEmbeds } satisfies GenerateOptions
    await using fresh = await VideoPipeline.fromPretrained(join(folder, 'plain'), { device, addParts: ['fusion'] })
    expect(fresh.transformer.config.fusion).toBe(true)
    const linear = (await fresh.generate(request)).latents
    expect(bits(linear)).toEqual(bits(await run({})))
    expect(bits((await fresh.generate({ ...request, fusion: { weights: 'learned' } })).latents)).toEqual(bits(linear))
    const engine = fresh.transformer.engine.native
    engine.op('copy', { y: fresh.transformer.native.weight('fusion.offsets'), x: engine.upload(Float32Array.from(offsets.flat()), [4, 7]) })
    const own = (await fresh.generate({ ...request, fusion: { weights: 'learned' } })).latents
    expect(compare(own, linear).difference).toBeGreaterThan(1e-4)
    await fresh.save(join(folder, 'trained'))
    await using again = await VideoPipeline.fromPretrained(join(folder, 'trained'), { device })
    expect(bits((await again.generate({ ...request, fusion: { weights: 'learned' } })).latents)).toEqual(bits(own))
    expect(bits((await again.generate(request)).latents)).toEqual(bits(linear))
  })

  test.runIf(device === 'cpu')('a checkpoint without them says how to get them', async () => {
    const missing = { code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'fusion' } }
    const options = { fusion: { weights: 'learned' }, outputType: 'latents' } satisfies GenerateOptions
    expect(() => pipeline.plan(options)).toThrow(expect.objectContaining(missing))
    await expect(pipeline.generate(options)).rejects.toMatchObject({ ...missing, message: expect.stringMatching(/^Expected the weights fusion\.\* for fusion\.weights 'learned' but .*addParts: \['fusion'\].*trainable: 'fusion'/) as string })
    await expect(pipeline.denoise({ latents, timestep: 500, promptEmbeds, fusionWeights: 'learned' })).rejects.toMatchObject(missing)
    expect(() => new Trainer(pipeline, { trainable: 'fusion' })).toThrow(expect.objectContaining(missing))
  })
})
