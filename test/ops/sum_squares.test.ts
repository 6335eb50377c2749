import { fp64Sum } from './losses.js'
import { normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[]): OpCase => ({ title, inputs: { x: normal(shape) }, outputs: { y: { shape: [1], dtype: 'float64' } } })

testOp('sum_squares', {
  cases: [of('odd', [3, 5, 7]), of('several blocks', [40000]), of('model', [1152, 72]), of('empty', [0, 4])],
  reference: ({ x }) => ({ y: { shape: [1], data: Float64Array.of(x!.data.reduce((sum, value) => sum + value * value, 0)) } }),
  tolerance: fp64Sum,
  anyShape: true
})
