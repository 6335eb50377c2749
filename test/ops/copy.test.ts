import { expect, test } from 'vitest'
import type { DType } from '../../lib/native/binding.js'
import { bytes, indices, normal, values, wide, type Operand } from './operands.js'
import { devicesOf, engineOf, testOp, type OpCase } from './test-op.js'

const of = (title: string, x: Operand, dtype: DType = 'float32'): OpCase => ({ title, inputs: { x }, outputs: { y: { shape: x.shape, dtype } } })
/** Nearest even with `bits` bits of mantissa, from the smallest normal exponent on. */
const round = (x: number, bits: number, smallest: number): number => {
  if (!Number.isFinite(x) || x === 0) return x
  const step = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), smallest) - bits)
  const down = Math.floor(x / step)
  const rest = x / step - down
  return step * (rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down)
}

testOp('copy', {
  cases: [
    of('odd', normal([3, 5, 7])), of('model', normal([240, 1152])), of('rank 4', normal([3, 2, 5, 4])), of('float64', normal([3, 5]), 'float64'),
    of('uint8', bytes([4, 6])), of('int32', indices([9], 1000)), of('empty', normal([0, 4]))
  ],
  reference: ({ x }) => ({ y: x! }),
  bitsOfCpu: true,
  tolerance: {},
  layouts: { x: 'strided', y: 'strided' }
})

// Ties, subnormals, overflow and values next to a tie that only fp64 can hold.
const special = [0, -0, 1, -1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65504, 65519.996, 65520, 1e6, 2 ** -24, 2 ** -25, 3 * 2 ** -26, 2 ** -15 + 2 ** -25, 3e-39, Infinity, -Infinity, NaN]
const close = [1 + 2 ** -8 + 2 ** -40, 1 + 2 ** -8 - 2 ** -40, 1 + 2 ** -11 + 2 ** -40, 1 + 2 ** -11 - 2 ** -40, 65520 - 2 ** -20]

test.each(devicesOf('copy').flatMap((device) => (['bfloat16', 'float16'] as const).map((dtype) => [device, dtype] as const)))('%s rounds to %s as to nearest even', async (device, dtype) => {
  const engine = engineOf(device, 1)
  for (const [source, numbers] of [['float32', [...special, ...normal([500], { deviation: 9 }).data]], ['float64', [...special, ...close]]] as const) {
    const x = values([numbers.length], numbers, source)
    const { y } = engine.op('copy', { y: { shape: x.shape, dtype }, x: engine.upload(x.data, x.shape) })
    const found = Array.from((await y!.read()).data)
    const expected = Array.from(wide(x).data, (value) => {
      const rounded = dtype === 'bfloat16' ? round(value, 7, -126) : round(value, 10, -14)
      return dtype === 'float16' && Math.abs(rounded) > 65504 ? Math.sign(rounded) * Infinity : rounded
    })
    expect(found).toEqual(expected)
  }
})

test.each(devicesOf('copy'))('%s saturates whole numbers', async (device) => {
  const engine = engineOf(device, 1)
  const x = engine.upload(Float32Array.of(-1, 0.9, 1.9, 254.99, 255, 300, 3e9, -3e9, NaN, -2.5), [10])
  const whole = async (dtype: DType) => Array.from((await engine.op('copy', { y: { shape: [10], dtype }, x })['y']!.read()).data)
  expect(await whole('uint8')).toEqual([0, 0, 1, 254, 255, 255, 255, 0, 0, 0])
  expect(await whole('int32')).toEqual([-1, 0, 1, 254, 255, 300, 2147483647, -2147483648, 0, -2])
})
