// The engine over an asynchronous backend: nothing waits for the device but a fence, and what goes wrong there ends the engine and nothing else.
import { afterEach, describe, expect, test } from 'vitest'
import type { NativeEngine, NativeTensor } from '../../lib/native/binding.js'
import { binding, emulatedBackend } from '../support/addon.js'
import { counters, executors, lateness, openEmulated, sleep, type Emulated } from '../support/emulator.js'

describe.runIf(emulatedBackend)('an engine of an asynchronous backend', () => {
  const engines: NativeEngine[] = [], handles: NativeTensor[] = []
  const keep = <T extends NativeTensor>(handle: T): T => {
    handles.push(handle)
    return handle
  }
  const open = (emulated: Emulated = {}, device?: string, memoryBudget?: number): NativeEngine => {
    engines.push(openEmulated(emulated, device, memoryBudget))
    return engines.at(-1)!
  }
  // The device closes when its last engine does, which is when the last handle has gone.
  const close = async (): Promise<void> => {
    for (const handle of handles.splice(0)) handle.dispose()
    for (const engine of engines.splice(0)) await engine.dispose()
    await expect.poll(() => binding().memory().engines).toBe(0)
  }
  afterEach(close)

  const filled = (engine: NativeEngine, shape: number[], value: number) => keep(engine.op('fill', { y: { shape }, value })['y']!)
  const sum = (engine: NativeEngine, a: NativeTensor, b: NativeTensor, times = 1) => keep(engine.op('add', { y: { shape: a.shape }, a, b }, times)['y']!)
  const values = async (tensor: NativeTensor) => [...(await tensor.read()).data]

  test('a handle is ready when the device has done the work, and the thread that queues has not waited', async () => {
    const engine = open({ delay: 2000 })
    const x = filled(engine, [4], 1)
    await engine.fence()
    const { waits } = counters(), start = performance.now()
    let y = x
    for (let i = 0; i < 50; i++) y = sum(engine, y, x)
    const { result, late } = await lateness(async () => {
      await y.ready()
      return performance.now() - start
    })
    expect(result).toBeGreaterThan(50 * 2)
    expect(late).toBeLessThan(50)
    expect(await values(y)).toEqual([51, 51, 51, 51])
    expect(counters().waits).toBe(waits)
    expect(engine.stats().waits).toBe(0)
  })

  test('at most 128 ops are ahead of the device', async () => {
    const engine = open({ delay: 1000 })
    const x = filled(engine, [1], 1)
    await engine.fence()
    const { launches } = counters(), start = performance.now()
    const one = sum(engine, x, x, 500)
    await sleep(60)
    const done = (performance.now() - start) / 1
    expect(counters().launches - launches).toBeLessThanOrEqual(128 + done)
    await one.ready()
    const many = counters().launches, again = performance.now()
    for (let i = 0; i < 500; i++) sum(engine, x, x)
    await sleep(60)
    expect(counters().launches - many).toBeLessThanOrEqual(128 + (performance.now() - again))
    await engine.fence()
    expect(counters().launches - many).toBe(500)
  })

  test('every executor gives the same bits', async () => {
    const run = async (executor: string) => {
      const engine = open({ executor })
      const shape = [6, 5], x = keep(engine.upload(Float32Array.from({ length: 30 }, (_, i) => Math.sin(i)), shape))
      let y = x
      for (let i = 0; i < 40; i++) {
        const z = engine.op('add', { y: { shape }, a: y, b: x })['y']!
        y = engine.op('multiply', { y: { shape }, a: z, b: keep(engine.upload(Float32Array.from({ length: 30 }, () => Math.cos(i)), shape)) })['y']!
        keep(y)
        z.dispose()
        // A view that is not dense is read through a tensor that goes back while the copy is in flight.
        if (i % 10 === 0) void keep(engine.slice(y, 1, 1, 3)).read()
      }
      const result = [await values(y), await values(keep(engine.slice(y, 1, 1, 3)))]
      await close()
      return result
    }
    const expected = await run('fifo')
    for (const executor of executors) expect(await run(executor), executor).toEqual(expected)
  })

  test('what JavaScript gives back is freed on another thread, behind what uses it', async () => {
    const engine = open({ delay: 20_000 })
    const mib = 1 << 18, big = engine.op('fill', { y: { shape: [70, mib] }, value: 1 })['y']!
    await big.ready()
    const { bytes } = counters()
    const y = keep(engine.op('copy', { y: { shape: [mib] }, x: keep(engine.reshape(keep(engine.slice(big, 0, 69, 70)), [mib])) })['y']!)
    const start = performance.now()
    for (const each of [big, ...handles.slice(-3, -1)]) each.dispose()
    expect(performance.now() - start).toBeLessThan(15)
    expect((await values(y)).slice(0, 3)).toEqual([1, 1, 1])
    await expect.poll(() => counters().bytes).toBeLessThanOrEqual(bytes - 69 * 4 * mib)
  })

  test('an error of the device fails all that is queued alike, frees everything, and the next engine works', async () => {
    const before = counters().bytes
    for (const [fault, text] of [['launch:3', /add_kernel faults, as was asked for/], ['lost:3', /the device is lost, as was asked for/]] as const) {
      const engine = open({ fault })
      const x = filled(engine, [4], 1), first = sum(engine, x, x), second = sum(engine, first, x), third = sum(engine, second, x), other = sum(engine, x, x)
      const errors = await Promise.all([second, third, other].map((each) => each.ready().catch((error: unknown) => error)))
      for (const error of errors) expect(error, fault).toMatchObject({ code: 'ERR_VIN_DEVICE', message: expect.stringMatching(text) })
      await expect(keep(engine.upload(Float32Array.of(1), [1])).ready()).rejects.toMatchObject({ code: 'ERR_VIN_DEVICE', message: expect.stringMatching(text) })
      await expect(engine.fence()).rejects.toMatchObject({ code: 'ERR_VIN_DEVICE' })
      expect(engine.stats().lost).toBe(true)
      // Its handles are still held.
      await expect.poll(() => counters().bytes).toBe(before)
      const next = open()
      expect(await values(sum(next, filled(next, [2], 1), filled(next, [2], 2)))).toEqual([3, 3])
      expect(next.stats().lost).toBe(false)
      await close()
    }
  })

  test('an allocation that fails names what was asked and what is free, and the engine goes on', async () => {
    const engine = open({ memory: 1 << 20 })
    const x = filled(engine, [1024], 1)
    await x.ready()
    await expect(filled(engine, [1 << 18], 1).ready()).rejects.toMatchObject({ code: 'ERR_VIN_OUT_OF_MEMORY', details: { asked: 1 << 20, free: (1 << 20) - 4096 } })
    expect(await values(keep(engine.slice(sum(engine, x, x), 0, 0, 2)))).toEqual([2, 2])
    // Kept blocks make room: 512 KiB, then two of 320.
    const half = engine.op('fill', { y: { shape: [1 << 17] }, value: 1 })['y']!
    await half.ready()
    half.dispose()
    await sleep(20)
    const larger = [filled(engine, [80 << 10], 1), filled(engine, [80 << 10], 2)]
    for (const each of larger) await each.ready()
  })

  test('80 % of what is free on the device may be taken, where nothing else was said', async () => {
    const engine = open({ memory: 1 << 20 }, undefined, 0), budget = Math.floor((1 << 20) / 5) * 4
    await filled(engine, [(700 << 10) / 4], 1).ready()
    await expect(filled(engine, [(200 << 10) / 4], 1).ready()).rejects.toMatchObject({ code: 'ERR_VIN_OUT_OF_MEMORY', details: { asked: 200 << 10, free: budget - (700 << 10) } })
    await filled(engine, [(100 << 10) / 4], 1).ready()
  })

  test('dispose gives all memory of the device back', async () => {
    const before = counters().bytes
    const engine = open({ executor: 'last-moment' })
    const x = filled(engine, [1000], 1)
    await sum(engine, x, x, 100).ready()
    expect(counters().bytes).toBeGreaterThan(before)
    for (const handle of handles.splice(0)) handle.dispose()
    await engine.dispose()
    await expect.poll(() => counters().bytes).toBe(before)
  })

  test('device N is the one that opens', async () => {
    const engine = open({ memory: 1 << 20 }, 'cuda-emu:1')
    const x = filled(engine, [4], 1)
    expect(await values(sum(engine, x, x))).toEqual([2, 2, 2, 2])
    const other = open({ fault: 'launch:1' })
    await expect(filled(other, [4], 1).ready()).rejects.toMatchObject({ code: 'ERR_VIN_DEVICE' })
    expect(await values(sum(engine, x, x))).toEqual([2, 2, 2, 2])
    expect(() => open({}, 'cuda-emu:2')).toThrow(/Expected one of the 2 CUDA devices, which count from 0, but received 2/)
  })
})
