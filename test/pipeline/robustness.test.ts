// Cases of sampling that must not break, each under its number: odd arguments, aborts at every place, numbers that overflow, states of another run.
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Video, VideoPipeline } from '../../lib/index.js'
import type { Frame, GenerateOptions } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { saveState } from '../../lib/pipeline/resume.js'
import type { Fingerprint } from '../../lib/pipeline/resume.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline, tinyTransformer } from '../support/models.js'

let pipeline: VideoPipeline
let folder = ''
const options = { prompt: 'a red circle', numFrames: 32, seed: 3 } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
})
afterAll(() => pipeline.dispose())
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-robust-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function framesOf(video: { frames(): AsyncIterable<Frame> }): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of video.frames()) frames.push(frame)
  return frames
}

test.each(['full', 'hybrid'] as const)('S3 Inf put into block 2 at step 5 is ERR_VIN_NONFINITE with both, and no file (%s)', async (layout) => {
  await using own = await VideoPipeline.fromConfig(
    { transformer: { ...tinyTransformer, attention_layout: layout, depth: 3 }, scheduler: 'FlowMatchEulerDiscreteScheduler' },
    { device: 'cpu', seed: 1, defaults: { width: 32, height: 32, numInferenceSteps: 8, guidanceScale: 2 } }
  )
  const promptEmbeds = { data: new Float32Array(64).fill(0.5), shape: [2, 32] }
  // Execution order: blocks 0, 1, 2, or spatial 0, temporal 0, spatial 1.
  const weight = own.transformer.native.weight(layout === 'full' ? 'blocks.2.mlp.fc2.bias' : 'spatial_blocks.1.mlp.fc2.bias')
  const job = own.generate({
    promptEmbeds,
    numFrames: 32,
    seed: 1,
    outputType: 'latents',
    resume: folder,
    onStep: ({ step }) => {
      if (step === 4) own.engine.native.op('fill', { y: weight, value: Infinity })
    }
  })
  const iterated = (async () => {
    for await (const { type } of job) expect(type).not.toBe('done')
  })()
  await expect(iterated).rejects.toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 5, block: 2 } })
  await expect(job).rejects.toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 5, block: 2 } })
  weight.dispose()
  // The states before it are there, and nothing of the step that failed.
  expect((await readdir(folder)).sort()).toEqual(['state-000004.safetensors', 'state-000005.safetensors'])
})

describe('S5 fps, width and height', () => {
  test('give exactly the size that was asked for', async () => {
    const video = await pipeline.generate({ ...options, numFrames: 20, width: 40, height: 24, fps: 12.5 })
    expect(video).toMatchObject({ width: 40, height: 24, fps: 12.5, numFrames: 20, latents: { shape: [4, 7, 3, 5] } })
    expect((await framesOf(video)).map(({ width, height, data }) => [width, height, data.length])).toEqual(Array.from({ length: 20 }, () => [40, 24, 40 * 24 * 3]))
  })

  test.each([{ width: 0 }, { width: 33 }, { width: -8 }, { height: 31 }, { height: 4104 }, { width: 12.5 }, { fps: 0 }, { fps: -1 }, { fps: 1001 }, { fps: NaN }])('%o is refused', (wrong) => {
    expect(() => pipeline.plan({ ...options, ...wrong })).toThrow(expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining(Object.keys(wrong)[0]!) as string }))
  })

  test('the limit is an option', async () => {
    await using small = await tinyPipeline({ limits: { pixels: 32, numFrames: 40 } })
    expect(() => small.plan({ ...options, width: 40 })).toThrow('from 8 to 32 for width')
    expect(() => small.plan({ ...options, numFrames: 41 })).toThrow('from 1 to 40 for numFrames')
  })
})

describe('S6 prompts', () => {
  test('empty, spaces, NUL and half surrogates are texts', async () => {
    const empty = await pipeline.generate({ ...options, prompt: '' })
    expect(empty.warnings).toEqual([])
    expect(bits((await pipeline.generate({ ...options, prompt: '   ' })).latents)).toEqual(bits(empty.latents))
    const plain = await pipeline.generate({ ...options, prompt: 'a red circle' })
    expect(bits((await pipeline.generate({ ...options, prompt: 'a red\0 cir\0cle' })).latents)).toEqual(bits(plain.latents))
    const half = await pipeline.generate({ ...options, prompt: 'a \ud800red circle' })
    expect(half.warnings).toEqual([expect.objectContaining({ code: 'unknown-words', message: expect.stringContaining('\ufffdred') as string })])
    expect(half.latents.data.every(Number.isFinite)).toBe(true)
  })

  test('1 MB is a RangeError, 2,000 tokens are cut with a warning', async () => {
    await expect(pipeline.generate({ ...options, prompt: 'a'.repeat(1e6) })).rejects.toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
    // Two bytes of UTF-8 each: more than 8 KiB, though fewer than 8,192 characters.
    await expect(pipeline.generate({ ...options, prompt: 'ä'.repeat(4097) })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    const long = await pipeline.generate({ ...options, prompt: 'a red '.repeat(1000) })
    expect(long.warnings).toEqual([{ code: 'prompt-truncated', message: 'prompt was cut at 12 tokens: 1989 of 2001 are left out' }])
  })
})

test('S7 guidance 0 and 1 are one evaluation a step, any other scale two: counted', async () => {
  const file = join(folder, 'trace.json')
  process.env['VIN_NATIVE_TRACE'] = file
  let chunks = 0
  const counts: number[] = []
  try {
    const traced = await tinyPipeline()
    delete process.env['VIN_NATIVE_TRACE']
    chunks = traced.plan({ ...options, numFrames: 64 }).chunks.length
    for (const guidanceScale of [0, 1, 0.5, 2, 1000]) {
      const { latents } = await traced.generate({ ...options, numFrames: 64, guidanceScale, outputType: 'latents' })
      expect(latents.data.every(Number.isFinite)).toBe(true)
      // A prediction ends in one unpatchify for every chunk and branch.
      counts.push(((await readFile(file, 'utf8')).match(/"name":"unpatchify"/g) ?? []).length)
    }
    await traced.dispose()
  } finally {
    delete process.env['VIN_NATIVE_TRACE']
  }
  expect(chunks).toBe(2)
  expect(counts.map((count, i) => (count - (counts[i - 1] ?? 0)) / (4 * chunks))).toEqual([1, 1, 2, 2, 2])
  expect(pipeline.plan({ ...options, guidanceScale: 1 }).flops.branches).toBe(1)
  for (const guidanceScale of [1e6, NaN, -1, Infinity]) expect(() => pipeline.plan({ ...options, guidanceScale })).toThrow(RangeError)
})

describe('S8 abort', () => {
  const steps = 6
  /** What aborts, by where it happens: each rejects with the reason, within 250 ms of the abort. */
  async function abortAt(place: 'start' | 'text' | number | 'decode' | 'encode' | 'twice'): Promise<void> {
    const controller = new AbortController()
    const { signal } = controller
    const reason = new Error(`at ${place}`)
    let asked = Infinity
    const stop = (): void => {
      asked = performance.now()
      controller.abort(reason)
      if (place === 'twice') controller.abort(new Error('again'))
    }
    if (place === 'start') stop()
    const at = place === 'twice' ? 2 : place
    const job = pipeline.generate({ ...options, numInferenceSteps: steps, signal, onStep: ({ step }) => void (step === at && stop()) })
    if (place === 'text') stop()
    const work = async (): Promise<void> => {
      if (place === 'decode') {
        for await (const event of job) if (event.type === 'decode') stop()
      } else if (place === 'encode') {
        const video = await job
        await video.save(join(folder, 'out.apng'), { signal, onProgress: ({ done }) => void (done === 5 && stop()) })
      } else await job
    }
    await expect(work()).rejects.toBe(reason)
    expect(performance.now() - asked).toBeLessThan(250)
    expect(await readdir(folder)).toEqual([])
  }

  test.each(['start', 'text', ...Array.from({ length: steps }, (_, step) => step), 'decode', 'encode', 'twice'] as const)('at %s rejects with its reason, leaves no file, and the next run is right', async (place) => {
    const wanted = bits((await pipeline.generate(options)).latents)
    await abortAt(place)
    expect(bits((await pipeline.generate(options)).latents)).toEqual(wanted)
  })

  test('40 times, memory is what it was', async () => {
    const places = ['start', 'text', 0, 3, 'twice', 'start', 0, 'decode', 'text', 'encode'] as const
    const { native } = pipeline.engine
    // What an abort leaves is let go of when the work behind it has ended.
    const settled = async (handles: number): Promise<number> => {
      await native.fence()
      await vi.waitFor(() => expect(native.stats().handles).toBeLessThanOrEqual(handles), 5000)
      return native.stats().bytes
    }
    await pipeline.generate(options)
    const { handles } = native.stats()
    for (const place of places) await abortAt(place)
    const before = await settled(handles)
    for (let i = 0; i < 40; i++) await abortAt(places[i % places.length]!)
    expect(Math.abs((await settled(handles)) - before)).toBeLessThan(2e6)
  })
})

describe('S12 a saved state', () => {
  const run: GenerateOptions = { ...options, numInferenceSteps: 4, outputType: 'latents' }

  /** Changes fields of the newest state, as another program would have written them. */
  async function rewrite(change: (fingerprint: Fingerprint) => Fingerprint): Promise<void> {
    const newest = (await readdir(folder)).sort().at(-1)!
    const { tensors, metadata } = loadBinding().readSafetensors(await readFile(join(folder, newest)))
    expect(metadata['format']).toBe('pt')
    const { step, seed, fingerprint } = JSON.parse(metadata['content']!) as { step: number; seed: string; fingerprint: Fingerprint }
    const plain = Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, { data: data as Float32Array, shape }]))
    await saveState(folder, { step, seed: Number(seed), fingerprint: change(fingerprint), tensors: plain })
  }

  test('written again as it was goes on', async () => {
    const wanted = bits((await pipeline.generate({ ...run, resume: folder })).latents)
    await rewrite((fingerprint) => fingerprint)
    let steps = 0
    const again = await pipeline.generate({ ...run, resume: folder, onStep: () => void steps++ })
    expect([steps, bits(again.latents).equals(wanted)]).toEqual([0, true])
  })

  test.each([
    ['version', '0.0.0'],
    ['backend', 'cuda'],
    ['model', 'another'],
    ['chunkFrames', 9]
  ])('of another %s is ERR_VIN_RESUME_MISMATCH naming it', async (field, value) => {
    await pipeline.generate({ ...run, resume: folder })
    await rewrite((fingerprint) => ({ ...fingerprint, [field]: value }))
    const files = await readdir(folder)
    await expect(pipeline.generate({ ...run, resume: folder })).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field, found: value }, message: expect.stringContaining(field) as string })
    // It is the caller's to keep.
    expect(await readdir(folder)).toEqual(files)
  })
})

test('O2 what was sampled outlives a video that cannot be written', async () => {
  const video = await pipeline.generate({ ...options, numFrames: 12 })
  await expect(video.save(join(folder, 'no', 'out.y4m'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK' })
  await video.save(join(folder, 'latents.safetensors'))
  expect(await readdir(folder)).toEqual(['latents.safetensors'])
  const { openLatents } = await import('../../lib/index.js')
  const again = await openLatents(pipeline, join(folder, 'latents.safetensors'))
  expect(again).toBeInstanceOf(Video)
  expect((await framesOf(again)).map(({ data }) => data)).toEqual((await framesOf(video)).map(({ data }) => data))
})
