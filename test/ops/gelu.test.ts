import { map } from './elementwise.js'
import { normal, values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

const of = (title: string, shape: number[], deviation = 2): OpCase => ({ title, inputs: { x: normal(shape, { deviation }) }, outputs: { y: { shape } } })
const cases: OpCase[] = [
  of('odd', [3, 7, 5]),
  of('model', [64, 4608]),
  { title: 'edges', inputs: { x: values([8], [0, -0.001, 0.001, -6, 6, -40, 40, 1e-30]) }, outputs: { y: { shape: [8] } } },
  of('empty', [0, 5])
]

testOp('gelu', {
  cases,
  reference: ({ x }) => ({ y: map(gelu, x!) }),
  // y = x · sigmoid(u): exp is good to 4 units and its argument |u| ≤ 20 to 3 units, so y to 4 + 3 · 20 of itself. Below x = −6 all that is left is
  // the reference's own cancellation in 1 + tanh.
  tolerance: { own: 64, largest: 0.01 },
  layouts: { x: 'strided', y: 'strided' },
  gradient: {
    of: { dx: 'x' }, dy: 'y', tolerance: { own: 64, largest: 1 }, layouts: { x: 'strided', dy: 'strided', dx: 'strided' },
    cases: [cases[0]!, of('wide', [5, 33]), cases[3]!]
  }
})
