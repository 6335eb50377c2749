// Plans of memory are kept per shape of a request: a run makes one dry run, and everything that decides which ops run has a plan of its own.
import { expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import type { EvaluationRequest, NativeEngine, NativeTensor, NativeTransformer } from '../../lib/native/binding.js'
import { openCpuEngine } from '../../lib/native/engine.js'
import { loadBinding } from '../../lib/native/load.js'
import { fixture, named, readTensors } from '../support/fixtures.js'
import { stirredTransformer, tinyTransformer } from '../support/models.js'

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
function setup(): Setup {
  const engine = loadBinding().createEngine({ device: 'cpu', threads: 2 })
  const base = {
    latents: engine.upload(values(C * 8 * 16, 1), [C, 8, 4, 4]), timestep: 500, text: engine.upload(values(9 * D, 2), [9, D]), guidanceScale: 2, fps: 16, height: 32, width: 32,
    chunks, keyframes: [0, 4], fuse: true
  }
  return { engine, transformer: stirredTransformer(engine, tinyTransformer, 1n), base }
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
  const kept = setup()
  for (const [name, change] of variants) {
    const before = kept.engine.stats().dryRuns
    const request = { ...kept.base, ...change(kept) }
    const one = await read(kept.transformer.denoise(request))
    expect(kept.engine.stats().dryRuns - before, name).toBe(1)
    // Another timestep and scale are the same shape.
    await read(kept.transformer.denoise({ ...request, timestep: 20, guidanceScale: 3 }))
    const again = await read(kept.transformer.denoise(request))
    expect(kept.engine.stats().dryRuns - before, name).toBe(1)
    const fresh = setup()
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
  const { engine, transformer, base } = setup()
  const one = await read(transformer.denoise(base))
  transformer.dispose()
  const other = stirredTransformer(engine, { ...tinyTransformer, mlp_ratio: 2 }, 1n)
  const before = engine.stats().dryRuns
  expect(await read(other.denoise(base))).not.toEqual(one)
  expect(engine.stats().dryRuns - before).toBe(1)
  await engine.dispose()
})
