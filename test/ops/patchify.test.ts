import { at, compute, normal } from './operands.js'
import { patchOf } from './patches.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [C, N, H, W]: [number, number, number, number], channels_last: number, P = 4 * C): OpCase => ({
  title, inputs: { x: normal([C, N, H, W]) }, scalars: { channels_last }, outputs: { y: { shape: [N, Math.ceil(H / 2) * Math.ceil(W / 2), P] } }
})

testOp('patchify', {
  cases: [
    of('odd sizes', [3, 2, 5, 7], 0), of('odd sizes, channels last', [3, 2, 5, 7], 1), of('gradient of pred_sigma', [3, 2, 3, 4], 1, 24),
    of('model', [4, 20, 24, 40], 0), of('one pixel', [2, 1, 1, 1], 0), of('empty', [4, 0, 6, 6], 0)
  ],
  reference: ({ x }, { channels_last }, { y: shape }) => {
    const y = compute(shape!, () => 0)
    const [, S, P] = shape as [number, number, number]
    compute(x!.shape, (c, n, h, w) => {
      const [patch, element] = patchOf(c, h, w, { width: x!.shape[3]!, P, channelsLast: channels_last === 1 })
      return (y.data[(n * S + patch) * P + element] = at(x!, c, n, h, w))
    })
    return { y }
  },
  tolerance: {},
  layouts: { x: 'rows' }
})
