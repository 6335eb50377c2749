import { at, compute, indices, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [R, C]: [number, number], groups: number): OpCase => ({
  title, outputs: { y: { shape: [R, C] } },
  inputs: {
    x: normal([R, C]), gate: normal([groups, C], { seed: 1 }), residual: normal([R, C], { seed: 2 }), ...(groups > 1 && { group: indices([R], groups) })
  }
})
const cases = [of('odd', [5, 7], 3), of('one group', [140, 66], 1), of('model', [240, 1152], 20), of('empty', [0, 6], 1)]

testOp('gated_residual', {
  cases,
  reference: ({ x, gate, group, residual }) => ({ y: compute(x!.shape, (r, c) => at(residual!, r, c) + at(gate!, group?.data[r] ?? 0, c) * at(x!, r, c)) }),
  // Two roundings of terms that may cancel.
  bitsOfCpu: true,
  tolerance: { own: 2, largest: 1 },
  layouts: { x: 'rows', y: 'rows', gate: 'rows', residual: 'rows' },
  gradient: {
    of: { dx: 'x', dgate: 'gate' }, dy: 'y', tolerance: { own: 4, largest: 32 },
    layouts: { x: 'rows', dy: 'rows', dx: 'rows', gate: 'rows', dgate: 'rows' }, cases: cases.filter(({ title }) => title !== 'model')
  }
})
