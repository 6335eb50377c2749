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

test('another model is named', async () => {
  await interrupt(base, 2)
  await using other = await tinyPipeline({ seed: 12 } as never)
  await expect(other.generate({ ...base, resume: folder })).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'model' } })
})
