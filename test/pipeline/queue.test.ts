// Runs of one pipeline follow each other: who waits knows its place, and a full queue refuses.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, GenerationJob } from '../../lib/index.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
const options = { prompt: 'a red circle', numFrames: 16, seed: 3, numInferenceSteps: 1, outputType: 'latents' } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline({ queueLimit: 3 })
})
afterAll(() => pipeline.dispose())

/** A run that samples until it is let go. */
async function held(on: VideoPipeline): Promise<{ job: GenerationJob; go: () => void }> {
  let go = (): void => {}
  const until = new Promise<void>((resolve) => (go = resolve))
  let job: GenerationJob | undefined
  await new Promise<void>((begun) => (job = on.generate({ ...options, onStep: () => (begun(), until) })))
  return { job: job as GenerationJob, go }
}

async function placesOf(job: GenerationJob): Promise<number[]> {
  const places: number[] = []
  for await (const event of job) if (event.type === 'queued') places.push(event.position)
  return places
}

test('a run that waits says behind how many, again whenever that changes; one that does not wait says nothing', async () => {
  const first = await held(pipeline)
  const [second, third, fourth] = [pipeline.generate(options), pipeline.generate(options), pipeline.generate(options)]
  const places = [second, third, fourth].map(placesOf)
  third.cancel()
  await expect(places[1]).rejects.toMatchObject({ name: 'AbortError' })
  first.go()
  expect(await placesOf(first.job)).toEqual([])
  expect(await Promise.all([places[0], places[2]])).toEqual([[1], [3, 2, 1]])
})

test('a late observer is told the place of now, and after the start none', async () => {
  const first = await held(pipeline)
  const [, third] = [pipeline.generate(options), pipeline.generate(options)]
  const events = third[Symbol.asyncIterator]()
  expect((await events.next()).value).toEqual({ type: 'queued', position: 2 })
  first.go()
  await third
  const late = third[Symbol.asyncIterator]()
  expect((await late.next()).value).toMatchObject({ type: 'plan' })
})

describe('queueLimit', () => {
  test('one run more is ERR_VIN_QUEUE_FULL, and the others go on', async () => {
    const first = await held(pipeline)
    const waiting = Array.from({ length: 3 }, () => pipeline.generate(options))
    await expect(pipeline.generate(options)).rejects.toMatchObject({ code: 'ERR_VIN_QUEUE_FULL', details: { queueLimit: 3 }, message: 'Expected at most 3 runs to wait for this pipeline but so many wait already; try again later, or raise queueLimit' })
    waiting[0]!.cancel()
    await expect(waiting[0]).rejects.toMatchObject({ name: 'AbortError' })
    const instead = pipeline.generate(options)
    first.go()
    const results = await Promise.all([first.job, waiting[1], waiting[2], instead])
    for (const video of results) expect(bits(video!.latents)).toEqual(bits(results[0].latents))
  })

  test('0: none waits', async () => {
    await using own = await tinyPipeline({ queueLimit: 0 })
    const first = await held(own)
    await expect(own.generate(options)).rejects.toMatchObject({ code: 'ERR_VIN_QUEUE_FULL' })
    first.go()
    await first.job
    await own.generate(options)
  })

  test('is 100 by default', async () => {
    await using own = await tinyPipeline()
    const first = await held(own)
    const waiting = Array.from({ length: 100 }, () => own.generate(options))
    await expect(own.generate(options)).rejects.toMatchObject({ code: 'ERR_VIN_QUEUE_FULL', details: { queueLimit: 100 } })
    for (const job of waiting) job.cancel()
    first.go()
    await first.job
  })

  test.each([-1, 1.5, '3'])('%o is refused', async (queueLimit) => {
    await expect(tinyPipeline({ queueLimit: queueLimit as number })).rejects.toThrow('Expected an integer from 0 to 1e6 for queueLimit')
  })
})

test('thirty runs with one signal, and dispose(), warn of no listeners and leave none', async () => {
  const warnings: string[] = []
  const warn = (warning: Error): void => void warnings.push(warning.name)
  process.on('warning', warn)
  const controller = new AbortController()
  const { signal } = controller
  const counts = { added: 0, removed: 0 }
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)]
  signal.addEventListener = (...given: Parameters<typeof add>) => (counts.added++, add(...given))
  signal.removeEventListener = (...given: Parameters<typeof remove>) => (counts.removed++, remove(...given))
  try {
    await using own = await tinyPipeline()
    await Promise.all(Array.from({ length: 30 }, () => own.generate({ ...options, signal })))
    const first = await held(own)
    const waiting = Array.from({ length: 30 }, () => own.generate({ ...options, signal }))
    const ends = Promise.allSettled([first.job, ...waiting])
    await own.dispose()
    expect(await ends).toEqual(Array.from({ length: 31 }, () => ({ status: 'rejected', reason: expect.objectContaining({ code: 'ERR_VIN_DISPOSED' }) as Error })))
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('warning', warn)
  }
  expect(warnings).toEqual([])
  expect(counts.added).toBeGreaterThan(0)
  expect(counts.removed).toBe(counts.added)
})
