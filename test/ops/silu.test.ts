import { map } from './elementwise.js'
import { normal, values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[]): OpCase => ({ title, inputs: { x: normal(shape, { deviation: 3 }) }, outputs: { y: { shape } } })
const cases: OpCase[] = [
  of('odd', [3, 7, 5]),
  of('model', [2, 1152]),
  { title: 'edges', inputs: { x: values([8], [0, -0.001, 0.001, -20, 20, -80, 80, 1e-30]) }, outputs: { y: { shape: [8] } } },
  of('empty', [0, 5])
]

testOp('silu', {
  cases,
  reference: ({ x }) => ({ y: map((v) => v / (1 + Math.exp(-v)), x!) }),
  // exp is good to 4 units (isa.h); a sum, a quotient and a product follow.
  tolerance: { own: 8 },
  layouts: { x: 'strided', y: 'strided' },
  gradient: { of: { dx: 'x' }, dy: 'y', tolerance: { own: 16, largest: 1 }, layouts: { x: 'strided', dy: 'strided', dx: 'strided' }, cases: [cases[0]!, cases[3]!] }
})
