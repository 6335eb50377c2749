// Attention at the sizes of chunks, and the VIN's read: 512 global tokens over the keyframes of a whole video.

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NativeEngine } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { Turns, allThreads, compareWithPeer, few, normals, queued, readAll, repeatable } from './harness.js'
import { Peer } from './peer.js'
import type { PeerTensors } from './peer.js'

interface Shape {
  heads: number
  d: number
  queries: number
  keys: number
}

const self = (heads: number, d: number, ...lengths: number[]): Shape[] => lengths.map((length) => ({ heads, d, queries: length, keys: length }))
const read = (heads: number, d: number, ...lengths: number[]): Shape[] => lengths.map((keys) => ({ heads, d, queries: 512, keys }))
// The built-in model has 6 heads of 32, Open-Sora's XL/2 16 of 72.
const inference = few([...self(6, 32, 256, 1312, 2400), ...self(6, 64, 320, 1200, 2400), ...self(16, 72, 320, 1200, 2400), ...self(8, 128, 1200, 2400), ...read(16, 64, 1200, 4800, 19200)])
const training = few([...self(6, 32, 256, 1312), ...self(6, 64, 1200, 2400), ...self(16, 72, 1200, 2400), ...self(8, 128, 1200)])
const titleOf = ({ heads, d, queries, keys }: Shape): string => `${heads} heads of ${d}, ${queries}${queries === keys ? '' : ` × ${keys}`}`

let engine: NativeEngine
let peer: Peer | undefined
const turns = new Turns()

beforeAll(async () => {
  engine = loadBinding().createEngine({ device: 'cpu', threads: allThreads })
  peer = await Peer.open()
})

afterAll(async () => {
  await peer?.close()
  await engine.dispose()
})
// Hooks run last to first, so before the engine goes; as long as it takes.
afterAll(() => turns.take(), 0)

// A score of size up to 5 from d products carries about 5 · √d units of 2⁻²⁴ in the exponent, and so does each weight of the mean; two programs differ by twice that.
const tolerance = 2 ** -24 * 200

/** One row of each head in float64. */
function checkRows({ q, k, v }: PeerTensors, y: PeerTensors[string], { heads, d, queries, keys }: Shape): void {
  for (let h = 0; h < heads; h++) {
    const i = (h * 37) % queries
    const scores = Array.from({ length: keys }, (_, j) => {
      let sum = 0
      for (let c = 0; c < d; c++) sum += q!.data[(h * queries + i) * d + c]! * k!.data[(h * keys + j) * d + c]!
      return sum / Math.sqrt(d)
    })
    const most = scores.reduce((a, b) => Math.max(a, b))
    const total = scores.reduce((sum, score) => sum + Math.exp(score - most), 0)
    for (let c = 0; c < d; c++) {
      const mean = scores.reduce((sum, score, j) => sum + (Math.exp(score - most) / total) * v!.data[(h * keys + j) * d + c]!, 0)
      expect(Math.abs(y!.data[(h * queries + i) * d + c]! - mean), `head ${h}, row ${i}, column ${c}`).toBeLessThanOrEqual(tolerance)
    }
  }
}

const inputsOf = ({ heads, d, queries, keys }: Shape) => ({
  q: normals(engine, [1, heads, queries, d], 1), k: normals(engine, [1, heads, keys, d], 2), v: normals(engine, [1, heads, keys, d], 3)
})

test.each(inference.map((shape) => [titleOf(shape), shape] as const))('%s', async (work, shape) => {
  const { heads, d, queries, keys } = shape
  const inputs = inputsOf(shape)
  const { outputs, call } = repeatable(engine, 'attention', inputs, { y: [1, heads, queries, d], lse: [1, heads, queries] }, { scale: 1 / Math.sqrt(d) })
  const given = await readAll(inputs)
  await compareWithPeer({
    group: 'attention', work, operations: 4 * heads * queries * keys * d, ours: queued(engine, call), peer,
    outputs: () => (call(), readAll({ y: outputs['y']! })),
    check: ({ y }) => checkRows(given, y, shape),
    same: { work: 'attention', inputs: given },
    tolerance,
    turns,
    tensors: { ...inputs, ...outputs }
  })
})

test.each(training.map((shape) => [titleOf(shape), shape] as const))('%s, forward and backward', async (work, shape) => {
  const { heads, d, queries, keys } = shape
  const inputs = inputsOf(shape)
  const dy = normals(engine, [1, heads, queries, d], 4)
  const scale = 1 / Math.sqrt(d)
  const forward = repeatable(engine, 'attention', inputs, { y: [1, heads, queries, d], lse: [1, heads, queries] }, { scale })
  const gradients = { dq: [1, heads, queries, d], dk: [1, heads, keys, d], dv: [1, heads, keys, d] }
  const backward = repeatable(engine, 'attention_backward', { ...inputs, ...forward.outputs, dy }, gradients, { scale, key_grad_from: 0 })
  const call = (times?: number) => {
    forward.call(times)
    backward.call(times)
  }
  const given = await readAll({ ...inputs, dy })
  await compareWithPeer({
    // Backward: scores again, then four products.
    group: 'attention, forward and backward', work, operations: 14 * heads * queries * keys * d, ours: queued(engine, call), peer,
    outputs: () => (call(), readAll({ y: forward.outputs['y']!, ...backward.outputs })),
    check: ({ y, dv }) => {
      checkRows(given, y, shape)
      // Weights of a row add up to 1, so Σ dv = Σ dy.
      const total = (tensor: PeerTensors[string] | undefined) => tensor!.data.reduce((sum, value) => sum + value, 0)
      expect(Math.abs(total(dv) - total(given['dy']))).toBeLessThanOrEqual(tolerance * given['dy']!.data.length)
    },
    same: { work: 'attention_training', inputs: given },
    tolerance,
    turns,
    tensors: { ...inputs, dy, ...forward.outputs, ...backward.outputs }
  })
})
