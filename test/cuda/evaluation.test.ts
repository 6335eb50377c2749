// Whole evaluations over an asynchronous backend: what they ask of the device once all is warm, and how their chunks run at once.
import { afterEach, describe, expect, test } from 'vitest'
import type { EvaluationRequest, NativeCancel, NativeEngine, NativeTransformer } from '../../lib/native/binding.js'
import { binding, emulatedBackend } from '../support/addon.js'
import { counters, executors, lateness, openEmulated, sleep, type Emulated } from '../support/emulator.js'
import { stirredTransformer, tinyTransformer } from '../support/models.js'

const { in_channels: C, caption_channels: D } = tinyTransformer
const values = (length: number, seed: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(seed + i * 0.7))
const frames = 12, chunks = [0, 3, 6, 9].map((start) => ({ first: Math.max(0, start - 1), start, end: start + 3 }))

interface Setup { engine: NativeEngine; transformer: NativeTransformer; request: EvaluationRequest }

describe.runIf(emulatedBackend)('an evaluation on an asynchronous backend', () => {
  const made: { dispose(): unknown }[] = [], engines: NativeEngine[] = []
  const keep = <T extends { dispose(): unknown }>(one: T): T => {
    made.push(one)
    return one
  }
  const setup = async (emulated: Emulated | undefined): Promise<Setup> => {
    const engine = emulated === undefined ? binding().createEngine({ device: 'cpu', threads: 1 }) : openEmulated(emulated)
    engines.push(engine)
    const transformer = keep(await stirredTransformer(engine, tinyTransformer, 1n))
    const request = {
      latents: keep(engine.upload(values(C * frames * 4, 1), [C, frames, 2, 2])), timestep: 500, text: keep(engine.upload(values(5 * D, 2), [5, D])),
      negativeText: keep(engine.upload(values(3 * D, 3), [3, D])), guidanceScale: 2, fps: 16, height: 16, width: 16, chunks, keyframes: [0, 4, 8], fuse: true
    }
    await engine.fence()
    return { engine, transformer, request }
  }
  const close = async (): Promise<void> => {
    for (const each of made.splice(0)) each.dispose()
    for (const engine of engines.splice(0)) await engine.dispose()
    await expect.poll(() => binding().memory().engines).toBe(0)
  }
  afterEach(close)
  const evaluate = async ({ transformer, request }: Setup, change: Partial<EvaluationRequest> = {}) => {
    const eps = transformer.denoise({ ...request, ...change })
    try {
      return [...(await eps.read()).data]
    } finally {
      eps.dispose()
    }
  }

  test('makes no allocation, no plan and one upload once all is warm, and nothing but the fence waits', async () => {
    const one = await setup({})
    await evaluate(one)
    await evaluate(one, { timestep: 480 })
    const [before, stats] = [counters(), one.engine.stats()]
    for (let step = 0; step < 5; step++) await evaluate(one, { timestep: 400 - step })
    const [after, then] = [counters(), one.engine.stats()]
    expect(after.allocations).toBe(before.allocations)
    expect(after.waits).toBe(before.waits)
    expect(after.uploads - before.uploads).toBe(5)
    expect(then.dryRuns).toBe(stats.dryRuns)
    expect(then.allocations).toBe(stats.allocations)
    expect(then.waits).toBe(0)
    await evaluate(one, { timestep: 400 })
    expect(counters().uploads).toBe(after.uploads)
  })

  test('is what the CPU computes, bit for bit the same under every executor, and chunks are ready on min(streams, tasks) streams at once', async () => {
    const cpu = await setup(undefined)
    const expected = await evaluate(cpu), masked = { negativeText: undefined, frameMask: [1, 1, 1, ...Array<number>(frames - 3).fill(0)] }
    await close()
    let first: number[] | undefined
    for (const executor of executors) {
      const one = await setup({ executor })
      const found = await evaluate(one)
      expect(counters().readyStreams, executor).toBe(4)
      first ??= found
      expect(found, executor).toEqual(first)
      expect(await evaluate(one, { chunksInFlight: 1 }), executor).toEqual(first)
      await close()
    }
    found(first!, expected)
    for (const [change, streams] of [[{ chunksInFlight: 3 }, 3], [{ ...masked }, 1]] as const) {
      const one = await setup({})
      await evaluate(one, change)
      expect(counters().readyStreams).toBe(streams)
      await close()
    }
  })
  const found = (values: number[], expected: number[]): void => {
    const scale = Math.max(...expected.map(Math.abs))
    for (const [i, value] of values.entries()) expect(Math.abs(value - expected[i]!) / scale, `element ${i}`).toBeLessThan(1e-5)
  }

  test('where memory is short fewer chunks run at once, with the same bits', async () => {
    const constants = 256 << 10, one = await setup({ executor: 'lifo' }), before = counters().bytes
    const expected = await evaluate(one), arena = counters().bytes - before - constants
    await close()
    const short = await setup({ executor: 'lifo', memory: before + constants + Math.floor(arena * 0.8) })
    expect(await evaluate(short)).toEqual(expected)
    expect(counters().readyStreams).toBe(2)
    await close()
    const shorter = await setup({ executor: 'lifo', memory: before + constants + Math.floor(arena * 0.1) })
    await expect(evaluate(shorter)).rejects.toMatchObject({ code: 'ERR_VIN_OUT_OF_MEMORY' })
  })

  // `starve` runs what a stream of a task holds before what the engine's own does; at the `last-moment` only what is waited for runs. The evaluation before has uploaded
  // the constants, for which tasks wait too, and has left other values in all memory.
  test.each(['starve', 'last-moment'])('a wait between streams that is dropped shows, under %s', async (executor) => {
    const run = async (fault?: string) => {
      const one = await setup({ executor, ...(fault === undefined ? {} : { fault }) })
      await evaluate(one, { timestep: 20, chunksInFlight: 2 })
      const before = counters().streamWaits, result = await evaluate(one, { chunksInFlight: 2 }).catch((error: unknown) => error)
      const waits = counters().streamWaits
      await close()
      return { result, before, waits }
    }
    const right = await run()
    expect(right.waits - right.before).toBe(4)
    for (const wait of executor === 'starve' ? [1, 2] : [3, 4]) expect((await run(`wait:${right.before + wait}`)).result, `wait ${wait}`).not.toEqual(right.result)
  })

  test('a NaN found on the device fails the evaluation and what was queued with it', async () => {
    const { engine, transformer, request } = await setup({})
    const latents = keep(engine.upload(values(C * frames * 4, 1).fill(NaN, 0, 1), [C, frames, 2, 2]))
    const eps = keep(transformer.denoise({ ...request, latents }))
    const next = keep(engine.op('add', { y: { shape: eps.shape }, a: eps, b: eps })['y']!)
    await expect(next.ready()).rejects.toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { name: expect.any(String) } })
    await expect(eps.ready()).rejects.toMatchObject({ code: 'ERR_VIN_NONFINITE' })
    expect(await evaluate({ engine, transformer, request })).toHaveLength(C * frames * 4)
  })

  test('an abort is told within 250 ms while the device is slow, no timer waits, and the next evaluation runs', async () => {
    const one = await setup({ delay: 5000 })
    const cancel: NativeCancel = one.engine.createCancel()
    const { late, result } = await lateness(async () => {
      const eps = keep(one.transformer.denoise({ ...one.request, cancel })), ready = eps.ready().catch((error: unknown) => error)
      await sleep(100)
      const start = performance.now()
      cancel.cancel()
      const error = await ready
      return { error, told: performance.now() - start }
    })
    expect(result.error).toMatchObject({ name: 'AbortError' })
    expect(result.told).toBeLessThan(250)
    expect(late).toBeLessThan(100)
    expect(await keep(one.engine.op('fill', { y: { shape: [1] }, value: 7 })['y']!).read()).toMatchObject({ data: Float32Array.of(7) })
  })

  test('a device that fails at any launch or allocation leaves a typed error and no memory', async () => {
    const before = counters().bytes, first = counters().launches
    const healthy = await setup({}), ready = counters().launches
    await evaluate(healthy)
    const last = counters().launches - first
    await close()
    for (const launch of [1, ready - first + 1, Math.floor((ready - first + last) / 2), last]) {
      for (const fault of ['launch', 'lost']) {
        await expect(setup({ fault: `${fault}:${launch}` }).then((one) => evaluate(one)), `${fault} ${launch}`).rejects.toMatchObject({ code: 'ERR_VIN_DEVICE' })
        await expect.poll(() => counters().bytes).toBe(before)
        await close()
      }
    }
    for (let allocation = 1; ; allocation++) {
      const outcome = await setup({ fault: `allocation:${allocation}` }).then((one) => evaluate(one)).catch((error: unknown) => error)
      await close()
      await expect.poll(() => counters().bytes).toBe(before)
      if (Array.isArray(outcome)) break
      expect(outcome, `allocation ${allocation}`).toMatchObject({ code: 'ERR_VIN_OUT_OF_MEMORY' })
      expect(allocation).toBeLessThan(50)
    }
  })
})
