import { values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, sum: number, max_norm: number): OpCase => ({
  title, inputs: { sum_squares: values([1], [sum], 'float64') }, scalars: { max_norm }, outputs: { y: { shape: [1] } }
})

testOp('clip_coefficient', {
  // max_norm 0 does not look at the gradient, so NaN in it changes nothing there.
  cases: [of('clips', 37.5, 1), of('leaves a small gradient', 0.2, 1), of('nothing to clip', 0, 1), of('no clipping', 1e6, 0)],
  reference: ({ sum_squares }, { max_norm }) => ({
    y: { shape: [1], data: Float64Array.of(max_norm === 0 ? 1 : Math.min(1, max_norm! / (Math.sqrt(sum_squares!.data[0]!) + 1e-6))) }
  }),
  tolerance: { own: 1 }
})
