import { normal, values, type Operand } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, x: Operand, before = 0): OpCase => ({
  title, inputs: { x }, scalars: { code: 6 }, outputs: { flag: { shape: [1], dtype: 'int32', initial: values([1], [before], 'int32') } }
})
const with_ = (value: number): Operand => {
  const x = normal([7, 9])
  x.data[61] = value
  return x
}

testOp('check_finite', {
  cases: [
    of('finite', normal([5, 7])), of('NaN', with_(NaN)), of('Inf', with_(Infinity)), of('−Inf', with_(-Infinity)), of('largest numbers', with_(-3.4e38)),
    of('an earlier finding stays', with_(NaN), 3), of('model', normal([240, 1152])), of('empty', normal([0, 4]))
  ],
  reference: ({ x, flag }, { code }) => {
    const before = flag!.data[0]!
    return { flag: { shape: [1], data: Float64Array.of(before === 0 && x!.data.some((value) => !Number.isFinite(value)) ? code! + 1 : before) } }
  },
  tolerance: {},
  layouts: { x: 'rows' }
})
