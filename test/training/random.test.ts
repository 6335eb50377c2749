import { expect, test } from 'vitest'
import { philox4x32, PhiloxRandom } from '../../lib/plan/random.js'
import { latentNoise, streams } from '../../lib/training/random.js'
import { readJson } from '../support/fixtures.js'

const known = readJson('philox.json') as { random123: { zeros: string[]; ones: string[] }; seed: number; stream0_first_16: number[]; latents_C4_H6_W6_frame5: number[] }
const hex = (words: Uint32Array) => Array.from(words, (word) => word.toString(16).padStart(8, '0'))
const ones = 0xffffffff

test('Philox 4×32-10 gives the known answers of Random123', () => {
  expect(hex(philox4x32(new Uint32Array(4), [0, 0, 0, 0], [0, 0]))).toEqual(known.random123.zeros)
  expect(hex(philox4x32(new Uint32Array(4), [ones, ones, ones, ones], [ones, ones]))).toEqual(known.random123.ones)
})

test('normals are those of model.md §6', () => {
  new PhiloxRandom(known.seed, 0).normals(16).forEach((value, index) => expect(value).toBeCloseTo(known.stream0_first_16[index]!, 6))
})

test('latent noise is frame-major: frame 5 has its values for any number of frames', () => {
  const plane = 36
  const expected = known.latents_C4_H6_W6_frame5
  for (const frames of [6, 9]) {
    const noise = latentNoise(new PhiloxRandom(known.seed, 0), [4, frames, 6, 6])
    expected.forEach((value, index) => {
      const [channel, at] = [Math.floor(index / plane), index % plane]
      expect(noise[(channel * frames + 5) * plane + at]).toBeCloseTo(value, 6)
    })
  }
})

test('streams of training lie in 0x10000 … 0x7fffffff, and videos of a step do not meet', () => {
  for (const stream of Object.values(streams)) expect(stream >= 0x10000 && stream <= 0x7fffffff).toBe(true)
  expect(streams.noise - streams.video).toBeGreaterThanOrEqual(65_536)
})

test('a permutation holds every number once in any order, and whole numbers stay below their bound', () => {
  const random = new PhiloxRandom(3n, streams.order, 5)
  expect([...random.permutation(50)].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, index) => index))
  const orders = new Map<string, number>()
  for (let draw = 0; draw < 600; draw++) {
    const order = random.permutation(3).join('')
    orders.set(order, (orders.get(order) ?? 0) + 1)
  }
  // All six orders, 100 expected of each, deviation 9.
  expect([...orders.keys()].sort()).toEqual(['012', '021', '102', '120', '201', '210'])
  for (const count of orders.values()) expect(Math.abs(count - 100)).toBeLessThan(45)
  const counts = new Array<number>(6).fill(0)
  for (let draw = 0; draw < 6000; draw++) counts[random.int(6)]! += 1
  // 1000 expected each, deviation 29.
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150)
})

test('seed, stream and block each give another sequence; the same three the same one', () => {
  const first = (seed: bigint, stream: number, block: number) => new PhiloxRandom(seed, stream, block).word()
  expect(first(1n, 2, 3)).toBe(first(1n, 2, 3))
  expect(new Set([first(1n, 2, 3), first(1n << 32n, 2, 3), first(1n, 3, 3), first(1n, 2, 4)]).size).toBe(4)
})
