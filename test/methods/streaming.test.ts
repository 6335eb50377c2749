// streaming-t2v: CAM, APM and guidance of three branches against a float64 restatement, and the laws of the method.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FlowMatchEulerDiscreteScheduler, randn, VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, TensorData } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import type { EvaluationRequest, NativeEngine, NativeTransformer } from '../../lib/native/binding.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { overlapCuts } from '../../lib/plan/passes.js'
import { onDevices, openEngine } from '../support/devices.js'
import { bits, fixture, layouts, readJson } from '../support/fixtures.js'
import { tinyPipeline, tinyTransformer } from '../support/models.js'
import { streamingChunk, type Rows } from '../support/reference/streaming.js'

/** Every weight random: parts that begin as 0, too. */
function stir(engine: NativeEngine, model: Pick<NativeTransformer, 'weights' | 'weight'>): Map<string, { data: Float32Array; shape: number[] }> {
  const random = new PhiloxRandom(23, 1)
  const weights = new Map<string, { data: Float32Array; shape: number[] }>()
  for (const { name, shape } of model.weights()) {
    const count = shape.reduce((a, b) => a * b, 1)
    const scale = /norm\.weight$/.test(name) ? 0.2 : /alpha|bias|table$/.test(name) ? 0.5 : 1 / Math.sqrt(count / shape[0]!)
    const data = random.normals(count).map((value) => scale * value + (/norm\.weight$/.test(name) ? 1 : 0))
    if (name === 'rope.freqs') data.forEach((_, i) => (data[i] = 10 ** -i))
    engine.op('copy', { y: model.weight(name), x: engine.upload(data, shape) })
    weights.set(name, { data, shape })
  }
  return weights
}

describe.each(onDevices(layouts))('layout %s on %s is what methods.md §5 says', (layout, device) => {
  const C = 16
  const config = { attention_layout: layout, depth: 3, hidden_size: C, num_heads: 2, in_channels: 4, caption_channels: 8, model_max_length: 8, mlp_ratio: 2, pred_sigma: false, input_sq_size: 64, chunk_frames: 4, context_frames: 2, latent_fps: 5, max_latent_frames: 40 }
  const engine = openEngine(device)
  const random = new PhiloxRandom(5, 2)
  const chunks = [{ first: 0, start: 0, end: 4 }, { first: 2, start: 4, end: 7 }]
  const [N, H, W] = [7, 4, 6]
  const frameMask = [0, 0, 0, 0, 1, 1, 1]
  const latents = { data: random.normals(4 * N * H * W), shape: [4, N, H, W] }
  const [text, negative] = [{ data: random.normals(24), shape: [3, 8] }, { data: random.normals(16), shape: [2, 8] }]
  const upload = ({ data, shape }: { data: Float32Array; shape: number[] }) => engine.upload(data, shape)

  async function both(parts: object, guidanceScale: number, streaming: EvaluationRequest['streaming']): Promise<{ actual: Rows; wanted: Rows }> {
    const model = await engine.create('transformer', { ...config, ...parts }, 3n)
    const weights = stir(engine, model)
    const request = { latents: upload(latents), text: upload(text), timestep: 400, fps: 16, height: 8 * H, width: 8 * W, chunks, frameMask }
    const rowsOf = async (tensor: { read(): Promise<{ data: unknown }> }, width: number): Promise<Rows> => {
      const data = (await tensor.read()).data as Float32Array
      return Array.from({ length: data.length / width }, (_, i) => Float64Array.from(data.subarray(i * width, (i + 1) * width)))
    }
    const [now, clean] = [model.trace(request), model.trace({ ...request, timestep: 0 })]
    // Tokens of zeros are position, time code and the embedder's bias.
    const bias = weights.get('x_embedder.proj.bias')!.data
    const still = await rowsOf(model.trace({ ...request, latents: upload({ data: new Float32Array(latents.data.length), shape: latents.shape }) }).video_tokens!, C)
    const positions = still.map((row) => row.map((value, c) => value - bias[c]!))
    const times: [Float64Array, Float64Array] = [(await rowsOf(now.t_vec!, C))[0]!, (await rowsOf(clean.t_vec!, C))[0]!]
    const evaluate = (rows: TensorData, anchored: boolean): Rows =>
      streamingChunk({ weights, layout, depth: 3, heads: 2, latents, positions, times, text: Array.from({ length: rows.shape[0]! }, (_, i) => Float64Array.from(rows.data.subarray(8 * i, 8 * i + 8))), frameMask, chunk: chunks[1]!, streaming: streaming && { anchor: anchored ? streaming.anchor : undefined } })
    const [u, c, a] = [evaluate(negative, false), evaluate(text, false), evaluate(text, true)]
    const w = streaming?.anchor === undefined ? 0 : streaming.anchorGuidanceScale!
    const wanted = c.map((row, r) => row.map((value, k) => u[r]![k]! + guidanceScale * (value - u[r]![k]!) + w * (a[r]![k]! - value)))
    const output = model.denoise({ ...request, negativeText: guidanceScale === 1 ? undefined : upload(negative), guidanceScale, streaming, fuse: false })
    const { data } = (await output.read()) as TensorData
    const S = (H * W) / 4
    // Owned frames alone; context has no prediction of its own.
    const owned = wanted.slice(2 * S)
    const actual = owned.map((_, row) => {
      const [f, y, x] = [4 + Math.floor(row / S), Math.floor((row % S) / (W / 2)), row % (W / 2)]
      return Float64Array.from({ length: 16 }, (_2, i) => data[(((i % 4) * N + f) * H + 2 * y + Math.floor(i / 8)) * W + 2 * x + (Math.floor(i / 4) % 2)]!)
    })
    model.dispose()
    return { actual, wanted: owned }
  }

  test.each([
    ['the backbone alone', { cam: true, apm: true }, 1, undefined],
    ['the context', { cam: true }, 1, {}],
    ['the anchor', { apm: true }, 1, { anchor: 0, anchorGuidanceScale: 1 }],
    ['the null anchor', { apm: true }, 1, {}],
    ['both, two branches', { cam: true, apm: true }, 3, { anchor: 0, anchorGuidanceScale: 3 }],
    ['both, three branches', { cam: true, apm: true }, 3, { anchor: 1, anchorGuidanceScale: 2 }],
    ['text that does not count but for the anchor', { cam: true, apm: true }, 0, { anchor: 0, anchorGuidanceScale: 2 }],
    ['no guidance by text', { cam: true, apm: true }, 1, { anchor: 0, anchorGuidanceScale: 0.5 }]
  ] as const)('%s', async (_, parts, guidance, streaming) => {
    const { actual, wanted } = await both(parts, guidance, streaming)
    const largest = Math.max(...wanted.flatMap((row) => [...row].map(Math.abs)))
    expect(largest).toBeGreaterThan(0.1)
    for (const [r, row] of wanted.entries()) for (const [c, value] of row.entries()) expect(Math.abs(actual[r]![c]! - value)).toBeLessThanOrEqual(2e-5 * Math.max(1, largest))
  })
})

describe('randomized blending', () => {
  test('cuts of seed 7, as methods.md lists them', () => {
    const chunks = [0, 1, 2, 3, 4].map((i) => ({ first: i === 0 ? 0 : 20 * i - 8, start: 20 * i, end: 20 * i + 20 }))
    expect([0, 1, 2].map((step) => overlapCuts(chunks, step, 7))).toEqual([[5, 3, 4, 8], [3, 4, 6, 8], [0, 8, 2, 3]])
  })

  test('frame k of F keeps the earlier value in (F − k)/(F + 1) of the draws', () => {
    const chunks = [{ first: 0, start: 0, end: 10 }, { first: 7, start: 10, end: 20 }]
    const cuts = Array.from({ length: 4000 }, (_, step) => overlapCuts(chunks, step, 3)[0]!)
    for (let k = 0; k < 3; k++) expect(Math.abs(cuts.filter((cut) => k < cut).length / 4000 - (3 - k) / 4)).toBeLessThan(0.03)
  })

  interface Case { name: string; chunk: number; overlap: number; frames: number; offsets: number[]; chunk_that_gives_each_frame: number[] }
  test.each(readJson('methods', 'streaming.json')['randomized_blending'] as Case[])('$name: each frame comes from the chunk that the published code takes it from', async ({ chunk, overlap, frames, offsets, chunk_that_gives_each_frame: wanted }) => {
    const engine = loadBinding().createEngine({ device: 'cpu', threads: 2 })
    const model = await engine.create('transformer', { attention_layout: 'factorised', depth: 1, hidden_size: 8, num_heads: 1, in_channels: 4, caption_channels: 8, model_max_length: 8, pred_sigma: false, chunk_frames: 32, context_frames: overlap }, 3n)
    stir(engine, model)
    const own = chunk - overlap
    const chunks = Array.from({ length: Math.ceil((frames - overlap) / own) }, (_, i) => ({ first: own * i, start: i === 0 ? 0 : own * i + overlap, end: own * i + chunk }))
    const random = new PhiloxRandom(4, 9)
    const request = { latents: engine.upload(random.normals(16 * frames), [4, frames, 2, 2]), text: engine.upload(random.normals(16), [2, 8]), timestep: 300, fps: 16, height: 16, width: 16, chunks, overlapCuts: offsets }
    const { output, chunks: predictions } = model.trace(request)
    const data = (await output.read()).data
    const parts = await Promise.all(predictions!.map(async (part) => (await part.read()).data))
    wanted.forEach((giver, frame) => {
      const { first, end } = chunks[giver]!
      for (let c = 0; c < 4; c++) for (let i = 0; i < 4; i++) expect(data[(c * frames + frame) * 4 + i], `frame ${frame}`).toBe(parts[giver]![(c * (end - first) + frame - first) * 4 + i])
    })
    expect(() => model.denoise({ ...request, overlapCuts: [overlap + 1, ...offsets.slice(1)] })).toThrow(/overlapCuts/)
  })
})

describe('laws', () => {
  let plain: VideoPipeline
  let fresh: VideoPipeline
  let trained: VideoPipeline
  let folder: string
  let promptEmbeds: TensorData
  const options = { numFrames: 96, seed: 3, outputType: 'latents', guidanceScale: 3 } satisfies GenerateOptions
  const run = async (pipeline: VideoPipeline, extra: GenerateOptions = {}): Promise<TensorData> => (await pipeline.generate({ ...options, promptEmbeds, method: 'streaming-t2v', ...extra })).latents
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vin-streaming-'))
    plain = await tinyPipeline()
    await plain.save(join(folder, 'plain'))
    fresh = await VideoPipeline.fromPretrained(join(folder, 'plain'), { device: 'cpu', addParts: ['cam', 'apm'] })
    trained = await VideoPipeline.fromPretrained(join(folder, 'plain'), { device: 'cpu', addParts: ['apm', 'cam'] })
    for (const { name, shape } of trained.transformer.weights()) {
      if (!/^cam\.inject\.\d+\.proj|^apm\.alpha/.test(name)) continue
      trained.transformer.writeWeight(name, { data: new PhiloxRandom(8, name.length).normals(shape.reduce((a, b) => a * b, 1)).map((value) => 0.2 * value), shape })
    }
    promptEmbeds = await randn({ seed: 4, shape: [5, 32] })
  })
  afterAll(async () => {
    for (const pipeline of [plain, fresh, trained]) await pipeline.dispose()
    await rm(folder, { recursive: true })
  })

  test.each([[3, undefined], [3, 5], [3, 0], [1, undefined], [1, 4], [0, undefined], [0, 2]])('untrained it is autoregressive, bit for bit: text %d, anchor %s', async (guidanceScale, anchorGuidanceScale) => {
    const autoregressive = bits(await run(plain, { method: 'autoregressive', guidanceScale }))
    expect(bits(await run(fresh, { guidanceScale, anchorGuidanceScale }))).toEqual(autoregressive)
  })

  test('parts that are not asked leave every other method as it is; trained they change every chunk but the first', async () => {
    for (const method of ['vin', 'autoregressive'] as const) expect(bits(await run(trained, { method }))).toEqual(bits(await run(plain, { method })))
    const [one, other] = [await run(trained), await run(plain, { method: 'autoregressive' })]
    const frames = (latents: TensorData, begin: number) => [0, 1, 2, 3].flatMap((c) => [...latents.data.subarray((c * 30 + begin) * 16, (c * 30 + begin + 10) * 16)])
    expect(frames(one, 0)).toEqual(frames(other, 0))
    for (const begin of [10, 20]) expect(Math.max(...frames(one, begin).map((value, i) => Math.abs(value - frames(other, begin)[i]!)))).toBeGreaterThan(1e-3)
  })

  test('chunks in flight and threads change no bit', async () => {
    await using single = await VideoPipeline.fromPretrained(join(folder, 'plain'), { device: 'cpu', addParts: ['cam', 'apm'], threads: 1 })
    for (const { name } of trained.transformer.weights()) single.transformer.writeWeight(name, await trained.transformer.readWeight(name))
    const wanted = bits(await run(trained, { anchorGuidanceScale: 2, randomizedBlending: true, chunksInFlight: 4 }))
    expect(bits(await run(trained, { anchorGuidanceScale: 2, randomizedBlending: true, chunksInFlight: 1 }))).toEqual(wanted)
    expect(bits(await run(single, { anchorGuidanceScale: 2, randomizedBlending: true }))).toEqual(wanted)
  })

  test.each([
    [{}, 4 * 2 + 2 * 4 * 2],
    [{ anchorGuidanceScale: 2 }, 4 * 2 + 2 * 4 * 3],
    [{ guidanceScale: 1, anchorGuidanceScale: 2 }, 4 + 2 * 4 * 2],
    [{ anchorGuidanceScale: 0 }, 3 * 4 * 2],
    [{ guidanceScale: 0, anchorGuidanceScale: 2 }, 4 + 2 * 4 * 3],
    // 2 of 4 steps lie within 0.6 of the schedule.
    [{ randomizedBlending: true }, 4 * 2 + 2 * 4 * 2 + 2 * 3 * 2],
    [{ method: 'autoregressive' }, 3 * 4 * 2],
    [{ method: 'vin' }, 3 * 4 * 2],
    [{ method: 'full' }, 4 * 2]
  ] as [GenerateOptions, number][])('the plan counts the evaluations that a run makes: %j', async (extra, wanted) => {
    let made = 0
    const native = trained.transformer.native
    const { denoise } = native
    const counting = (request: EvaluationRequest): ReturnType<typeof denoise> => {
      const live = request.chunks.filter(({ start, end }) => request.frameMask === undefined || request.frameMask.slice(start, end).includes(1))
      const [w, anchor] = [request.guidanceScale ?? 1, request.streaming === undefined ? 0 : request.streaming.anchorGuidanceScale!]
      const negative = request.negativeText !== undefined
      made += live.length * ((negative ? 1 : 0) + (anchor === 0 ? 0 : 1) + (w !== anchor ? 1 : 0))
      return denoise.call(native, request)
    }
    Object.defineProperty(native, 'denoise', { value: counting, configurable: true })
    try {
      const video = await trained.generate({ ...options, promptEmbeds, method: 'streaming-t2v', ...extra })
      expect(made).toBe(wanted)
      expect(video.plan.flops.evaluations).toBe(wanted)
    } finally {
      Reflect.deleteProperty(native, 'denoise')
    }
  })

  test('the second pass is the loop written out: finished latents get their noise again, and every step cuts the overlaps', async () => {
    const finished = await run(trained)
    const noise = await randn({ seed: 3, shape: [4, 30, 4, 4] })
    const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
    scheduler.setTimesteps(4)
    const chunks = [{ first: 0, start: 0, end: 10 }, { first: 6, start: 10, end: 20 }, { first: 16, start: 20, end: 30 }]
    const { transformer } = trained
    const upload = ({ data, shape }: TensorData) => transformer.engine.native.upload(data, shape)
    const table = await transformer.readWeight('y_embedder.y_embedding')
    const negativeText = upload({ data: table.data.slice(0, 5 * 32), shape: [5, 32] })
    let latents = await scheduler.addNoise(finished, noise, scheduler.timesteps[2]!)
    for (const step of [2, 3]) {
      const timestep = scheduler.timesteps[step]!
      const output = transformer.native.denoise({ latents: upload(latents), text: upload(promptEmbeds), negativeText, guidanceScale: 3, timestep, fps: 16, height: 32, width: 32, chunks, overlapCuts: overlapCuts(chunks, step, 3) })
      latents = await scheduler.step({ data: (await output.read()).data as Float32Array, shape: latents.shape }, timestep, latents)
    }
    expect(bits(await run(trained, { randomizedBlending: true }))).toEqual(bits(latents))
    // One chunk has no overlaps.
    expect(bits(await run(trained, { randomizedBlending: true, numFrames: 32 }))).toEqual(bits(await run(trained, { numFrames: 32 })))
  })

  test.each([5, 12, 13])('a run that stops after step %d goes on with the same bits', async (stopAfter) => {
    const whole = await run(trained, { randomizedBlending: true, seed: 5 })
    const resume = join(folder, `resume-${stopAfter}`)
    const stopped = run(trained, { randomizedBlending: true, seed: 5, resume, onStep: ({ step }) => { if (step === stopAfter) throw new Error('stop') } })
    await expect(stopped).rejects.toThrow('stop')
    expect(bits(await run(trained, { randomizedBlending: true, seed: 5, resume }))).toEqual(bits(whole))
  })

  test('a skipped step goes on with what each branch kept', async () => {
    const [cached, plain] = [await run(trained, { stepCache: 0, anchorGuidanceScale: 2 }), await run(trained, { anchorGuidanceScale: 2 })]
    expect(bits(cached)).toEqual(bits(plain))
    const video = await trained.generate({ ...options, promptEmbeds, method: 'streaming-t2v', anchorGuidanceScale: 2, stepCache: 100 })
    expect(video.skippedSteps).toBe(3 * 2)
    expect(video.latents.data.every(Number.isFinite)).toBe(true)
  })

  test('a model folder keeps the parts', async () => {
    await trained.save(join(folder, 'trained'))
    await using opened = await VideoPipeline.fromPretrained(join(folder, 'trained'), { device: 'cpu' })
    expect(opened.transformer.config).toMatchObject({ cam: true, apm: true })
    expect(bits(await run(opened))).toEqual(bits(await run(trained)))
    // They are there: nothing is added.
    await using again = await VideoPipeline.fromPretrained(join(folder, 'trained'), { device: 'cpu', addParts: ['cam', 'apm'] })
    expect(bits(await run(again))).toEqual(bits(await run(trained)))
  })

  test('it begins as a copy of the first half of the layers, and other weights are as without it', async () => {
    const names = fresh.transformer.weights().map(({ name }) => name)
    const parts = names.filter((name) => /^(cam|apm)\./.test(name))
    expect(names.length - parts.length).toBe(plain.transformer.weights().length)
    for (const name of parts.filter((part) => /^cam\.(x_embedder|blocks)/.test(part))) expect(bits(await fresh.transformer.readWeight(name))).toEqual(bits(await plain.transformer.readWeight(name.slice(4))))
    expect(parts.some((name) => name.startsWith('cam.blocks.0.'))).toBe(true)
    expect(parts.some((name) => name.startsWith('cam.blocks.1.'))).toBe(false)
    const config = { transformer: tinyTransformer }
    await using without = await VideoPipeline.fromConfig(config, { device: 'cpu', seed: 2 })
    await using made = await VideoPipeline.fromConfig({ transformer: { ...tinyTransformer, cam: true, apm: true } }, { device: 'cpu', seed: 2 })
    for (const { name } of without.transformer.weights()) expect(bits(await made.transformer.readWeight(name)), name).toEqual(bits(await without.transformer.readWeight(name)))
  })

  test('it runs on a plain Open-Sora backbone, as latents', async () => {
    await using backbone = await VideoPipeline.fromPretrained(fixture('stdit3'), { device: 'cpu', addParts: ['cam', 'apm'] })
    const text = await randn({ seed: 4, shape: [5, backbone.transformer.config.caption_channels] })
    const request = { promptEmbeds: text, numFrames: 128, width: 32, height: 32, numInferenceSteps: 2, seed: 1, outputType: 'latents' } satisfies GenerateOptions
    const [streaming, autoregressive] = [await backbone.generate({ ...request, method: 'streaming-t2v' }), await backbone.generate({ ...request, method: 'autoregressive' })]
    expect(bits(streaming.latents)).toEqual(bits(autoregressive.latents))
  })

  describe('what cannot be is said in one sentence', () => {
    test('a model without the parts', async () => {
      const error = await run(plain).then(() => undefined, (reason: unknown) => reason as Error)
      expect(error).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'cam, apm' } })
      expect(error!.message).toMatch(/^Expected the weights cam\.\* and apm\.\* for method 'streaming-t2v' but .*addParts: \['cam', 'apm'\].*trainable: 'cam', then 'apm'/)
      expect(plain.plan({ numFrames: 64 }).flops.byMethod).not.toHaveProperty('streaming-t2v')
      expect(fresh.plan({ numFrames: 64 }).flops.byMethod['streaming-t2v']).toBeGreaterThan(plain.plan({ numFrames: 64 }).flops.byMethod['autoregressive']!)
    })
    test('options of another method', async () => {
      for (const extra of [{ anchorGuidanceScale: 2 }, { randomizedBlending: true }]) {
        await expect(run(plain, { method: 'vin', ...extra })).rejects.toThrow(/^Expected method 'streaming-t2v' beside \w+ but received 'vin'$/)
      }
    })
    test('parts that are none, and a model that is too shallow', async () => {
      await expect(VideoPipeline.fromPretrained(join(folder, 'plain'), { addParts: ['vin'] as never })).rejects.toThrow(/addParts/)
      await expect(VideoPipeline.fromConfig({ transformer: { ...tinyTransformer, depth: 1, cam: true } }, { device: 'cpu' })).rejects.toThrow(/at least 2 with cam/)
    })
    test('a request beside global tokens, or of a model without the parts', () => {
      const engine = fresh.engine.native
      const request = { latents: engine.upload(new Float32Array(4 * 6 * 16), [4, 6, 4, 4]), text: engine.upload(new Float32Array(64), [2, 32]), timestep: 500, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 6 }] }
      expect(() => fresh.transformer.native.denoise({ ...request, streaming: {}, keyframes: [0] })).toThrow(/neither keyframes nor attention/)
      expect(() => fresh.transformer.native.denoise({ ...request, streaming: { anchor: 6 } })).toThrow(/an anchor from 0 to 5/)
      expect(() => plain.transformer.native.denoise({ ...request, streaming: {} })).toThrow(/cam\.\* and apm\.\*/)
    })
  })
})
