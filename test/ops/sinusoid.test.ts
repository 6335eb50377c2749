import { compute, normal, values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const f32 = Math.fround

const of = (title: string, x: OpCase['inputs'][string], D: number): OpCase => ({ title, inputs: { x }, outputs: { y: { shape: [x.shape[0]!, D] } } })

testOp('sinusoid', {
  cases: [of('odd', normal([5], { deviation: 300 }), 14), of('model', values([3], [933.3, 0, 24]), 256), of('empty', normal([0]), 8)],
  reference: ({ x }, _, { y }) => ({
    y: compute(y!, (i, k) => {
      const half = y![1]! / 2
      const f = Math.fround
      const exponent = f(f(-f(Math.log(10000)) * (k % half)) / half)
      return (k < half ? Math.cos : Math.sin)(f(x!.data[i]! * f(Math.exp(exponent))))
    })
  }),
  // Frequency and angle are rounded as stated; then one rounding, and the angle's of 1e3 · 2⁻⁵³.
  tolerance: { own: 1.001, largest: 1e-4 },
  layouts: { y: 'rows' }
})
