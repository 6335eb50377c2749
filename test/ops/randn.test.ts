import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compute } from './operands.js'
import { devicesOf, engineOf, testOp, type OpCase } from './test-op.js'

const mask = 0xffffffffn

/** Philox 4×32-10 on big integers. */
function philox(counter: bigint[], key: [bigint, bigint]): bigint[] {
  let [a, b, c, d] = counter as [bigint, bigint, bigint, bigint]
  let [low, high] = key
  for (let round = 0; round < 10; round++) {
    const first = 0xd2511f53n * a
    const second = 0xcd9e8d57n * c
    ;[a, b, c, d] = [(second >> 32n) ^ b ^ low, second & mask, (first >> 32n) ^ d ^ high, first & mask]
    low = (low + 0x9e3779b9n) & mask
    high = (high + 0xbb67ae85n) & mask
  }
  return [a, b, c, d]
}

/** Normal number `element` of a stream, model.md §6. */
function gaussian(element: number, seed: bigint, stream: number): number {
  const i = BigInt(element >> 2)
  const word = philox([i & mask, i >> 32n, BigInt(stream >>> 0), 0n], [seed & mask, seed >> 32n]).map(Number)
  const pair = element & 2
  const r = Math.sqrt(-2 * Math.log((word[pair]! + 1) / 2 ** 32))
  return r * (element & 1 ? Math.sin : Math.cos)((2 * Math.PI * word[pair + 1]!) / 2 ** 32)
}

const of = (title: string, shape: number[], frame_major: number, seed = 7n, stream = 0): OpCase => ({
  title, inputs: {}, outputs: { y: { shape } },
  scalars: { seed_low: Number(seed & mask), seed_high: Number(seed >> 32n), stream, frame_major }
})

testOp('randn', {
  cases: [
    of('odd', [5, 7, 3], 0), of('frames first', [4, 3, 5, 7], 1), of('large seed and stream', [33], 0, 0xfedcba9876543210n, 0x80000005),
    of('longer than one task', [9000], 0), of('empty', [4, 0, 6, 6], 1)
  ],
  reference: (_, { seed_low, seed_high, stream, frame_major }, { y }) => {
    const seed = (BigInt(seed_high!) << 32n) | BigInt(seed_low!)
    const element = (index: number[]) => {
      const order = frame_major ? [1, 0, 2, 3] : index.map((_, axis) => axis)
      return order.reduce((offset, axis) => offset * y![axis]! + index[axis]!, 0)
    }
    return { y: compute(y!, (...index) => gaussian(element(index), seed, stream!)) }
  },
  // Rounded once from fp64; sine and logarithm of two libraries differ by fp64 roundings.
  tolerance: { own: 1.001, largest: 1e-6 }
})

test('the reference is Random123', () => {
  const hex = (words: bigint[]) => words.map((word) => word.toString(16).padStart(8, '0'))
  expect(hex(philox([0n, 0n, 0n, 0n], [0n, 0n]))).toEqual(known.random123.zeros)
  expect(hex(philox([mask, mask, mask, mask], [mask, mask]))).toEqual(known.random123.ones)
})

test.each(devicesOf('randn'))('%s gives the known normals', async (device) => {
  const engine = engineOf(device, 2)
  const normals = async (shape: number[], stream: number, frame_major: number) =>
    (await engine.op('randn', { y: { shape }, seed_low: known.seed, seed_high: 0, stream, frame_major })['y']!.read()).data
  const close = (found: ArrayLike<number>, expected: number[]) => expected.forEach((value, i) => expect(Math.abs(found[i]! - value)).toBeLessThan(1e-6))
  close(await normals([16], 0, 0), known.stream0_first_16)
  close((await normals([4200], 3, 0)).subarray(4099), known.stream3_from_4099)
  const latents = await normals([4, 7, 6, 6], 0, 1)
  const frame = Array.from({ length: 4 }, (_, c) => Array.from(latents.subarray((c * 7 + 5) * 36, (c * 7 + 6) * 36))).flat()
  close(frame, known.latents_C4_H6_W6_frame5)
})

test.each(devicesOf('randn'))('%s gives the bits that every device gives', async (device) => {
  const bits = async (name: string) => {
    const { data } = await engineOf(name, 2).op('randn', { y: { shape: [3, 5, 67, 101] }, seed_low: 11, seed_high: -3, stream: 0x100, frame_major: 1 })['y']!.read()
    return data as Float32Array
  }
  const [found, first] = [await bits(device), await bits(devicesOf('randn')[0]!)]
  expect(found.findIndex((value, i) => !Object.is(value, first[i]))).toBe(-1)
  // The library of this program is correct to an ulp of fp64 as well, so that a rounding to fp32 differs in one of 10⁸ numbers.
  const seed = (BigInt(0xfffffffd) << 32n) | 11n
  const frame = 67 * 101
  for (let i = 0; i < 4000; i++) {
    const [n, c, at] = [Math.floor(i / frame / 3), Math.floor(i / frame) % 3, i % frame]
    expect(found[(c * 5 + n) * frame + at]).toBe(Math.fround(gaussian(i, seed, 0x100)))
  }
})

const known = JSON.parse(readFileSync(new URL('../fixtures/philox.json', import.meta.url), 'utf8')) as {
  random123: { zeros: string[]; ones: string[] }
  seed: number
  stream0_first_16: number[]
  stream3_from_4099: number[]
  latents_C4_H6_W6_frame5: number[]
}
