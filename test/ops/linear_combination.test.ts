import { map } from './elementwise.js'
import { normal, values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const factors = { fa: 1.25, fb: -0.75, fc: 1 / 3, fd: -1e-3 }
const names = ['a', 'b', 'c', 'd'] as const
const of = (title: string, shape: number[], terms: number): OpCase => ({
  title, scalars: factors, outputs: { y: { shape } },
  inputs: Object.fromEntries(names.slice(0, terms).map((name, seed) => [name, normal(shape, { seed })]))
})

// What is left is the rounding error of one of the products: which one says how product and sum are fused.
const cancelling: OpCase = {
  title: 'terms that cancel', scalars: { ...factors, fa: 1 / 3, fb: -1 / 3, fc: 1 }, outputs: { y: { shape: [40] } },
  inputs: { a: normal([40]), b: normal([40]), c: values([40], Array.from({ length: 40 }, (_, i) => (i === 0 ? 1 : 0))) }
}

testOp('linear_combination', {
  cases: [cancelling, of('one term', [3, 7], 1), of('two', [4, 5, 6, 7], 2), of('three', [5, 9], 3), of('four', [4, 20, 24, 40], 4), of('empty', [0, 3], 2)],
  // One rounding of the fp64 sum; the fp64 sums themselves may differ in order.
  reference: (t, s) => {
    const given = names.filter((name) => t[name])
    return { y: map((...x) => x.reduce((sum, value, i) => sum + s[`f${given[i]}`]! * value, 0), ...given.map((name) => t[name]!)) }
  },
  bitsOfCpu: true,
  tolerance: { own: 1.001, largest: 1e-6 },
  layouts: { a: 'strided', b: 'strided', c: 'strided', d: 'strided', y: 'strided' }
})
