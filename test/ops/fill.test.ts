import { compute } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[], value: number, dtype?: 'float32' | 'int32' | 'uint8' | 'float64' | 'bfloat16' | 'float16'): OpCase => ({
  title, inputs: {}, scalars: { value }, outputs: { y: dtype ? { shape, dtype } : { shape } }
})

testOp('fill', {
  cases: [
    of('odd', [3, 5, 7], 1.5), of('NaN', [4], NaN), of('int32', [9], -7, 'int32'), of('uint8', [5, 3], 200, 'uint8'), of('float64', [2], 0.1, 'float64'),
    of('bfloat16', [6], -0.75, 'bfloat16'), of('float16', [6], 1024, 'float16'), of('model', [240, 1152], 0), of('empty', [0], 1)
  ],
  reference: (_, { value }, shapes) => ({ y: compute(shapes['y']!, () => value!) }),
  bitsOfCpu: true,
  tolerance: {},
  layouts: { y: 'strided' }
})
