// Global tokens that go on from those of the step before (RIN's latent self-conditioning, methods.md §6).
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FlowMatchEulerDiscreteScheduler, randn, VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, TensorData } from '../../lib/index.js'
import type { NativeTensor } from '../../lib/native/binding.js'
import type { Device } from '../../lib/native/backends.js'
import { devices, onDevices, openEngine } from '../support/devices.js'
import { bits, compare, layouts } from '../support/fixtures.js'
import { stirredTransformer, tinyPipeline, tinyTransformer } from '../support/models.js'

let fresh: VideoPipeline
let pipeline: VideoPipeline
let promptEmbeds: TensorData

/** γ and β, which begin as 0, so that the memory counts. */
async function teach({ transformer }: VideoPipeline): Promise<void> {
  const engine = transformer.engine.native
  for (const [seed, name] of ['vin.memory.norm.weight', 'vin.memory.norm.bias'].entries()) {
    const { data, shape } = await randn({ seed, shape: [48] })
    engine.op('copy', { y: transformer.native.weight(name), x: engine.upload(data, shape) })
  }
}

beforeAll(async () => {
  promptEmbeds = await randn({ seed: 4, shape: [5, 32] })
})
const open = (device: Device): void => {
  beforeAll(async () => {
    fresh = await tinyPipeline({ addParts: ['memory'], device })
    pipeline = await tinyPipeline({ addParts: ['memory'], device })
    await teach(pipeline)
  })
  afterAll(() => Promise.all([fresh.dispose(), pipeline.dispose()]))
}

const run = async (own: VideoPipeline, extra: GenerateOptions): Promise<TensorData> => (await own.generate({ numFrames: 64, seed: 3, outputType: 'latents', promptEmbeds, ...extra })).latents

describe('one evaluation', () => {
  open('cpu')
  const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
  const normalised = (row: number[]): number[] => {
    const mean = row.reduce((a, b) => a + b, 0) / row.length
    const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / row.length
    return row.map((x) => (x - mean) / Math.sqrt(variance + 1e-6))
  }

  test.each(onDevices(layouts))('layout %s on %s: learned tokens + γ LN(M) + β, M = memory + MLP(LN(memory))', async (layout, device) => {
    const engine = openEngine(device)
    const [G, d] = [8, 48]
    const config = { ...tinyTransformer, attention_layout: layout, vin: { ...tinyTransformer.vin, memory: true } }
    const model = await stirredTransformer(engine, config, 3n)
    const rowsOf = async (name: string): Promise<number[][]> => {
      const { data, shape } = await model.weight(name).read()
      const width = shape.at(-1)!
      return Array.from({ length: data.length / width }, (_, r) => Array.from(data.subarray(r * width, (r + 1) * width) as Float32Array))
    }
    for (const [seed, name] of ['vin.memory.norm.weight', 'vin.memory.norm.bias', 'vin.memory.fc1.bias', 'vin.memory.fc2.bias'].entries()) {
      const { shape } = await model.weight(name).read()
      engine.op('copy', { y: model.weight(name), x: engine.upload((await randn({ seed, shape })).data, shape) })
    }
    const [latents, text, memory] = [await randn({ seed: 1, shape: [4, 20, 4, 4] }), promptEmbeds, await randn({ seed: 2, shape: [1, G, d] })]
    const upload = ({ data, shape }: TensorData): NativeTensor => engine.upload(data, shape)
    const request = { latents: upload(latents), text: upload(text), timestep: 500, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 10 }, { first: 6, start: 10, end: 20 }], keyframes: [0, 5, 10, 15] }
    const kept = upload(memory)
    const remembering = model.trace({ ...request, memory: kept, readsMemory: true })
    const actual = { data: (await remembering.output.read()).data as Float32Array, shape: latents.shape }
    // What is written is what the VIN has made of it.
    expect((await kept.read()).data).toEqual((await remembering.global_tokens!.read()).data)

    const [fc1, fc2, b1, b2, gamma, beta, tokens] = await Promise.all(['fc1.weight', 'fc2.weight', 'fc1.bias', 'fc2.bias', 'norm.weight', 'norm.bias'].map((name) => rowsOf(`vin.memory.${name}`)).concat(rowsOf('vin.global_tokens')))
    const plus = Array.from({ length: G }, (_, g) => {
      const before = Array.from(memory.data.subarray(g * d, (g + 1) * d))
      const hidden = fc1!.map((row, o) => gelu(normalised(before).reduce((sum, x, i) => sum + row[i]! * x, b1![0]![o]!)))
      const M = fc2!.map((row, o) => hidden.reduce((sum, x, i) => sum + row[i]! * x, b2![0]![o]! + before[o]!))
      return normalised(M).map((x, i) => tokens![g]![i]! + gamma![0]![i]! * x + beta![0]![i]!)
    })
    // The same model whose learned tokens are these.
    const plain = await stirredTransformer(engine, { ...config, vin: tinyTransformer.vin }, 3n)
    engine.op('copy', { y: plain.weight('vin.global_tokens'), x: engine.upload(Float32Array.from(plus.flat()), [G, d]) })
    const wanted = { data: (await plain.denoise(request).read()).data as Float32Array, shape: latents.shape }
    const largest = wanted.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    // Rounding of fp32, through the blocks of VIN and DiT.
    expect(compare(actual, wanted).difference).toBeLessThan(2 ** -18 * largest)
    const without = { data: (await model.denoise(request).read()).data as Float32Array, shape: latents.shape }
    expect(compare(actual, without).difference).toBeGreaterThan(1e-3)
    // Without one before it, a memory is written alone.
    const first = upload(memory)
    expect((await model.denoise({ ...request, memory: first }).read()).data).toEqual(without.data)
    expect((await first.read()).data).toEqual((await model.trace(request).global_tokens!.read()).data)
    for (const each of [model, plain]) each.dispose()
  })

  test('what does not fit is refused', async () => {
    const { native, engine } = pipeline.transformer
    const upload = ({ data, shape }: TensorData): NativeTensor => engine.native.upload(data, shape)
    const request = { latents: upload(await randn({ seed: 1, shape: [4, 10, 4, 4] })), text: upload(promptEmbeds), timestep: 500, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 10 }], memory: upload(await randn({ seed: 1, shape: [1, 8, 48] })) }
    expect(() => native.denoise(request)).toThrow(/keyframes/)
    expect(() => native.denoise({ ...request, keyframes: [0], memory: upload(promptEmbeds) })).toThrow(/memory of shape \[1, 8, 48\]/)
    expect(() => native.denoise({ ...request, keyframes: [0], negativeText: request.text, guidanceScale: 2 })).toThrow(/memory of shape \[2, 8, 48\]/)
  })
})

describe.each(devices)('a run on %s', (device) => {
  open(device)

  test('untrained, it is the run without, bit for bit', async () => {
    const plain = bits(await run(fresh, {}))
    expect(bits(await run(fresh, { globalTokenMemory: true }))).toEqual(plain)
    await using bare = await tinyPipeline({ device })
    expect(bits(await run(bare, {}))).toEqual(plain)
    expect(bits(await run(pipeline, {}))).toEqual(plain)
    expect(compare(await run(pipeline, { globalTokenMemory: true }), await run(pipeline, {})).difference).toBeGreaterThan(1e-4)
  })

  test.each([[2, 2], [1, 1], [0, 1]])('with guidance %i it is the loop written out: each of %i branches has a memory of its own', async (guidanceScale, branches) => {
    const { native, engine: { native: engine } } = pipeline.transformer
    const upload = ({ data, shape }: TensorData): NativeTensor => engine.upload(data, shape)
    const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
    scheduler.setTimesteps(4)
    const empty = engine.slice(native.weight('y_embedder.y_embedding'), 0, 0, 5)
    const text = upload(promptEmbeds)
    let latents = await randn({ seed: 3, shape: [4, 20, 4, 4] })
    const memories = Array.from({ length: branches }, () => engine.upload(new Float32Array(8 * 48), [1, 8, 48]))
    for (const [step, timestep] of scheduler.timesteps.entries()) {
      const request = { latents: upload(latents), timestep, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 10 }, { first: 6, start: 10, end: 20 }], keyframes: [0, 5, 10, 15], fuse: (4 - step) / 4 > 0.4, readsMemory: step > 0 }
      const parts = await Promise.all((guidanceScale === 2 ? [text, empty] : [guidanceScale === 1 ? text : empty]).map(async (own, branch) => ({ data: (await native.denoise({ ...request, text: own, memory: memories[branch]! }).read()).data as Float32Array, shape: latents.shape })))
      const eps = parts.length === 1 ? parts[0]! : { data: parts[0]!.data.map((c, i) => 2 * c - parts[1]!.data[i]!), shape: latents.shape }
      latents = await scheduler.step(eps, timestep, latents)
    }
    expect(bits(await run(pipeline, { globalTokenMemory: true, guidanceScale }))).toEqual(bits(latents))
  })

  test('it goes with chunks in flight, with a lag, and with a step cache', async () => {
    const numFrames = device === 'cpu' ? 96 : 64
    const own = { globalTokenMemory: true, numFrames } as const
    const wanted = bits(await run(pipeline, own))
    expect(bits(await run(pipeline, { ...own, chunksInFlight: 1 }))).toEqual(wanted)
    expect(bits(await run(pipeline, { ...own, stepCache: 0 }))).toEqual(wanted)
    expect(bits(await run(pipeline, { ...own, stagger: 2 }))).not.toEqual(bits(await run(pipeline, { numFrames, stagger: 2 })))
    expect((await run(pipeline, { ...own, stepCache: 100 })).data.every(Number.isFinite)).toBe(true)
  })

  test.each([{}, { stepCache: 0.5, numInferenceSteps: 8 }, { stagger: 2 }] as GenerateOptions[])('stopped and gone on, it ends in the same bits: %j', async (extra) => {
    const options = { ...extra, globalTokenMemory: true }
    const wanted = bits(await run(pipeline, options))
    const folder = await mkdtemp(join(tmpdir(), 'vin-memory-'))
    const controller = new AbortController()
    await expect(run(pipeline, { ...options, resume: folder, signal: controller.signal, onStep: ({ step }) => (step === 1 ? controller.abort(new Error('stopped')) : undefined) })).rejects.toThrow('stopped')
    expect(bits(await run(pipeline, { ...options, resume: folder }))).toEqual(wanted)
    await rm(folder, { recursive: true })
  })

  test.runIf(device === 'cpu')('a folder keeps it, and addParts adds it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vin-memory-'))
    const wanted = bits(await run(pipeline, { globalTokenMemory: true }))
    await pipeline.save(join(folder, 'taught'))
    await using opened = await VideoPipeline.fromPretrained(join(folder, 'taught'), { device })
    expect(opened.transformer.config.vin?.memory).toBe(true)
    expect(bits(await run(opened, { globalTokenMemory: true }))).toEqual(wanted)
    await using bare = await tinyPipeline()
    await bare.save(join(folder, 'bare'))
    await using added = await VideoPipeline.fromPretrained(join(folder, 'bare'), { device: 'cpu', addParts: ['memory'] })
    await teach(added)
    expect((await run(added, { globalTokenMemory: true })).data).not.toEqual((await run(added, {})).data)
    await rm(folder, { recursive: true })
  })

  test.runIf(device === 'cpu')('the plan counts what it costs, and says what is missing', async () => {
    const [plain, remembering] = [pipeline.plan({}), pipeline.plan({ globalTokenMemory: true })]
    // In each of 4 steps but the first, which has no tokens before it.
    expect(remembering.flops.total - plain.flops.total).toBe(3 * 2 * 16 * 8 * 48 * 48)
    expect(remembering.flops.perStep - plain.flops.perStep).toBe(16 * 8 * 48 * 48)
    expect(remembering.flops.evaluations).toBe(plain.flops.evaluations)
    expect(remembering.memory.peak).toBeGreaterThan(plain.memory.peak)
    await using bare = await tinyPipeline()
    const missing = { code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'vin.memory' } }
    expect(() => bare.plan({ globalTokenMemory: true })).toThrow(expect.objectContaining(missing))
    await expect(bare.generate({ globalTokenMemory: true })).rejects.toMatchObject(missing)
    expect(() => pipeline.plan({ globalTokenMemory: true, method: 'full' })).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', message: "Expected method 'vin' beside globalTokenMemory but received 'full'" }))
    const { vin, ...backbone } = tinyTransformer
    await expect(VideoPipeline.fromConfig({ transformer: backbone }, { device: 'cpu', addParts: ['memory'] })).rejects.toMatchObject({ message: "Expected a model with a VIN for addParts 'memory' but its config has none" })
  })
})
