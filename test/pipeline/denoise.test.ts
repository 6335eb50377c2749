// One evaluation through the public API against the fixtures of all three layouts.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Tensor, VideoPipeline } from '../../lib/index.js'
import type { DenoiseOptions, TensorData } from '../../lib/index.js'
import { onDevices } from '../support/devices.js'
import { bits, expectEvaluation, fixture, layouts, named, readTensors } from '../support/fixtures.js'

/** `latents` with the clean frames put in where the mask is 0. */
function withClean(latents: TensorData, clean: TensorData, mask: readonly number[]): TensorData {
  const [C = 0, N = 0, H = 0, W = 0] = latents.shape
  const data = latents.data.slice()
  for (let c = 0; c < C; c++) {
    for (let n = 0; n < N; n++) {
      const at = (c * N + n) * H * W
      if (mask[n] === 0) data.set(clean.data.subarray(at, at + H * W), at)
    }
  }
  return { data, shape: latents.shape }
}

const inputs = (io: Record<string, TensorData>): DenoiseOptions<TensorData> => ({
  latents: named(io, 'latents'), timestep: named(io, 'timestep').data[0] as number, promptEmbeds: named(io, 'prompt_embeds')
})

describe.each(onDevices(layouts))('%s on %s', (layout, device) => {
  const io = readTensors(`vin-${layout}`, 'io.safetensors')
  const clean = readTensors(`vin-${layout}`, 'clean.safetensors')
  const base = inputs(io)
  let pipeline: VideoPipeline
  beforeAll(async () => {
    pipeline = await VideoPipeline.fromPretrained(fixture(`vin-${layout}`), { device })
  })
  afterAll(() => pipeline.dispose())

  test.each<[string, Partial<DenoiseOptions>]>([
    ['eps_fused', {}],
    ['eps_owner', { fuse: false }],
    ['eps_guided_w4', { guidanceScale: 4 }],
    ['eps_no_vin', { method: 'independent', fuse: false }],
    ['eps_full_attention_no_vin', { method: 'full' }],
    ['eps_interval_0.4_context_6', { keyframeInterval: 0.4, contextFrames: 6 }],
    ['eps_fps_24_context_0', { fps: 24, contextFrames: 0 }]
  ])('%s', async (name, options) => {
    expectEvaluation(await pipeline.denoise({ ...base, ...options, latents: base.latents }), named(io, name))
  })

  test.each(['first', 'lead', 'ends', 'middle'])('conditioning frames: %s', async (name) => {
    const frameMask = [...named(clean, `frame_mask_${name}`).data]
    const latents = withClean(base.latents, named(clean, 'clean_latents'), frameMask)
    expectEvaluation(await pipeline.denoise({ ...base, latents, frameMask }), named(clean, `pred_${name}`))
    expectEvaluation(await pipeline.denoise({ ...base, latents, frameMask, method: 'independent' }), named(clean, `pred_${name}_no_vin`))
  })

  test('attention maps are probabilities', async () => {
    const { encoder, processor } = await pipeline.attention({ ...base })
    const { num_global_tokens: G, num_heads: heads, num_blocks: blocks } = pipeline.transformer.config.vin!
    const [, , H = 0, W = 0] = base.latents.shape
    // A keyframe a second: latent frames 0, 5, 10, 15, …
    const keyframes = Math.ceil((base.latents.shape[1] as number) / 5)
    expect(encoder.shape).toEqual([heads, G, keyframes * Math.ceil(H / 2) * Math.ceil(W / 2)])
    expect(processor).toHaveLength(blocks)
    for (const map of [encoder, ...processor]) {
      const columns = map.shape[2] as number
      for (let row = 0; row < map.data.length; row += columns) expect(map.data.subarray(row, row + columns).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 4)
    }
  })
})

describe.each(layouts)('laws of %s', (layout) => {
  const io = readTensors(`vin-${layout}`, 'io.safetensors')
  const base = inputs(io)
  let pipeline: VideoPipeline
  beforeAll(async () => {
    pipeline = await VideoPipeline.fromPretrained(fixture(`vin-${layout}`), { device: 'cpu' })
  })
  afterAll(() => pipeline.dispose())

  test('a handle gives a handle with the same bits', async () => {
    const plain = await pipeline.denoise(base)
    const handle = Tensor.from(base.latents, pipeline.engine)
    const result = await pipeline.denoise({ ...base, latents: handle })
    expect(result).toBeInstanceOf(Tensor)
    expect(bits(await result.read())).toEqual(bits(plain))
    result.dispose()
    handle.dispose()
    await expect(result.read()).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
  })

  test('guidance 0 is the unconditional branch, 1 the conditional one, and w mixes them', async () => {
    const [u, c, mixed] = await Promise.all([0, 1, 4].map((guidanceScale) => pipeline.denoise({ ...base, guidanceScale })))
    expectEvaluation({ data: u!.data.map((value, i) => value + 4 * (c!.data[i]! - value)), shape: u!.shape }, mixed!)
    expect(bits(u!)).not.toEqual(bits(c!))
  })

  test('the VIN reads other latents when told to', async () => {
    const shuffled = { data: base.latents.data.slice().reverse(), shape: base.latents.shape }
    const same = await pipeline.denoise({ ...base, globalTokensFrom: base.latents })
    const other = await pipeline.denoise({ ...base, globalTokensFrom: shuffled })
    const plain = await pipeline.denoise(base)
    expect(bits(same)).toEqual(bits(plain))
    expect(bits(other)).not.toEqual(bits(plain))
  })

  test('chunks in flight change no bit', async () => {
    const [one, four] = await Promise.all([1, 4].map((chunksInFlight) => pipeline.denoise({ ...base, chunksInFlight })))
    expect(bits(one!)).toEqual(bits(four!))
  })
})

test('threads change no bit', async () => {
  const io = readTensors('vin-full', 'io.safetensors')
  const results: Buffer[] = []
  for (const threads of [1, 2, 3, 7]) {
    await using pipeline = await VideoPipeline.fromPretrained(fixture('vin-full'), { device: 'cpu', threads })
    expect(pipeline.runtime.threads).toBe(threads)
    results.push(bits(await pipeline.denoise({ latents: named(io, 'latents'), timestep: 500, promptEmbeds: named(io, 'prompt_embeds'), guidanceScale: 3 })))
  }
  for (const result of results) expect(result).toEqual(results[0])
})

describe('refusals', () => {
  const io = readTensors('vin-full', 'io.safetensors')
  const base = { latents: named(io, 'latents'), timestep: 500, promptEmbeds: named(io, 'prompt_embeds') }
  let pipeline: VideoPipeline
  beforeAll(async () => {
    pipeline = await VideoPipeline.fromPretrained(fixture('vin-full'), { device: 'cpu' })
  })
  afterAll(() => pipeline.dispose())

  test.each<[string, object, string, RegExp]>([
    ['an unknown option', { guidanceScal: 2 }, 'ERR_INVALID_ARG_TYPE', /'guidanceScal'; the nearest one is 'guidanceScale'/],
    ['a wrong rank', { latents: { data: new Float32Array(4), shape: [4] } }, 'ERR_OUT_OF_RANGE', /\[4, N, H, W\] for latents but received \[4\]/],
    ['a shape that its data does not fill', { latents: { data: new Float32Array(3), shape: [4, 1, 1, 1] } }, 'ERR_OUT_OF_RANGE', /4 numbers for latents/],
    ['too much text', { promptEmbeds: { data: new Float32Array(13 * 32), shape: [13, 32] } }, 'ERR_OUT_OF_RANGE', /1 to 12 rows for promptEmbeds but received 13/],
    ['NaN guidance', { guidanceScale: NaN }, 'ERR_OUT_OF_RANGE', /guidanceScale but received NaN/],
    ['no frames a second', { fps: 0 }, 'ERR_OUT_OF_RANGE', /a number above 0 up to 1000 for fps but received 0/],
    ['context beyond the chunk', { contextFrames: 11 }, 'ERR_OUT_OF_RANGE', /at most chunkFrames 10 but received 11/],
    ['a mask of another length', { frameMask: [1, 0] }, 'ERR_OUT_OF_RANGE', /25 values for frameMask but received 2/],
    ['a method that is not one evaluation', { method: 'streaming-t2v' }, 'ERR_OUT_OF_RANGE', /'spectral-blend' for method but received "streaming-t2v"/],
    ['a timestep that is text', { timestep: '500' }, 'ERR_INVALID_ARG_TYPE', /timestep but received "500"/]
  ])('%s', async (_name, options, code, message) => {
    const failure = pipeline.denoise({ ...base, ...options })
    await expect(failure).rejects.toMatchObject({ code })
    await expect(failure).rejects.toThrow(message)
  })

  test('an aborted signal does no work', async () => {
    const reason = new Error('enough')
    await expect(pipeline.denoise({ ...base, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  test("'vin' on a plain backbone names what it lacks", async () => {
    await using plain = await VideoPipeline.fromConfig({ transformer: { ...pipeline.transformer.config, vin: undefined } as never }, { device: 'cpu' })
    await expect(plain.denoise(base)).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('vin.global_tokens') })
    expect((await plain.denoise({ ...base, method: 'independent' })).shape).toEqual(base.latents.shape)
  })

  test('use after dispose', async () => {
    const gone = await VideoPipeline.fromPretrained(fixture('vin-full'), { device: 'cpu' })
    await gone.dispose()
    await gone.dispose()
    await expect(gone.denoise(base)).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
    expect(() => gone.plan()).toThrow(expect.objectContaining({ code: 'ERR_VIN_DISPOSED' }))
  })
})
