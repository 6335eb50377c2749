import { at, compute, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [T, H, W, C]: [number, number, number, number]): OpCase => ({
  title, inputs: { x: normal([T, H, W, C]) }, outputs: { y: { shape: [T, 2 * H, 2 * W, C] } }
})
const cases = [of('odd', [2, 3, 5, 7]), of('model', [1, 24, 40, 128]), of('empty', [0, 3, 3, 4])]

testOp('upsample_nearest', {
  cases,
  reference: ({ x }, _, { y }) => ({ y: compute(y!, (t, h, w, c) => at(x!, t, h >> 1, w >> 1, c)) }),
  tolerance: {},
  gradient: { of: { dx: 'x' }, dy: 'y', tolerance: { own: 3, largest: 3 }, cases: [cases[0]!, cases[2]!] }
})
