import { clamp, map } from './elementwise.js'
import { compute, normal, values, type Operand } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, x: Operand): OpCase => ({ title, inputs: { x }, outputs: { y: { shape: x.shape, dtype: 'uint8' } } })
const grid = compute([1021], (i) => -1.02 + i / 500)

testOp('to_pixels', {
  cases: [
    of('odd', normal([3, 5, 7])), of('a ramp', values([1021], Array.from(grid.data))), of('model', normal([3, 4, 64, 64], { deviation: 0.5 })),
    of('edges', values([6], [-1, 1, 0, -Infinity, Infinity, NaN])), of('empty', normal([3, 0, 5]))
  ],
  reference: ({ x }) => ({ y: map((v) => Math.floor(((clamp(Number.isNaN(v) ? -1 : v, -1, 1) + 1) / 2) * 255 + 0.5), x!) }),
  bitsOfCpu: true,
  tolerance: {},
  layouts: { x: 'strided', y: 'strided' }
})
