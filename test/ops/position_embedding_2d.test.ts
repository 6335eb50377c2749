import { expect, test } from 'vitest'
import { compute } from './operands.js'
import { devicesOf, engineOf, testOp, type OpCase } from './test-op.js'

const of = (title: string, rows: number, columns: number, C: number, scale: number, base_size: number): OpCase => ({
  title, inputs: {}, scalars: { rows, columns, scale, base_size }, outputs: { y: { shape: [rows * columns, C] } }
})

testOp('position_embedding_2d', {
  cases: [of('odd', 3, 5, 12, 0.7, 4), of('model', 12, 20, 1152, 0.484123, 15), of('empty', 0, 4, 8, 1, 2)],
  reference: (_, { rows, columns, scale, base_size }, { y }) => ({
    y: compute(y!, (token, i) => {
      const half = y![1]! / 2
      const p = i < half ? ((token % columns!) / scale!) * (base_size! / columns!) : (Math.floor(token / columns!) / scale!) * (base_size! / rows!)
      const k = i % half
      return (k < half / 2 ? Math.sin : Math.cos)(p * 10000 ** ((-2 * (k % (half / 2))) / half))
    })
  }),
  tolerance: { own: 1.001, largest: 1e-5 },
  layouts: { y: 'rows' }
})

test.each(devicesOf('position_embedding_2d'))('%s gives the numbers of Open-Sora 1.2 for 192 × 320', async (device) => {
  const scale = Math.sqrt(192 * 320) / 512
  const { y } = engineOf(device, 1).op('position_embedding_2d', { y: { shape: [240, 1152] }, rows: 12, columns: 20, scale, base_size: 15 })
  const { data } = await y!.read()
  const token = data.subarray(21 * 1152)
  const golden = [[0, 0.999767, 0.997526, 0.993095, 0.986692], [288, 0.021601, 0.070305, 0.117317], [576, 0.530851, 0.597893, 0.659068]] as const
  for (const [first, ...expected] of golden) expected.forEach((value, i) => expect(Math.abs(token[first + i]! - value)).toBeLessThan(1e-6))
  // The golden sum was added up in fp32 from fp32 sines.
  expect(Math.abs((data as Float32Array).reduce((sum, value) => sum + value, 0) - 116927.41)).toBeLessThan(0.05)
})
