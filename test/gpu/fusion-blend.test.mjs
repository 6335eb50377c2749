// The CUDA plug-in on a real GPU against the bits of the CPU (npm run test:gpu). Plain node:test: these run where nothing can be installed.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { after, test } from 'node:test'

const { createEngine } = createRequire(import.meta.url)('../../build/Release/vin-native.node')
const cpu = createEngine({ device: 'cpu', threads: 2 })
const gpu = createEngine({ device: 'cuda', threads: 1, backendPath: process.env.VIN_GPU_BACKEND })
after(async () => {
  await cpu.dispose()
  await gpu.dispose()
})

const size = (shape) => shape.reduce((a, b) => a * b, 1)
const numbers = (count, seed) => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i * 12.9898) * 10 ** ((i % 7) - 3))
const bits = async (tensor) => {
  const { data } = await tensor.read()
  return new Uint32Array(data.buffer, data.byteOffset, data.length)
}

/** Frames [begin, begin + F) of two longer clips: views whose channels are not adjacent. */
function blend(engine, [C, F, H, W], begin) {
  const whole = [C, F + begin + 1, H, W]
  const view = (seed) => engine.slice(engine.upload(numbers(size(whole), seed), whole), 1, begin, begin + F)
  return engine.op('fusion_blend', { y: { shape: [C, F, H, W] }, earlier: view(1), later: view(2) }).y
}

// The published overlap; odd and small shapes; no element; more elements than one grid of 65,535 blocks of 256 threads reaches.
for (const [shape, begin] of [
  [[4, 12, 24, 40], 0],
  [[4, 12, 24, 40], 3],
  [[3, 5, 7, 1], 1],
  [[1, 1, 1, 1], 0],
  [[2, 3, 1, 257], 2],
  [[2, 3, 0, 5], 0],
  [[4, 17, 500, 500], 1]
]) {
  test(`fusion_blend of ${shape.join(' × ')} from frame ${begin} on has the bits of the CPU`, async () => {
    const [expected, found] = [await bits(blend(cpu, shape, begin)), await bits(blend(gpu, shape, begin))]
    assert.equal(expected.length, size(shape))
    assert.ok(Buffer.from(expected.buffer, expected.byteOffset, expected.byteLength).equals(Buffer.from(found.buffer, found.byteOffset, found.byteLength)))
  })
}

test('NaN and infinity arrive where the CPU has them', async () => {
  const shape = [1, 2, 1, 3]
  const run = async (engine) => {
    const earlier = engine.upload(Float32Array.of(NaN, Infinity, 1, NaN, -Infinity, 1), shape)
    const later = engine.upload(Float32Array.of(1, 1, 1, 1, 1, Infinity), shape)
    return [...(await engine.op('fusion_blend', { y: { shape }, earlier, later }).y.read()).data]
  }
  const found = await run(gpu)
  assert.ok(Number.isNaN(found[0]))
  assert.deepEqual(found, await run(cpu))
})

test('an op that the CUDA backend lacks is refused by name, and the engine goes on', async () => {
  const x = gpu.upload(numbers(4, 1), [4])
  await assert.rejects(async () => gpu.op('add', { y: { shape: [4] }, a: x, b: x }).y.read(), /add/)
  const shape = [1, 1, 1, 4]
  const again = gpu.op('fusion_blend', { y: { shape }, earlier: gpu.reshape(x, shape), later: gpu.reshape(x, shape) })
  assert.deepEqual([...(await again.y.read()).data], [...numbers(4, 1)])
})
