// Every wrong option is refused in one sentence, before native work.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VideoPipeline, generate, randn } from '../../lib/index.js'
import type { GenerateOptions } from '../../lib/index.js'
import { editDistance, nearest, show } from '../../lib/errors.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
beforeAll(async () => {
  pipeline = await tinyPipeline()
})
afterAll(() => pipeline.dispose())

const range = 'ERR_OUT_OF_RANGE'
const type = 'ERR_INVALID_ARG_TYPE'

const wrong: [object, string, string][] = [
  [{ numFrames: 1e9 }, range, 'Expected an integer from 1 to 4096 for numFrames but received 1e9'],
  [{ numFrames: 0 }, range, 'Expected an integer from 1 to 4096 for numFrames but received 0'],
  [{ numFrames: -1 }, range, 'Expected an integer from 1 to 4096 for numFrames but received -1'],
  [{ numFrames: 16.5 }, range, 'Expected an integer from 1 to 4096 for numFrames but received 16.5'],
  [{ numFrames: NaN }, range, 'Expected an integer from 1 to 4096 for numFrames but received NaN'],
  [{ numFrames: '16' }, type, 'Expected an integer from 1 to 4096 for numFrames but received "16"'],
  [{ width: 100 }, range, 'Expected a multiple of 8 (the two nearest are 96 and 104) for width but received 100'],
  [{ height: 0 }, range, 'Expected an integer from 8 to 4096 for height but received 0'],
  [{ height: 4097 }, range, 'Expected an integer from 8 to 4096 for height but received 4097'],
  [{ fps: 0 }, range, 'Expected a number from 0.1 to 1000 for fps but received 0'],
  [{ guidanceScale: 1e6 }, range, 'Expected a number from 0 to 1000 for guidanceScale but received 1e6'],
  [{ guidanceScale: NaN }, range, 'Expected a number from 0 to 1000 for guidanceScale but received NaN'],
  [{ seed: -1 }, range, 'Expected an integer from 0 to 2^53 - 1 or a bigint below 2^64 for seed but received -1'],
  [{ seed: 2n ** 64n }, range, 'Expected an integer from 0 to 2^53 - 1 or a bigint below 2^64 for seed but received 18446744073709551616n'],
  [{ chunkFrames: 4, contextFrames: 5 }, range, 'Expected contextFrames of at most chunkFrames 4 but received 5'],
  [{ fusion: 'erly' }, range, "Expected one of 'early', 'mid', 'late', 'none' for fusion but received \"erly\""],
  ...[null, 1, true, ['early']].map((fusion): [object, string, string] => [{ fusion }, type, `Expected 'early', 'mid', 'late', 'none' or { from, until, weights } for fusion but received ${show(fusion)}`]),
  [{ fusion: { from: 0.2, until: 0.5 } }, range, 'Expected fusion.until of at most fusion.from 0.2 but received 0.5'],
  [{ fusion: { from: 0.3 } }, range, 'Expected fusion.until of at most fusion.from 0.3 but received 0.4'],
  [{ fusion: { weights: 'cosine' } }, range, "Expected one of 'linear', 'raised-cosine', 'learned' for fusion.weights but received \"cosine\""],
  [{ fusion: { weight: 'linear' } }, type, "Expected a known option of fusion but received 'weight'; the nearest one is 'weights'"],
  [{ keyframeInterval: 0 }, range, 'Expected a number from 0.001 to 3600 for keyframeInterval but received 0'],
  [{ outputType: 'gif' }, range, "Expected one of 'video', 'latents' for outputType but received \"gif\""],
  [{ numFrame: 16 }, type, "Expected a known option of plan but received 'numFrame'; the nearest one is 'numFrames'"],
  [{ prompt: 'x', promptEmbeds: { data: new Float32Array(32), shape: [1, 32] } }, type, 'Expected prompt or promptEmbeds but received both'],
  [{ prompt: 'x'.repeat(1 << 20) }, range, 'Expected at most 8192 bytes of UTF-8 for prompt but received at least 1048576'],
  [{ prompt: [] }, range, 'Expected 1 to 256 entries for prompt but received an array of 0'],
  [{ prompt: [{ at: 1, prompt: 'a' }, { at: 0, prompt: 'b' }] }, range, 'Expected entries in the order of time but prompt[1] is not after the one before it'],
  [{ prompt: [{ at: 0, prompt: 'a', ease: -1 }] }, range, 'Expected a number from 0 to 65536 for prompt[0].ease but received -1'],
  [{ prompt: [{ at: { frame: 1.5 }, prompt: 'a' }] }, range, 'Expected an integer from 0 to 1e9 for prompt[0].at.frame but received 1.5'],
  [{ prompt: [{ at: {}, prompt: 'a' }] }, type, 'Expected an integer from 0 to 1e9 for prompt[0].at.frame but received undefined'],
  [{ prompt: [{ at: null, prompt: 'a' }] }, type, 'Expected seconds or { frame } for prompt[0].at but received null'],
  [{ prompt: ['a', 'b'] }, type, 'Expected { at, prompt, ease } for prompt[0] but received "a"'],
  [{ preview: 'vae' }, type, 'Expected true or false for preview but received "vae"'],
  [{ onStep: 3 }, type, 'Expected a function for onStep but received 3'],
  [{ signal: {} }, type, 'Expected an AbortSignal for signal but received an object (Object)'],
  [{ scheduler: 'EulerScheduler' }, range, 'Expected one of DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler for scheduler but received "EulerScheduler"'],
  [{ video: 3 }, type, 'Expected a path, a Video, { latents } or an async iterable of frames for video but received 3']
]

test.each(wrong)('%o', async (options, code, message) => {
  expect(() => pipeline.plan(options)).toThrow(expect.objectContaining({ code, message }))
  await expect(pipeline.generate(options as GenerateOptions)).rejects.toMatchObject({ code })
  // Refused before a model is looked for.
  await expect(generate({ model: 'no-such-folder', ...options } as GenerateOptions)).rejects.toMatchObject({ code })
})

test('start latents fix frames and size', async () => {
  const latents = await randn({ seed: 1, shape: [4, 20, 4, 6] })
  expect(pipeline.plan({ latents }).latentFrames).toBe(20)
  for (const other of [{ numFrames: 65 }, { width: 40 }, { height: 40 }]) expect(() => pipeline.plan({ latents, ...other })).toThrow(RangeError)
})

test('short videos work: 1 frame, and one less than a chunk', async () => {
  for (const numFrames of [1, 28]) {
    const video = await pipeline.generate({ numFrames, seed: 1, prompt: '' })
    let frames = 0
    for await (const _ of video.frames()) frames++
    expect(frames).toBe(numFrames)
  }
})

describe('model options', () => {
  test.each([
    [{ device: 'gpu' }, range],
    [{ device: 'cuda:01' }, range],
    [{ device: 'cuda:00' }, range],
    [{ device: 'cuda:1e1' }, range],
    [{ device: 3 }, type],
    [{ dtype: 'float64' }, range],
    [{ dtype: 'bfloat16' }, 'ERR_VIN_NOT_SUPPORTED'],
    [{ threads: 0 }, range],
    [{ thread: 1 }, type],
    [{ limits: { header: 1 } }, type],
    [{ memoryBudget: -5 }, range],
    [{ addParts: ['cam', 'apm', 'cam'] }, range],
    [{ device: 'cuda' }, 'ERR_VIN_BACKEND_UNAVAILABLE'],
    [{ device: 'cuda:1' }, 'ERR_VIN_BACKEND_UNAVAILABLE']
  ])('%o', async (options, code) => {
    await expect(VideoPipeline.fromPretrained('demo', options as never)).rejects.toMatchObject({ code })
    await expect(generate({ ...options, prompt: 'a' } as never)).rejects.toMatchObject({ code })
  })

  test("'cuda' names every candidate and why", async () => {
    const error = (await VideoPipeline.fromPretrained('demo', { device: 'cuda' }).catch((reason: unknown) => reason)) as { message: string; details: { rejected: object[] } }
    expect(error.details.rejected.length).toBeGreaterThan(1)
    for (const each of error.details.rejected) expect(each).toEqual({ backend: expect.any(String), code: expect.any(String), reason: expect.any(String) })
    expect(error.message).toContain('cuda12')
  })

  test("'auto' says what was refused, 'cpu' asks nothing", async () => {
    await using automatic = await tinyPipeline({ device: 'auto' })
    expect(automatic.runtime).toMatchObject({ device: 'cpu', backend: 'cpu' })
    expect(automatic.runtime.rejected.length).toBeGreaterThan(1)
    expect(pipeline.runtime.rejected).toEqual([])
  })

  test('a folder that is not there names the part', async () => {
    await expect(VideoPipeline.fromPretrained('no-such-folder')).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  })
})

test('missing parts are missed where they are needed', async () => {
  await using bare = await VideoPipeline.fromConfig({ transformer: { ...pipeline.transformer.config } as never }, { device: 'cpu', defaults: { width: 32, height: 32, numInferenceSteps: 1 } })
  const promptEmbeds = await randn({ seed: 1, shape: [3, 32] })
  await expect(bare.generate({ prompt: 'a', outputType: 'latents' })).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'text_encoder' } })
  await expect(bare.generate({ promptEmbeds })).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'vae' } })
  expect(() => bare.vae).toThrow(expect.objectContaining({ code: 'ERR_VIN_MISSING_COMPONENT' }))
  expect((await bare.generate({ promptEmbeds, outputType: 'latents' })).latents.shape).toEqual([4, 20, 4, 4])
})

describe('words', () => {
  test('the nearest name', () => {
    expect(editDistance('numFrame', 'numFrames')).toBe(1)
    expect(editDistance('sede', 'seed')).toBe(1)
    expect(nearest('guidance', ['seed', 'guidanceScale', 'width'])).toBe('guidanceScale')
  })
  test('values in few characters', () => {
    expect([1e9, 1000, 0.1, NaN, '16', 7n, [1], new Float32Array(3), null, undefined].map(show)).toEqual(['1e9', '1000', '0.1', 'NaN', '"16"', '7n', 'an array of 1', 'a Float32Array of 3', 'null', 'undefined'])
  })
})

describe('randn', () => {
  test('the known normals', async () => {
    const { readFileSync } = await import('node:fs')
    const { fixture } = await import('../support/fixtures.js')
    const known = JSON.parse(readFileSync(fixture('philox.json'), 'utf8')) as { seed: number; stream0_first_16: number[]; latents_C4_H6_W6_frame5: number[] }
    const flat = await randn({ seed: known.seed, shape: [16] })
    known.stream0_first_16.forEach((value, i) => expect(Math.abs(flat.data[i]! - value)).toBeLessThan(1e-6))
    const latents = await randn({ seed: BigInt(known.seed), shape: [4, 6, 6, 6] })
    // Frame 5 of [C, N, H, W], channel after channel.
    const frame = [0, 1, 2, 3].flatMap((c) => [...latents.data.subarray((c * 6 + 5) * 36, (c * 6 + 6) * 36)])
    known.latents_C4_H6_W6_frame5.forEach((value, i) => expect(Math.abs(frame[i]! - value)).toBeLessThan(1e-6))
  })
  test.each([[{ seed: 1.5, shape: [2] }], [{ seed: 1, shape: [] }], [{ seed: 1, shape: [2], stream: -1 }], [{ shape: [2] }]])('%o is refused', async (options) => {
    await expect(randn(options as never)).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_(OUT_OF_RANGE|INVALID_ARG_TYPE)$/) })
  })
})
