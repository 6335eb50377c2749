import { compute, normal, values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const freqs = (d: number) => values([d / 2], Array.from({ length: d / 2 }, (_, k) => 10000 ** ((-2 * k) / d)))
const of = (title: string, position: OpCase['inputs'][string], d: number): OpCase => ({
  title, inputs: { position, freqs: freqs(d) }, outputs: { y: { shape: [position.shape[0]!, d] } }
})

testOp('rope_table', {
  cases: [of('odd', normal([5], { deviation: 100 }), 6), of('model', values([60], Array.from({ length: 60 }, (_, i) => i)), 72), of('empty', normal([0]), 4)],
  reference: ({ position, freqs }, _, { y }) => ({ y: compute(y!, (n, i) => (i % 2 ? Math.sin : Math.cos)(position!.data[n]! * freqs!.data[i >> 1]!)) }),
  tolerance: { own: 1.001, largest: 1e-5 },
  layouts: { y: 'rows' }
})
