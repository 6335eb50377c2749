// Cancelling, failing, disposing: what a caller sees, and that the pipeline is usable at once.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { GenerateOptions, VideoPipeline } from '../../lib/index.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let wanted: Buffer
const options = { prompt: 'a red circle', numFrames: 128, seed: 3, numInferenceSteps: 6 } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
  wanted = bits((await pipeline.generate(options)).latents)
})
afterAll(() => pipeline.dispose())

const works = async (): Promise<void> => expect(bits((await pipeline.generate(options)).latents)).toEqual(wanted)

describe('abort', () => {
  test('before the start: no work', async () => {
    const reason = new Error('stop')
    let steps = 0
    await expect(pipeline.generate({ ...options, signal: AbortSignal.abort(reason), onStep: () => void steps++ })).rejects.toBe(reason)
    expect(steps).toBe(0)
  })

  test.each([0, 2, 5])('at step %i: rejects with the reason within 250 ms, and the pipeline works', async (at) => {
    const controller = new AbortController()
    const reason = new Error(`at ${at}`)
    let asked = 0
    const job = pipeline.generate({
      ...options,
      signal: controller.signal,
      onStep: ({ step }) => {
        if (step !== at) return
        asked = performance.now()
        controller.abort(reason)
      }
    })
    await expect(job).rejects.toBe(reason)
    expect(performance.now() - asked).toBeLessThan(250)
    await works()
  })

  test('without a hook, from a timer', async () => {
    const controller = new AbortController()
    const job = pipeline.generate({ ...options, numFrames: 512, numInferenceSteps: 200, signal: controller.signal })
    await new Promise((resolve) => setTimeout(resolve, 60))
    const asked = performance.now()
    controller.abort()
    await expect(job).rejects.toMatchObject({ name: 'AbortError' })
    expect(performance.now() - asked).toBeLessThan(250)
    await works()
  })

  test('while decoding: the iterator and the promise reject', async () => {
    const controller = new AbortController()
    const reason = new Error('in decode')
    const job = pipeline.generate({ ...options, signal: controller.signal })
    const reading = (async () => {
      for await (const event of job) if (event.type === 'decode') controller.abort(reason)
    })()
    await expect(reading).rejects.toBe(reason)
    await expect(job).rejects.toBe(reason)
    await works()
  })

  test('a finished video outlives the signal and the cancel() of its job; frames have a signal of their own', async () => {
    const controller = new AbortController()
    const job = pipeline.generate({ ...options, signal: controller.signal })
    const video = await job
    const frames = video.frames()
    expect((await frames.next()).value?.index).toBe(0)
    controller.abort(new Error('late'))
    job.cancel()
    let seen = 1
    for await (const { index } of frames) expect(index).toBe(seen++)
    expect(seen).toBe(options.numFrames)
    expect(await video.toBuffer('y4m')).toHaveLength(seen * (6 + 32 * 32 * 3) + 'YUV4MPEG2 W32 H32 F16:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\n'.length)
    await expect(video.frames({ signal: controller.signal }).next()).rejects.toThrow('late')
  })

  test('a video whose pipeline is gone says what is needed for its pixels, and still saves its latents', async () => {
    const own = await tinyPipeline()
    const video = await own.generate({ ...options, numFrames: 16 })
    await own.dispose()
    for (const read of [() => video.frames().next(), () => video.toBuffer('gif')]) {
      await expect(read()).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED', message: expect.stringContaining('save the frames before dispose()') as string })
    }
    expect((await video.toBuffer('safetensors')).length).toBeGreaterThan(4 * video.latents.data.length)
  })

  test('cancel() without a reason is an AbortError, and twice is fine', async () => {
    const job = pipeline.generate(options)
    job.cancel()
    job.cancel(new Error('second'))
    await expect(job).rejects.toMatchObject({ name: 'AbortError' })
    await works()
  })

  test('a hundred aborted runs leave no memory behind', async () => {
    const { native } = pipeline.engine
    const run = async (): Promise<void> => {
      const controller = new AbortController()
      const job = pipeline.generate({ ...options, numFrames: 64, signal: controller.signal, onStep: () => controller.abort(new Error('x')) })
      await expect(job).rejects.toThrow('x')
    }
    await run()
    await native.fence()
    const before = native.stats()
    for (let i = 0; i < 100; i++) await run()
    await native.fence()
    const after = native.stats()
    expect(after.handles).toBe(before.handles)
    expect(Math.abs(after.bytes - before.bytes)).toBeLessThan(2e6)
  })

  test('a run that is aborted while a step is computed keeps no tensor', async () => {
    const { native } = pipeline.engine
    const { handles } = native.stats()
    for (const after of [10, 60]) {
      const controller = new AbortController()
      const job = pipeline.generate({ ...options, numFrames: 64, numInferenceSteps: 100, signal: controller.signal })
      setTimeout(() => controller.abort(new Error('x')), after)
      await expect(job).rejects.toThrow('x')
    }
    await native.fence()
    expect(native.stats().handles).toBe(handles)
  })
})

describe('events', () => {
  test('leaving the loop early lets the run finish', async () => {
    const job = pipeline.generate(options)
    for await (const event of job) if (event.type === 'step') break
    expect(bits((await job).latents)).toEqual(wanted)
  })

  test('an iterator that is never pulled does not hold the run up', async () => {
    const job = pipeline.generate(options)
    const events = job[Symbol.asyncIterator]()
    expect((await events.next()).value).toMatchObject({ type: 'plan' })
    expect(bits((await job).latents)).toEqual(wanted)
  })

  test('a late observer still sees plan, frames and video', async () => {
    const job = pipeline.generate(options)
    await job
    const types: string[] = []
    for await (const { type } of job) types.push(type)
    expect(types[0]).toBe('plan')
    expect(types.at(-1)).toBe('done')
    expect(types.filter((type) => type === 'frames')).toHaveLength(8)
  })

  test('a failure is thrown in the iterator, and that counts as observed', async () => {
    const job = pipeline.generate({ ...options, numFrames: 0 })
    await expect((async () => { for await (const _ of job); })()).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })

  test('an unobserved failure is an unhandled rejection, an observed one is not', async () => {
    const unhandled: unknown[] = []
    const listeners = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.on('unhandledRejection', (reason) => unhandled.push(reason))
    try {
      pipeline.generate({ ...options, numFrames: 0 })
      const observed = pipeline.generate({ ...options, numFrames: -1 })
      observed.then(undefined, () => {})
      pipeline.generate(options).cancel()
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(unhandled).toEqual([expect.objectContaining({ message: expect.stringContaining('received 0') })])
    } finally {
      process.removeAllListeners('unhandledRejection')
      for (const listener of listeners) process.on('unhandledRejection', listener)
    }
  })
})

test('runs of one pipeline follow each other', async () => {
  const order: string[] = []
  const run = (name: string): PromiseLike<unknown> => pipeline.generate({ ...options, numFrames: 64, onStep: () => void order.push(name) })
  await Promise.all([run('a'), run('b'), run('c')])
  expect(order.join('')).toBe('a'.repeat(6) + 'b'.repeat(6) + 'c'.repeat(6))
})

test('dispose during a run aborts it', async () => {
  const own = await tinyPipeline()
  const job = own.generate({ ...options, numFrames: 512, numInferenceSteps: 200 })
  job.then(undefined, () => {})
  await new Promise((resolve) => setTimeout(resolve, 50))
  await own.dispose()
  await expect(job).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
})

test('Inf put into block 1 at step 3 is ERR_VIN_NONFINITE {step, block}', async () => {
  const own = await tinyPipeline()
  const engine = own.engine.native
  const job = own.generate({
    ...options,
    onStep: ({ step }) => {
      if (step !== 2) return
      engine.op('fill', { y: own.transformer.native.weight('blocks.1.mlp.fc2.bias'), value: Infinity })
    }
  })
  const error = await Promise.resolve(job).catch((reason: unknown) => reason)
  expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 3 } })
  // block: index of the state dict's prefix in execution order.
  expect((error as { details: { block: number } }).details.block).toBe(1)
  await own.dispose()
})
