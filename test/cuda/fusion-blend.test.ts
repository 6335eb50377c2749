// The CUDA backend's first op, on the emulated device, against the CPU's bits.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import fc from 'fast-check'
import type { NativeEngine, NativeTensor } from '../../lib/native/binding.js'
import { binding, emulatedBackend } from '../support/addon.js'

describe.runIf(emulatedBackend)('fusion_blend on cuda-emu', () => {
  const engines: NativeEngine[] = []
  const open = (device: string): NativeEngine => {
    const engine = binding().createEngine({ device, threads: 1, ...(device === 'cpu' ? {} : { backendPath: emulatedBackend! }) })
    engines.push(engine)
    return engine
  }
  let cpu: NativeEngine, emulated: NativeEngine
  beforeAll(() => {
    cpu = open('cpu')
    emulated = open('cuda-emu')
  })
  afterAll(async () => {
    for (const engine of engines) await engine.dispose()
  })

  const numbers = (count: number, seed: number) => Float32Array.from({ length: count }, (_, i) => Math.fround(Math.sin(seed + i * 12.9898) * 10 ** ((i % 7) - 3)))
  const bits = (data: ArrayLike<number>) => [...new Uint32Array(Float32Array.from(data).buffer)]
  const size = (shape: number[]) => shape.reduce((a, b) => a * b, 1)

  /** Frames [begin, begin + F) of two longer clips: views whose channels are not adjacent. */
  const blend = async (engine: NativeEngine, [C, F, H, W]: number[], begin: number): Promise<number[]> => {
    const whole = [C!, F! + begin + 1, H!, W!]
    const view = (seed: number): NativeTensor => engine.slice(engine.upload(numbers(size(whole), seed), whole), 1, begin, begin + F!)
    const { y } = engine.op('fusion_blend', { y: { shape: [C!, F!, H!, W!] }, earlier: view(1), later: view(2) })
    return bits((await y!.read()).data)
  }

  test.each([
    [[4, 12, 24, 40], 0],   // the published overlap
    [[4, 12, 24, 40], 3],
    [[3, 5, 7, 1], 1],
    [[1, 1, 1, 1], 0],
    [[2, 3, 1, 257], 2],
    [[2, 3, 0, 5], 0]
  ])('gives the bits of the CPU for %j from frame %i on', async (shape, begin) => {
    const expected = await blend(cpu, shape, begin)
    expect(expected).toHaveLength(size(shape))
    expect(await blend(emulated, shape, begin)).toEqual(expected)
  })

  test('gives the bits of the CPU for any shape', async () => {
    const axis = fc.integer({ min: 1, max: 9 })
    await fc.assert(
      fc.asyncProperty(fc.tuple(axis, axis, axis, axis), fc.integer({ min: 0, max: 3 }), async (shape, begin) => {
        expect(await blend(emulated, shape, begin)).toEqual(await blend(cpu, shape, begin))
      }),
      { numRuns: 40 }
    )
  })

  test('is ((F − k) a + k b) / F', async () => {
    const [F, plane] = [4, 6]
    const a = numbers(F * plane, 5), b = numbers(F * plane, 6)
    const { y } = emulated.op('fusion_blend', { y: { shape: [1, F, 2, 3] }, earlier: emulated.upload(a, [1, F, 2, 3]), later: emulated.upload(b, [1, F, 2, 3]) })
    const expected = Array.from(a, (value, i) => {
      const k = Math.floor(i / plane)
      return Math.fround(((F - k) * value + k * b[i]!) / F)
    })
    expect([...(await y!.read()).data]).toEqual(expected)
  })

  test('NaN and infinity arrive where the CPU has them', async () => {
    const shape = [1, 2, 1, 3]
    const run = async (engine: NativeEngine) => {
      const a = engine.upload(Float32Array.of(NaN, Infinity, 1, NaN, -Infinity, 1), shape), b = engine.upload(Float32Array.of(1, 1, 1, 1, 1, Infinity), shape)
      return [...(await engine.op('fusion_blend', { y: { shape }, earlier: a, later: b }).y!.read()).data]
    }
    const result = await run(emulated)
    expect(result[0]).toBeNaN()
    expect(result.slice(1, 2)).toEqual([Infinity])
    expect(result).toEqual(await run(cpu))
  })

  test('what a launcher refuses is named, and the next op runs', async () => {
    const x = emulated.upload(numbers(4, 1), [4])
    const failing = async () => emulated.op('fusion_blend', { y: { shape: [4] }, earlier: x, later: x }).y!.read()
    await expect(failing()).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('fusion_blend: expected y f32 [?, ?, ?, ?]') })
    const shape = [1, 1, 1, 4]
    const again = emulated.op('fusion_blend', { y: { shape }, earlier: emulated.reshape(x, shape), later: emulated.reshape(x, shape) })
    expect([...(await again.y!.read()).data]).toEqual([...numbers(4, 1)])
  })
})
