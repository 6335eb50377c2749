// Engines: instruction sets, sharing, traces, handles.
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { Tensor, VideoPipeline } from '../../lib/index.js'
import { openCpuEngine, openEngine } from '../../lib/native/engine.js'
import { loadBinding } from '../../lib/native/load.js'
import { coresAvailable, memoryAvailable } from '../../lib/native/machine.js'
import { linkSignals } from '../../lib/native/signals.js'
import { compare, fixture, named, readTensors } from '../support/fixtures.js'

afterEach(() => {
  delete process.env['VIN_NATIVE_ISA']
  delete process.env['VIN_NATIVE_TRACE']
})

describe('instruction sets', () => {
  const available = loadBinding().cpuFeatures()

  test('each of this machine gives the same evaluation within 1e-4', async () => {
    const io = readTensors('vin-hybrid', 'io.safetensors')
    const options = { latents: named(io, 'latents'), timestep: 400, promptEmbeds: named(io, 'prompt_embeds') }
    const results = []
    for (const isa of available) {
      process.env['VIN_NATIVE_ISA'] = isa
      await using pipeline = await VideoPipeline.fromPretrained(fixture('vin-hybrid'), { device: 'cpu' })
      expect(pipeline.runtime.isa).toBe(isa)
      results.push(await pipeline.denoise(options))
    }
    for (const result of results) {
      const { difference, magnitude } = compare(result, results[0]!)
      expect(difference).toBeLessThanOrEqual(1e-4 * magnitude)
    }
  })

  test('one that the machine lacks, or that nobody knows, is a RangeError', () => {
    const lacking = ['portable', 'avx2', 'avx512', 'avx512-bf16', 'amx-bf16'].filter((isa) => !available.includes(isa))
    for (const isa of [...lacking, 'sse9']) {
      process.env['VIN_NATIVE_ISA'] = isa
      expect(() => openCpuEngine()).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('VIN_NATIVE_ISA') }))
    }
  })
})

test('VIN_NATIVE_TRACE writes a Chrome trace', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vin-trace-'))
  try {
    process.env['VIN_NATIVE_TRACE'] = join(folder, 'trace.json')
    const engine = openCpuEngine()
    const tensor = Tensor.from({ data: Float32Array.of(1, 2), shape: [2] }, engine)
    engine.native.op('copy', { y: { shape: [2] }, x: tensor.native })
    await engine.native.fence()
    tensor.dispose()
    await engine.release()
    // The closing bracket of the array format is optional: it comes when the last handle is gone.
    const text = readFileSync(join(folder, 'trace.json'), 'utf8').trimEnd()
    const events = JSON.parse(text.endsWith(']') ? text : `${text}]`) as unknown[]
    expect(events).toContainEqual(expect.objectContaining({ name: 'copy', ph: 'X', ts: expect.any(Number), dur: expect.any(Number), tid: expect.any(Number) }))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('VIN_NATIVE_TRACE replaces a trace of before and an empty file, and nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vin-trace-'))
  try {
    const file = join(folder, 'trace.json')
    process.env['VIN_NATIVE_TRACE'] = file
    for (const work of [true, false, true]) {
      const engine = openCpuEngine({ threads: 1 })
      if (work) {
        const tensor = Tensor.from({ data: Float32Array.of(1, 2), shape: [2] }, engine)
        engine.native.op('copy', { y: { shape: [2] }, x: tensor.native })
        await engine.native.fence()
        tensor.dispose()
      }
      await engine.release()
    }
    for (const text of ['{"name": "a project"}', '[\n  1, 2\n]', 'years of work', '[']) {
      writeFileSync(file, text)
      expect(() => openCpuEngine({ threads: 1 })).toThrow(expect.objectContaining({ code: 'ERR_VIN_DISK', message: expect.stringContaining(`for VIN_NATIVE_TRACE but ${file} holds something else`) as string }))
      expect(readFileSync(file, 'utf8')).toBe(text)
    }
    writeFileSync(file, '')
    await openCpuEngine({ threads: 1 }).release()
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('equal options share an engine; the last holder frees it', async () => {
  const [one, two, other] = [openCpuEngine({ threads: 1 }), await openEngine({ device: 'auto', threads: 1 }), openCpuEngine({ threads: 2 })]
  expect(one.native).toBe(two.native)
  expect(one.native).not.toBe(other.native)
  await one.release()
  await one.release()
  expect(await Tensor.from({ data: Float32Array.of(5), shape: [1] }, two).read()).toEqual({ data: Float32Array.of(5), shape: [1] })
  await two.release()
  await other.release()
})

test('a tensor is read as it was written, disposed twice, and refused afterwards', async () => {
  const data = Float32Array.of(1, -0, NaN, Infinity, 1e-40, 6)
  const tensor = Tensor.from({ data, shape: [2, 3] })
  expect(tensor).toMatchObject({ shape: [2, 3], dtype: 'float32' })
  expect('data' in tensor).toBe(false)
  expect((await tensor.read()).data).toEqual(data)
  tensor.dispose()
  tensor.dispose()
  await expect(tensor.read()).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
})

test('cores and memory are those of the cgroup', () => {
  expect(coresAvailable()).toBeGreaterThanOrEqual(1)
  expect(Number.isInteger(coresAvailable())).toBe(true)
  expect(memoryAvailable()).toBeGreaterThan(0)
})

test('linked signals abort together and let go of their sources', () => {
  const [one, two] = [new AbortController(), new AbortController()]
  const linked = linkSignals(one.signal, undefined, two.signal)
  two.abort('why')
  expect(linked.signal.reason).toBe('why')
  const later = linkSignals(one.signal)
  later.release()
  one.abort()
  expect(later.signal.aborted).toBe(false)
  expect(linkSignals(one.signal).signal.aborted).toBe(true)
})
