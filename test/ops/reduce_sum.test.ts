import { compute, normal, sizeOf } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[], kept: number[]): OpCase => ({ title, inputs: { x: normal(shape, { mean: 1 }) }, outputs: { y: { shape: kept } } })

testOp('reduce_sum', {
  cases: [
    of('rows', [5, 7], [5, 1]), of('columns', [7, 5], [1, 5]), of('model, columns', [480, 1152], [1, 1152]), of('model, rows', [240, 1152], [240, 1]),
    of('all', [13, 300], [1, 1]), of('the middle', [3, 4, 5, 6], [3, 1, 1, 6]), of('the ends', [3, 4, 5, 6], [1, 4, 5, 1]), of('none', [3, 4], [3, 4]),
    of('many short ones', [300, 2, 17], [1, 2, 1]), of('nothing to add', [0, 4], [1, 4]), of('nothing to add up to', [4, 0], [1, 0])
  ],
  reference: ({ x }, _, { y: kept }) => {
    const y = compute(kept!, () => 0)
    const index = x!.shape.map(() => 0)
    for (let i = 0; i < sizeOf(x!.shape); i++) {
      y.data[index.reduce((offset, at, axis) => offset * kept![axis]! + (kept![axis] === 1 ? 0 : at), 0)]! += x!.data[i]!
      for (let axis = index.length - 1; axis >= 0 && ++index[axis]! === x!.shape[axis]; axis--) index[axis] = 0
    }
    return { y }
  },
  // Partial sums of at most 128 terms and at most 40 of them: √(128 + 40) ≈ 13 units, terms of mean 1 and deviation 1.
  tolerance: { own: 13, largest: 13 },
  layouts: { x: 'strided', y: 'strided' },
  sumsAsItLies: true
})
