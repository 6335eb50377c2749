import { expect, test } from 'vitest'
import { at, compute, normal } from './operands.js'
import { devicesOf, engineOf, runOp, testOp, type OpCase } from './test-op.js'

const of = (title: string, [B, H, Q, K, d]: [number, number, number, number, number], bias = false, key_grad_from = 0): OpCase => ({
  title, scalars: { scale: 1 / Math.sqrt(d), key_grad_from }, outputs: { y: { shape: [B, H, Q, d] }, lse: { shape: [B, H, Q] } },
  inputs: {
    q: normal([B, H, Q, d], { seed: 1, deviation: 1.5 }), k: normal([B, H, K, d], { seed: 2, deviation: 1.5 }), v: normal([B, H, K, d], { seed: 3 }),
    ...(bias && { bias: normal([B, H, Q, K], { seed: 4 }) })
  }
})
/** key_grad_from belongs to the backward op alone. */
const forward = ({ scalars, ...c }: OpCase): OpCase => ({ ...c, scalars: { scale: scalars!['scale']! } })
const cases = [
  of('odd', [2, 3, 5, 7, 6]), of('bias', [1, 2, 9, 11, 5], true), of('context keys', [1, 2, 6, 8, 10], false, 3), of('bias and context keys', [2, 1, 7, 9, 4], true, 2),
  of('one key', [1, 1, 3, 1, 8]), of('empty', [0, 2, 4, 4, 8])
]

testOp('attention', {
  cases: [...cases, of('more keys than a block', [1, 2, 70, 300, 24]), of('model', [1, 4, 240, 240, 72]), of('largest head', [1, 1, 33, 40, 512], true)].map(forward),
  reference: ({ q, k, v, bias }, { scale }, { y: shape }) => {
    const [B, H, Q, d] = q!.shape as [number, number, number, number]
    const K = k!.shape[2]!
    const y = compute(shape ?? q!.shape, () => 0)
    const lse = compute([B, H, Q], (b, h, i) => {
      const scores = new Float64Array(K)
      for (let j = 0; j < K; j++) {
        let sum = 0
        for (let c = 0; c < d; c++) sum += q!.data[((b * H + h) * Q + i) * d + c]! * k!.data[((b * H + h) * K + j) * d + c]!
        scores[j] = scale! * sum + (bias ? at(bias, b, h, i, j) : 0)
      }
      const most = scores.reduce((a, b) => Math.max(a, b), -Infinity)
      const total = scores.reduce((sum, s) => sum + Math.exp(s - most), 0)
      for (let j = 0; j < K; j++)
        for (let c = 0; c < d; c++) y.data[((b * H + h) * Q + i) * d + c]! += (Math.exp(scores[j]! - most) / total) * v!.data[((b * H + h) * K + j) * d + c]!
      return most + Math.log(total)
    })
    return { y, lse }
  },
  // A score of size up to 12 from 72 products carries about 12 · √72 ≈ 100 units in the exponent, and so does each weight of the mean.
  tolerance: { own: 16, largest: 100 },
  layouts: { q: 'rows', k: 'rows', v: 'rows', y: 'rows', bias: 'rows' },
  gradient: {
    of: { dq: 'q', dk: 'k', dv: 'v', dbias: 'bias' }, dy: 'y', added: ['dbias'], tolerance: { own: 100, largest: 100 },
    layouts: { q: 'rows', k: 'rows', v: 'rows', y: 'rows', dy: 'rows', dq: 'rows', dk: 'rows', dv: 'rows', bias: 'rows', dbias: 'rows' },
    // Context keys are constants: their rows of dk and dv are 0.
    constant: (input, index, c, { key_grad_from: from }) => {
      const [, , K, d] = c.inputs['k']!.shape as [number, number, number, number]
      return (input === 'k' || input === 'v') && Math.floor(index / d) % K < from!
    },
    // With one key dq and dk are what rounding leaves of 0, and there is no size to hold that against.
    cases: [...cases.filter(({ title }) => title !== 'one key'), of('more queries than a block, wide head', [1, 1, 66, 5, 130], true, 3), of('more keys than a block', [1, 2, 34, 66, 24])]
  }
})

test.each(devicesOf('attention'))('%s: a query whose keys are all masked sees nothing', async (device) => {
  const c = forward(of('', [1, 1, 3, 70, 4], true))
  const bias = c.inputs['bias']!
  for (let key = 0; key < 70; key++) bias.data[70 + key] = -Infinity
  const { y, lse } = await runOp('attention', c, { engine: engineOf(device, 1), layouts: {} })
  expect(Array.from(y!.subarray(4, 8))).toEqual([0, 0, 0, 0])
  expect(lse![1]).toBe(-Infinity)
  expect([...y!.subarray(0, 4), ...y!.subarray(8), lse![0], lse![2]].every(Number.isFinite)).toBe(true)
})
