import { at, compute, indices, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

interface Options {
  bias?: boolean
  groups?: number
  residual?: boolean
  activation?: number
}
const of = (title: string, [R, K, N]: [number, number, number], { bias = true, groups = 0, residual = false, activation = 0 }: Options = {}): OpCase => ({
  title, scalars: { activation }, outputs: { y: { shape: [R, N] } },
  inputs: {
    x: normal([R, K]), weight: normal([N, K], { seed: 1, deviation: 1 / Math.sqrt(K || 1) }), ...(bias && { bias: normal([N], { seed: 2 }) }),
    ...(groups > 0 && { gate: normal([groups, N], { seed: 3 }) }), ...(groups > 1 && { group: indices([R], groups) }), ...(residual && { residual: normal([R, N], { seed: 4 }) })
  }
})
const activations = [(x: number) => x, (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))), (x: number) => x / (1 + Math.exp(-x))]
const plain = [of('odd', [5, 7, 3]), of('no bias', [17, 33, 19], { bias: false }), of('one row', [1, 20, 9]), of('empty', [0, 5, 4])]

testOp('linear', {
  cases: [
    ...plain, of('gelu', [6, 9, 11], { activation: 1 }), of('silu', [6, 9, 11], { activation: 2 }), of('gate, groups, residual', [13, 10, 21], { groups: 3, residual: true, activation: 1 }),
    of('one gate, no residual', [4, 6, 5], { groups: 1 }), of('model', [60, 1152, 1152], { groups: 2, residual: true })
  ],
  reference: ({ x, weight, bias, gate, group, residual }, { activation }, { y }) => {
    const K = x!.shape[1]!
    return {
      y: compute(y!, (r, n) => {
        let sum = bias ? bias.data[n]! : 0
        for (let k = 0; k < K; k++) sum += x!.data[r * K + k]! * weight!.data[n * K + k]!
        const value = (gate ? at(gate, group?.data[r] ?? 0, n) : 1) * activations[activation ?? 0]!(sum)
        return (residual ? at(residual, r, n) : 0) + value
      })
    }
  },
  // K ≤ 1152 terms of size 1/√K: their roundings average out to √1152 ≈ 34 units at most; activation, gate and residual add a few.
  tolerance: { own: 8, largest: 34 },
  layouts: { x: 'rows', y: 'rows', gate: 'rows', residual: 'rows' },
  gradient: {
    of: { dx: 'x', dweight: 'weight', dbias: 'bias' }, dy: 'y', added: ['dweight', 'dbias'], tolerance: { own: 16, largest: 16 },
    layouts: { x: 'rows', dy: 'rows', dx: 'rows' }, cases: [...plain, of('many rows', [70, 24, 40]), of('rows in slices', [2100, 5, 4])]
  }
})
