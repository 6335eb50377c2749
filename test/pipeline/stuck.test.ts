// Callbacks that never settle: the signal, cancel() and dispose() end the run all the same, and the next one begins.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Frame, GenerateOptions, GenerationJob, VideoPipeline } from '../../lib/index.js'
import { Tensor } from '../../lib/index.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'
import { syntheticVideo } from '../video/support.js'

let pipeline: VideoPipeline
let wanted: Buffer
let folder: string
const options = { prompt: 'a red circle', numFrames: 32, seed: 3, numInferenceSteps: 3 } satisfies GenerateOptions
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-stuck-'))
  pipeline = await tinyPipeline()
  wanted = bits((await pipeline.generate(options)).latents)
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true })
})

let reached: () => void
let begun: Promise<void>
beforeEach(() => {
  begun = new Promise((resolve) => (reached = resolve))
})

const never = (): Promise<never> => {
  reached()
  return new Promise(() => {})
}
const frame = { data: new Uint8Array(32 * 32 * 3), width: 32, height: 32, index: 0 }

/** What never settles, by where it is given. */
const stuck: [string, (on: VideoPipeline, signal?: AbortSignal) => GenerationJob][] = [
  ['onStep', (on, signal) => on.generate({ ...options, signal, onStep: never })],
  ['onPreview', (on, signal) => on.generate({ ...options, signal, onPreview: never })],
  [
    'textEncoder.encode',
    (on, signal) => {
      const { textEncoder } = on
      on.textEncoder = { encode: never }
      const job = on.generate({ ...options, signal })
      void begun.then(() => (on.textEncoder = textEncoder))
      return job
    }
  ],
  ['the first frame of video', (on, signal) => on.generate({ ...options, signal, video: { [Symbol.asyncIterator]: () => ({ next: never }) } })],
  [
    'a later frame of video, whose return() does not settle either',
    (on, signal) => {
      let asked = 0
      const next = async (): Promise<IteratorResult<Frame>> => (asked++ < 3 ? { done: false, value: frame } : never())
      return on.generate({ ...options, signal, video: { [Symbol.asyncIterator]: () => ({ next, return: () => new Promise(() => {}) }) } })
    }
  ]
]

describe.each(stuck)('%s', (_name, run) => {
  test('cancel() ends the run, and the next one follows', async () => {
    const job = run(pipeline)
    await begun
    const next = pipeline.generate(options)
    const reason = new Error('enough')
    job.cancel(reason)
    await expect(job).rejects.toBe(reason)
    expect(bits((await next).latents)).toEqual(wanted)
  })

  test("the caller's signal ends the run", async () => {
    const controller = new AbortController()
    const job = run(pipeline, controller.signal)
    await begun
    controller.abort('bye')
    await expect(job).rejects.toBe('bye')
  })

  test('dispose() ends the run and settles', async () => {
    const own = await tinyPipeline()
    const job = run(own)
    job.catch(() => {})
    await begun
    await own.dispose()
    await expect(job).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
  })
})

test('a hook that fails after the abort is nobody’s failure', async () => {
  const controller = new AbortController()
  let fail = (_error: Error): void => {}
  const job = pipeline.generate({ ...options, signal: controller.signal, onStep: () => new Promise((_resolve, reject) => { fail = reject; controller.abort('bye') }) })
  await expect(job).rejects.toBe('bye')
  // An unhandled rejection would fail this file.
  fail(new Error('late'))
  await new Promise((resolve) => setTimeout(resolve, 20))
})

test.each(['frames', 'save', 'toBuffer'] as const)('frames of a source that does not answer: the signal ends %s', async (call) => {
  const video = syntheticVideo({ numFrames: 4, before: (index) => (index === 2 ? never() : undefined) })
  const controller = new AbortController()
  const { signal } = controller
  void begun.then(() => controller.abort('bye'))
  const read = async (): Promise<void> => { for await (const _ of video.frames({ signal })); }
  const work = { frames: read, save: () => video.save(join(folder, 'x.y4m'), { signal }), toBuffer: () => video.toBuffer('apng', { signal }) }[call]
  await expect(work()).rejects.toBe('bye')
  expect(await readdir(folder)).toEqual([])
})

test('work on another engine that does not end is not waited for', async () => {
  const other = await tinyPipeline({ threads: 1 })
  const handle = Tensor.from({ data: new Float32Array(4 * 10 * 4 * 4), shape: [4, 10, 4, 4] }, other.engine)
  const controller = new AbortController()
  const busy = other.generate({ ...options, numFrames: 2048, numInferenceSteps: 200, onStep: () => {} })
  busy.catch(() => {})
  const copy = pipeline.denoise({ latents: handle, timestep: 10, promptEmbeds: { data: new Float32Array(32), shape: [1, 32] }, signal: controller.signal })
  controller.abort('bye')
  await expect(copy).rejects.toBe('bye')
  await other.dispose()
})

const refused = { code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('outside the hooks of the same pipeline') as string }

describe('generate in a hook of the same pipeline', () => {
  test.each<[string, (inner: () => GenerationJob) => unknown]>([
    ['awaited', async (inner) => void (await inner())],
    ['returned', (inner) => inner()],
    ['inside Promise.all', async (inner) => void (await Promise.all([inner(), inner()]))],
    ['iterated', async (inner) => { for await (const _ of inner()); }]
  ])('%s is refused, in a sentence', async (_name, wait) => {
    await expect(pipeline.generate({ ...options, onStep: () => wait(() => pipeline.generate(options)) as never })).rejects.toMatchObject(refused)
    expect(bits((await pipeline.generate(options)).latents)).toEqual(wanted)
  })

  test('so is a job that was begun before, the hook’s own job, and one behind another pipeline', async () => {
    let later: GenerationJob | undefined
    const first = pipeline.generate({ ...options, onStep: async () => void (await later) })
    later = pipeline.generate(options)
    await expect(first).rejects.toMatchObject(refused)
    await expect(later).rejects.toMatchObject(refused)
    const own: GenerationJob = pipeline.generate({ ...options, onStep: async () => void (await own) })
    await expect(own).rejects.toMatchObject(refused)
    await using other = await tinyPipeline({ threads: 1 })
    const around = pipeline.generate({ ...options, onStep: async () => void (await other.generate({ ...options, onStep: async () => void (await pipeline.generate(options)) })) })
    await expect(around).rejects.toMatchObject(refused)
  })

  test('one that nobody waits for in the hook runs afterwards, and so does one of another pipeline inside it', async () => {
    const jobs: GenerationJob[] = []
    await pipeline.generate({ ...options, onStep: async ({ step }) => { if (step === 2) jobs.push(pipeline.generate(options)) } })
    expect(bits((await jobs[0]!).latents)).toEqual(wanted)
    await using other = await tinyPipeline({ threads: 1 })
    const inner: Buffer[] = []
    await pipeline.generate({ ...options, onStep: async () => void inner.push(bits((await other.generate(options)).latents)) })
    expect(inner).toEqual([wanted, wanted, wanted])
  })

  test('what a hook has set going and not waited for may wait', async () => {
    const waiting: Promise<Buffer>[] = []
    await pipeline.generate({ ...options, onStep: ({ step }) => { if (step === 0) waiting.push((async () => bits((await pipeline.generate(options)).latents))()) } })
    expect(await waiting[0]).toEqual(wanted)
  })

  test('dispose() awaited there aborts the run and settles', async () => {
    const own = await tinyPipeline()
    let job: GenerationJob | undefined
    await new Promise<void>((resolve) => {
      job = own.generate({ ...options, onStep: () => own.dispose().then(resolve) })
      job.catch(() => {})
    })
    await expect(job).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
  })
})

test('frames of a source that fills one buffer again and again are the frames that it showed', async () => {
  const shown = (fresh: boolean) => async function* (): AsyncGenerator<Frame> {
    const data = new Uint8Array(32 * 32 * 3)
    for (let index = 0; index < 16; index++) {
      const own = fresh ? new Uint8Array(data.length) : data
      own.fill(index * 16)
      yield { index, data: own, width: 32, height: 32 }
    }
  }
  const run = async (fresh: boolean): Promise<Buffer> => bits((await pipeline.generate({ ...options, outputType: 'latents', video: shown(fresh)() })).latents)
  expect(await run(false)).toEqual(await run(true))
})
