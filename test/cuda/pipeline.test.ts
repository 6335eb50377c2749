// A pipeline on an asynchronous backend, through the public door: abort, dispose and a lost device while work is queued far ahead.
import { afterEach, describe, expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import { emulatedBackend } from '../support/addon.js'
import { counters, lateness, setEmulator, sleep } from '../support/emulator.js'
import { fixture, named, readTensors } from '../support/fixtures.js'

describe.runIf(emulatedBackend)('a pipeline on cuda-emu', () => {
  const promptEmbeds = named(readTensors('vin-hybrid', 'io.safetensors'), 'prompt_embeds')
  const options = { promptEmbeds, guidanceScale: 1, numFrames: 17, width: 16, height: 16, numInferenceSteps: 3, seed: 7, outputType: 'latents' as const, chunkFrames: 3, contextFrames: 1 }
  const open = (device: 'cpu' | 'cuda-emu') => VideoPipeline.fromPretrained(fixture('vin-hybrid'), { device, threads: 1 })
  const generate = async (pipeline: VideoPipeline) => [...(await pipeline.generate(options)).latents.data]
  afterEach(() => setEmulator({}))

  test('an abort is told within 250 ms, no timer waits, and the next run has the same bits as ever', async () => {
    setEmulator({ delay: 1000 })
    await using pipeline = await open('cuda-emu')
    const expected = await generate(pipeline)
    for (const after of [20, 150, 400]) {
      const controller = new AbortController(), reason = new Error('enough')
      const { result, late } = await lateness(async () => {
        const run = pipeline.generate({ ...options, numInferenceSteps: 50, signal: controller.signal }).catch((error: unknown) => error)
        await sleep(after)
        const start = performance.now()
        controller.abort(reason)
        expect(await run).toBe(reason)
        return performance.now() - start
      })
      expect(result).toBeLessThan(250)
      expect(late).toBeLessThan(100)
    }
    expect(await generate(pipeline)).toEqual(expected)
  })

  test('dispose ends a run within 250 ms and gives the memory of the device back', async () => {
    const before = counters().bytes
    setEmulator({ delay: 1000 })
    const pipeline = await open('cuda-emu')
    const run = pipeline.generate({ ...options, numInferenceSteps: 50 }).catch((error: unknown) => error)
    await sleep(200)
    const start = performance.now(), disposed = pipeline.dispose()
    expect(await run).toMatchObject({ code: 'ERR_VIN_DISPOSED' })
    expect(performance.now() - start).toBeLessThan(250)
    await disposed
    await expect.poll(() => counters().bytes).toBe(before)
  })

  test('a device that is lost is a typed error; the CPU goes on, and so does the device once it is back', async () => {
    const before = counters().bytes, launches = counters().launches
    const healthy = await open('cuda-emu'), expected = await generate(healthy)
    await healthy.dispose()
    const used = counters().launches - launches
    await expect.poll(() => counters().bytes).toBe(before)
    for (const fault of [`lost:${Math.floor(used / 2)}`, `launch:${used - 20}`]) {
      setEmulator({ fault })
      const pipeline = await open('cuda-emu')
      await expect(generate(pipeline), fault).rejects.toMatchObject({ code: 'ERR_VIN_DEVICE' })
      await expect(generate(pipeline), fault).rejects.toMatchObject({ code: 'ERR_VIN_DEVICE' })
      await expect.poll(() => counters().bytes).toBe(before)
      await using cpu = await open('cpu')
      expect(await generate(cpu)).toHaveLength(expected.length)
      // The one that was lost is still held.
      setEmulator({})
      await using again = await open('cuda-emu')
      expect(await generate(again)).toEqual(expected)
      await pipeline.dispose()
    }
  })
})
