import { map } from './elementwise.js'
import { normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[]): OpCase => ({
  title, inputs: { a: normal(shape, { seed: 1 }), b: normal(shape, { seed: 2 }) }, outputs: { y: { shape } }
})

testOp('add', {
  cases: [of('odd', [3, 5, 7]), of('one element', [1]), of('model', [240, 1152]), of('rank 4', [2, 3, 4, 9]), of('empty', [4, 0, 3])],
  reference: ({ a, b }) => ({ y: map((p, q) => p + q, a!, b!) }),
  bitsOfCpu: true,
  tolerance: { own: 1 },
  layouts: { a: 'strided', b: 'strided', y: 'strided' }
})
