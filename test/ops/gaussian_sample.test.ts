import { clamp } from './elementwise.js'
import { moments } from './moments.js'
import { at, compute, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [R, C]: [number, number]): OpCase => ({
  title, inputs: { moments: moments(R, C), noise: normal([R, C], { seed: 3 }) }, outputs: { y: { shape: [R, C] } }
})
const cases = [of('odd', [5, 3]), of('clamped', [9, 4]), of('empty', [0, 4])]

testOp('gaussian_sample', {
  cases: [...cases, of('model', [20 * 24 * 40, 4])],
  reference: ({ moments: m, noise }, _, { y }) => ({
    y: compute(y!, (r, c) => at(m!, r, c) + Math.exp(clamp(at(m!, r, y![1]! + c), -30, 20) / 2) * at(noise!, r, c))
  }),
  tolerance: { own: 1.001, largest: 1e-6 },
  layouts: { moments: 'rows', noise: 'rows', y: 'rows' },
  gradient: { of: { dmoments: 'moments' }, dy: 'y', tolerance: { own: 4 }, layouts: { moments: 'rows', noise: 'rows', dy: 'rows', dmoments: 'rows' }, cases }
})
