import { map } from './elementwise.js'
import { normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[], decay: number): OpCase => ({
  title, inputs: { weight: normal(shape, { seed: 1 }) }, scalars: { decay }, outputs: { average: { shape, initial: normal(shape, { seed: 2 }) } }
})

testOp('ema', {
  cases: [of('odd', [3, 5, 7], 0.9), of('copy', [9], 0), of('model', [1152, 72], 0.9999), of('empty', [0], 0.5)],
  reference: ({ average, weight }, { decay }) => ({ average: map((a, w) => decay! * a + (1 - decay!) * w, average!, weight!) }),
  tolerance: { own: 1.001, largest: 1e-6 }
})
