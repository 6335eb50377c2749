// Saved states: a run that goes on gives the bits of one that was never stopped.
import { execFileSync } from 'node:child_process'
import { closeSync, constants, existsSync, openSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { GenerateOptions, VideoPipeline } from '../../lib/index.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let folder: string
const base = { prompt: 'a red circle', numFrames: 64, seed: 3, numInferenceSteps: 6, outputType: 'latents' } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
})
afterAll(() => pipeline.dispose())
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-resume-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Runs until `steps` steps are saved. */
async function interrupt(options: GenerateOptions, steps: number): Promise<void> {
  const controller = new AbortController()
  const job = pipeline.generate({ ...options, resume: folder, signal: controller.signal, onStep: ({ step }) => (step === steps - 1 ? controller.abort(new Error('killed')) : undefined) })
  await expect(job).rejects.toThrow('killed')
}

const states = async (): Promise<string[]> => (await readdir(folder)).filter((name) => name.startsWith('state-')).sort()

describe.each([
  ['flow match', {}],
  ['DPM-Solver++, which carries the last x0', { scheduler: 'DPMSolverMultistepScheduler' as const }],
  ['autoregressive', { method: 'autoregressive' as const }]
])('%s', (_name, extra: GenerateOptions) => {
  const options = { ...base, ...extra }
  const total = extra.method === 'autoregressive' ? 12 : 6

  test('stopped at every step, it ends in the same bits', async () => {
    const wanted = bits((await pipeline.generate(options)).latents)
    for (let steps = 1; steps < total; steps += 2) {
      await interrupt(options, steps)
      const seen: number[] = []
      const video = await pipeline.generate({ ...options, resume: folder, onStep: ({ step }) => void seen.push(step) })
      expect(bits(video.latents)).toEqual(wanted)
      expect(seen[0]).toBe(steps)
      await rm(folder, { recursive: true, force: true })
    }
  })
})

describe('pipes', () => {
  const pipes: string[] = []
  // Whoever waits for a writer gets one: a thread of the process that waits for ever would keep the process.
  afterEach(() => pipes.splice(0).forEach((pipe) => existsSync(pipe) && closeSync(openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK))))
  const pipe = (name: string): string => {
    const path = join(folder, name)
    execFileSync('mkfifo', [path])
    pipes.push(path)
    return path
  }

  test.each(['image', 'lastImage', 'video'] as const)('one given as %s is refused, not waited for', async (name) => {
    const options = { ...base, [name]: pipe('input') }
    await expect(pipeline.generate({ ...options, resume: join(folder, 'run') })).rejects.toThrow(/^Expected the path of a (picture|video) .* is no plain file$/)
  })

  test('one given as latents is refused, not waited for', async () => {
    await expect(pipeline.generate({ ...base, video: pipe('input.safetensors') })).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('a regular file') as string })
  })

  test('one in the folder of a run is a damaged state', async () => {
    const wanted = bits((await pipeline.generate(base)).latents)
    await interrupt(base, 2)
    pipe('state-000009.safetensors')
    const video = await pipeline.generate({ ...base, resume: folder })
    expect(bits(video.latents)).toEqual(wanted)
    expect(video.warnings).toMatchObject([{ code: 'damaged-state' }])
  })
})

test('the two newest states are kept, and nothing temporary', async () => {
  await interrupt(base, 5)
  expect(await states()).toEqual(['state-000004.safetensors', 'state-000005.safetensors'])
  expect(await readdir(folder)).toEqual(await states())
})

test('a finished run is taken from its last state', async () => {
  const first = await pipeline.generate({ ...base, resume: folder })
  let steps = 0
  const again = await pipeline.generate({ ...base, resume: folder, onStep: () => void steps++ })
  expect(steps).toBe(0)
  expect(bits(again.latents)).toEqual(bits(first.latents))
})

test('a random seed goes on with the run', async () => {
  const { seed: _, ...options } = base
  await interrupt(options, 3)
  const video = await pipeline.generate({ ...options, resume: folder })
  expect(bits(video.latents)).toEqual(bits((await pipeline.generate({ ...options, seed: video.seed })).latents))
})

test.each([
  ['cut short', async (file: string) => truncate(file, 1000)],
  [
    'one flipped bit',
    async (file: string) => {
      const bytes = await readFile(file)
      bytes[bytes.length - 5]! ^= 4
      await writeFile(file, bytes)
    }
  ],
  ['empty', async (file: string) => writeFile(file, '')]
])('a damaged newest state (%s) gives way to the one before', async (_name, damage) => {
  await interrupt(base, 4)
  await damage(join(folder, (await states()).at(-1)!))
  const seen: number[] = []
  const video = await pipeline.generate({ ...base, resume: folder, onStep: ({ step }) => void seen.push(step) })
  expect(seen[0]).toBe(3)
  expect(video.warnings).toEqual([expect.objectContaining({ code: 'damaged-state' })])
  expect(bits(video.latents)).toEqual(bits((await pipeline.generate(base)).latents))
})

test.each<[string, GenerateOptions]>([
  ['seed', { seed: 4 }],
  ['numFrames', { numFrames: 80 }],
  ['prompt', { prompt: 'a blue circle' }],
  ['guidanceScale', { guidanceScale: 3 }],
  ['method', { method: 'full' }],
  ['scheduler', { scheduler: 'DDIMScheduler' }],
  ['fusion', { fusion: 'late' }],
  // Absent from the state.
  ['latents', { latents: { data: new Float32Array(4 * 20 * 16), shape: [4, 20, 4, 4] } }]
])('another %s is named', async (field, other) => {
  await interrupt(base, 2)
  await expect(pipeline.generate({ ...base, ...other, resume: folder })).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field } })
})

describe('what is said in another way', () => {
  /** Goes on from the state of one with the options of the other, both ways. */
  async function same(one: GenerateOptions, other: GenerateOptions, own = pipeline): Promise<void> {
    for (const [first, second] of [[one, other], [other, one]] as const) {
      const controller = new AbortController()
      const stop = ({ step }: { step: number }): void => (step === 1 ? controller.abort(new Error('killed')) : undefined)
      await expect(own.generate({ ...base, ...first, resume: folder, signal: controller.signal, onStep: stop })).rejects.toThrow('killed')
      const seen: number[] = []
      await own.generate({ ...base, ...second, resume: folder, onStep: ({ step }) => void seen.push(step) })
      expect(seen[0]).toBe(2)
      await rm(folder, { recursive: true })
    }
  }

  test('is the same: each option as it is without being said', async () => {
    const { options, latents } = await pipeline.generate({ ...base, resume: folder })
    expect(Object.keys(options)).toEqual(expect.arrayContaining(['stagger', 'globalTokenMemory', 'randomizedBlending', 'stepCache', 'fusion', 'scheduler', 'keyframeInterval', 'contextFrames', 'fps']))
    for (const [name, value] of Object.entries(options)) {
      expect(bits((await pipeline.generate({ ...base, [name]: value, resume: folder })).latents), name).toEqual(bits(latents))
    }
    expect(bits((await pipeline.generate({ ...options, resume: folder })).latents)).toEqual(bits(latents))
  })

  test.each<[GenerateOptions, GenerateOptions]>([
    [{}, { fusion: { from: 1, until: 0.4, weights: 'linear' } }],
    [{ fusion: 'late' }, { fusion: { until: 0, from: 0.4 } }],
    [{ stepCache: 'slow' }, { stepCache: 0.1 }],
    [{}, { prompt: [{ at: 2, prompt: base.prompt, ease: 3 }] }],
    [{ prompt: [{ at: 0, prompt: 'a red circle' }, { at: 1, prompt: 'a blue circle' }] }, { prompt: [{ at: { frame: 2 }, prompt: 'a red circle', ease: 1 }, { at: { frame: 16 }, prompt: 'a blue circle', ease: 0 }] }],
    [{}, { scheduler: 'FlowMatchEulerDiscreteScheduler' }],
    [{}, { scheduler: { _class_name: 'FlowMatchEulerDiscreteScheduler', _diffusers_version: '0.30.0', shift: 1, base_shift: 0.5, invert_sigmas: false } }],
    [{ scheduler: 'DDIMScheduler' }, { scheduler: { steps_offset: 0, _class_name: 'DDIMScheduler', beta_schedule: 'linear' } }]
  ])('is the same: %j and %j', same)

  test('is the same: the guidance of an anchor', async () => {
    await using streaming = await tinyPipeline({ addParts: ['cam', 'apm'] })
    await same({ method: 'streaming-t2v' }, { method: 'streaming-t2v', anchorGuidanceScale: 2, randomizedBlending: false, stagger: 0 }, streaming)
  })

  test.each<[string, GenerateOptions]>([
    ['scheduler', { scheduler: { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 2 } }],
    ['fusion', { fusion: { weights: 'raised-cosine' } }],
    ['stepCache', { stepCache: 0.1 }],
    ['stagger', { stagger: 1 }],
    ['prompt', { prompt: [{ at: 0, prompt: 'a red circle' }, { at: 1, prompt: 'a blue circle' }] }]
  ])('is another where it is another %s', async (field, other) => {
    await interrupt(base, 2)
    await expect(pipeline.generate({ ...base, ...other, resume: folder })).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field } })
  })
})

test('another video to go on from is named', async () => {
  const given = (value: number): GenerateOptions => ({ ...base, video: { latents: { data: new Float32Array(4 * 5 * 16).fill(value), shape: [4, 5, 4, 4] } } })
  await interrupt(given(0.5), 2)
  await expect(pipeline.generate({ ...given(0.25), resume: folder })).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'video' } })
  await expect(pipeline.generate({ ...base, video: { latents: 5 as never }, resume: folder })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining('video.latents') as string })
  const video = await pipeline.generate({ ...given(0.5), resume: folder })
  expect(bits(video.latents)).toEqual(bits((await pipeline.generate(given(0.5))).latents))
  await rm(folder, { recursive: true })
  await interrupt({ ...base, numFrames: 80, video }, 2)
  await expect(pipeline.generate({ ...base, numFrames: 80, video: { latents: video.latents }, resume: folder })).rejects.toMatchObject({ details: { field: 'video' } })
})

test('another model is named', async () => {
  await interrupt(base, 2)
  await using other = await tinyPipeline({ seed: 12 } as never)
  await expect(other.generate({ ...base, resume: folder })).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'model' } })
})
