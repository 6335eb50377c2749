import { expect, test } from 'vitest'
import { at, compute, normal } from './operands.js'
import { devicesOf, engineOf, testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[]): OpCase => ({
  title, inputs: { earlier: normal(shape, { seed: 1 }), later: normal(shape, { seed: 2 }) }, outputs: { y: { shape } }
})

testOp('fusion_blend', {
  cases: [of('odd', [3, 5, 3, 7]), of('one frame', [4, 1, 2, 2]), of('model', [4, 10, 24, 40]), of('no overlap', [4, 0, 6, 6])],
  reference: ({ earlier, later }, _, { y }) => {
    const F = y![1]!
    return { y: compute(y!, (c, k, h, w) => ((F - k) * at(earlier!, c, k, h, w) + k * at(later!, c, k, h, w)) / F) }
  },
  bitsOfCpu: true,
  tolerance: { own: 1.001, largest: 1e-6 }
})

test.each(devicesOf('fusion_blend'))('%s: equal chunks blend to themselves, in place too', async (device) => {
  const engine = engineOf(device, 2)
  const { data, shape } = normal([4, 7, 5, 6])
  const x = engine.upload(data, shape)
  engine.op('fusion_blend', { y: x, earlier: x, later: x })
  expect((await x.read()).data).toEqual(data)
})
