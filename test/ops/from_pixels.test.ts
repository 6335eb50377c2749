import { map } from './elementwise.js'
import { bytes, type Operand } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, x: Operand): OpCase => ({ title, inputs: { x }, outputs: { y: { shape: x.shape } } })

testOp('from_pixels', {
  cases: [
    of('odd', bytes([3, 5, 7])), of('every byte', { shape: [256], dtype: 'uint8', data: Uint8Array.from({ length: 256 }, (_, i) => i) }),
    of('model', bytes([3, 4, 64, 64])), of('empty', bytes([0, 4]))
  ],
  reference: ({ x }) => ({ y: map((v) => v / 127.5 - 1, x!) }),
  tolerance: { own: 1 },
  layouts: { x: 'strided', y: 'strided' }
})
