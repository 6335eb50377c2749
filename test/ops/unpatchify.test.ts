import { at, compute, normal } from './operands.js'
import { patchOf } from './patches.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [C, N, H, W]: [number, number, number, number], channels_last: number, P = 4 * C): OpCase => ({
  title, inputs: { x: normal([N, Math.ceil(H / 2) * Math.ceil(W / 2), P]) }, scalars: { channels_last }, outputs: { y: { shape: [C, N, H, W] } }
})

testOp('unpatchify', {
  cases: [
    of('odd sizes', [3, 2, 5, 7], 0), of('odd sizes, channels last', [3, 2, 5, 7], 1), of('pred_sigma', [4, 20, 24, 40], 1, 32),
    of('one pixel', [2, 1, 1, 1], 0), of('empty', [4, 0, 6, 6], 0)
  ],
  reference: ({ x }, { channels_last }, { y }) => ({
    y: compute(y!, (c, n, h, w) => at(x!, n, ...patchOf(c, h, w, { width: y![3]!, P: x!.shape[2]!, channelsLast: channels_last === 1 })))
  }),
  tolerance: {},
  layouts: { y: 'rows' }
})
