import { values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, sum: number, max_norm: number): OpCase => ({
  title, inputs: { sum_squares: values([1], [sum], 'float64') }, scalars: { max_norm }, outputs: { y: { shape: [1] } }
})

testOp('clip_coefficient', {
  cases: [
    of('clips', 37.5, 1), of('leaves a small gradient', 0.2, 1), of('nothing to clip', 0, 1), of('no clipping', 1e6, 0), of('the square of a clipped norm fits', 1e40, 1e19),
    of('the square of a clipped norm does not fit', 1e40, 2e19), of('a square that fits', 3.4e38, 0), of('one that does not', 3.5e38, 0), of('squares that are not finite', Infinity, 1)
  ],
  // NaN: no update. What is clipped is at most max_norm.
  reference: ({ sum_squares }, { max_norm }) => {
    const norm = Math.sqrt(sum_squares!.data[0]!), clipped = max_norm === 0 ? norm : Math.min(norm, max_norm!)
    const updates = Number.isFinite(norm) && Number.isFinite(Math.fround(clipped ** 2))
    return { y: { shape: [1], data: Float64Array.of(!updates ? NaN : max_norm === 0 ? 1 : Math.min(1, max_norm! / (norm + 1e-6))) } }
  },
  tolerance: { own: 1 }
})
