// Matrix products at the shapes of DiT blocks: bare, with the epilogue the block puts on them, and backward.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { NativeEngine, NativeTensor } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { Turns, allThreads, compareWithPeer, few, normals, queued, readAll, repeatable } from './harness.js'
import { options } from './options.js'
import { Peer } from './peer.js'
import type { PeerTensors } from './peer.js'

type Epilogue = 'none' | 'gelu' | 'gate, residual'

/** The four matrices of a block of width C, and the epilogue each has there. */
const matrices = (C: number): { K: number; N: number; epilogue: Epilogue }[] => [
  { K: C, N: 4 * C, epilogue: 'gelu' },
  { K: 4 * C, N: C, epilogue: 'gate, residual' },
  { K: C, N: 3 * C, epilogue: 'none' },
  { K: C, N: C, epilogue: 'gate, residual' }
]
// Rows: one chunk of the built-in model (14 latent frames · 16 tokens + 32 global tokens), 150 latent frames of it; widths: its own, and Open-Sora's XL/2.
const shapes = few([192, 1152]).flatMap((C) => few(C === 192 ? [256, 2400] : [320, 2400]).flatMap((M) => matrices(C).map((matrix) => ({ M, ...matrix }))))

// The kernel without its threads.
const alone: [M: number, K: number, N: number][] = options.quick || allThreads === 1 ? [] : [[256, 192, 768], [2400, 192, 768], [320, 1152, 4608]]

let engine: NativeEngine
let oneThread: NativeEngine
let peer: Peer | undefined
const turns = new Turns()

beforeAll(async () => {
  engine = loadBinding().createEngine({ device: 'cpu', threads: allThreads })
  oneThread = loadBinding().createEngine({ device: 'cpu', threads: 1 })
  peer = await Peer.open()
})

afterAll(async () => {
  await peer?.close()
  await engine.dispose()
  await oneThread.dispose()
})
// Hooks run last to first, so before the engines go; as long as it takes.
afterAll(() => turns.take(), 0)

const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** Every element of y is held against the peer; here, every 9973rd against float64. */
function checkProduct({ x, weight, bias, gate, residual }: PeerTensors, y: PeerTensors[string], epilogue: Epilogue): void {
  const [, K] = x!.shape as [number, number]
  const [, N] = y!.shape as [number, number]
  for (let at = 0; at < y!.data.length; at += 9973) {
    const [r, n] = [Math.floor(at / N), at % N]
    let sum = bias!.data[n]!
    for (let k = 0; k < K; k++) sum += x!.data[r * K + k]! * weight!.data[n * K + k]!
    if (epilogue === 'gelu') sum = gelu(sum)
    if (epilogue === 'gate, residual') sum = residual!.data[at]! + gate!.data[n]! * sum
    expect(Math.abs(y!.data[at]! - sum), `y[${r}, ${n}]`).toBeLessThanOrEqual(tolerance(K) * 8)
  }
}

/** Two sums of `terms` rounded products of size 1/√terms differ by about √terms units of the last place of 1; the largest element is 4 to 6. */
const tolerance = (terms: number): number => 2 ** -24 * (16 + 2 * Math.sqrt(terms))

const inputsOf = (engine: NativeEngine, M: number, K: number, N: number): Record<string, NativeTensor> => ({
  x: normals(engine, [M, K], 1),
  weight: normals(engine, [N, K], 2, 1 / Math.sqrt(K)),
  bias: normals(engine, [N], 3)
})

async function forward(engine: NativeEngine, M: number, K: number, N: number, epilogue: Epilogue): Promise<void> {
  const { threads } = engine.info
  const inputs = inputsOf(engine, M, K, N)
  if (epilogue === 'gate, residual') Object.assign(inputs, { gate: normals(engine, [1, N], 4), residual: normals(engine, [M, N], 5) })
  const { outputs, call } = repeatable(engine, 'linear', inputs, { y: [M, N] }, { activation: epilogue === 'gelu' ? 1 : 0 })
  const given = await readAll(inputs)
  await compareWithPeer({
    group: 'GEMM', work: `${M} × ${K} → ${N}${epilogue === 'none' ? '' : `, ${epilogue}`}`, threads, operations: 2 * M * K * N, ours: queued(engine, call), peer,
    outputs: () => (call(), readAll(outputs)),
    check: ({ y }) => checkProduct(given, y, epilogue),
    same: { work: 'linear', inputs: given, options: { epilogue } },
    tolerance: tolerance(K),
    turns,
    tensors: { ...inputs, ...outputs }
  })
}

describe.each(shapes)('$M × $K → $N', ({ M, K, N, epilogue }) => {
  test('bare', () => forward(engine, M, K, N, 'none'))

  if (epilogue !== 'none') test(epilogue, () => forward(engine, M, K, N, epilogue))

  test('backward', async () => {
    const { bias, ...inputs } = inputsOf(engine, M, K, N)
    const gradients = { ...inputs, dy: normals(engine, [M, N], 6) }
    const { outputs, call } = repeatable(engine, 'linear_backward', gradients, { dx: [M, K], dweight: [N, K], dbias: [N] }, {})
    const given = await readAll({ ...gradients, bias: bias! })
    bias!.dispose()
    await compareWithPeer({
      group: 'GEMM backward', work: `${M} × ${K} → ${N}`, operations: 4 * M * K * N, ours: queued(engine, call), peer,
      outputs: () => (call(), readAll(outputs)),
      check: ({ dbias }) => {
        const sum = given['dy']!.data.reduce((total, value, at) => (at % N === 0 ? total + value : total), 0)
        expect(Math.abs(dbias!.data[0]! - sum)).toBeLessThanOrEqual(tolerance(M) * Math.sqrt(M))
      },
      same: { work: 'linear_backward', inputs: given },
      tolerance: tolerance(Math.max(M, K, N)),
      turns,
      tensors: { ...gradients, ...outputs }
    })
  })
})

test.each(alone)('%i × %i → %i, one thread', (M, K, N) => forward(oneThread, M, K, N, 'none'))
