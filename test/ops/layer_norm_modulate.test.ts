import { at, compute, indices, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [R, C]: [number, number], groups: number, { scale = true, shift = true, mean = 0.5 } = {}): OpCase => ({
  title, scalars: { eps: 1e-6 }, outputs: { y: { shape: [R, C] }, stats: { shape: [R, 2] } },
  inputs: {
    x: normal([R, C], { mean, deviation: 2 }),
    ...(scale && { scale: normal([groups, C], { seed: 1, deviation: 0.5 }) }),
    ...(shift && { shift: normal([groups, C], { seed: 2 }) }),
    ...(groups > 1 && { group: indices([R], groups) })
  }
})
const cases = [
  of('odd', [5, 7], 3), of('one column', [3, 1], 1), of('one group', [4, 40], 1), of('no modulation', [6, 33], 1, { scale: false, shift: false }),
  of('shift alone', [150, 19], 2, { scale: false }), of('model', [240, 1152], 4), of('empty rows', [0, 8], 1)
]

testOp('layer_norm_modulate', {
  cases,
  reference: ({ x, scale, shift, group }, { eps }) => {
    const [R, C] = x!.shape as [number, number]
    const row = (r: number) => x!.data.subarray(r * C, (r + 1) * C)
    const mean = Array.from({ length: R }, (_, r) => row(r).reduce((sum, v) => sum + v, 0) / C)
    const rstd = mean.map((m, r) => 1 / Math.sqrt(row(r).reduce((sum, v) => sum + (v - m) ** 2, 0) / C + eps!))
    const g = (r: number) => group?.data[r] ?? 0
    return {
      y: compute([R, C], (r, c) => (at(x!, r, c) - mean[r]!) * rstd[r]! * (1 + (scale ? at(scale, g(r), c) : 0)) + (shift ? at(shift, g(r), c) : 0)),
      stats: compute([R, 2], (r, k) => (k === 0 ? mean[r]! : rstd[r]!))
    }
  },
  // W sums of C/W ≤ 288 terms; their roundings average out to about √288 ≈ 17 units of the mean, against a row's own size.
  tolerance: { own: 8, largest: 17 },
  layouts: { x: 'rows', y: 'rows', scale: 'rows', shift: 'rows' },
  gradient: {
    of: { dx: 'x', dscale: 'scale', dshift: 'shift' }, dy: 'y', tolerance: { own: 32, largest: 32 },
    layouts: { x: 'rows', dy: 'rows', dx: 'rows', scale: 'rows', dscale: 'rows', dshift: 'rows' },
    cases: cases.filter(({ title }) => title !== 'one column' && title !== 'model').concat(of('runs of a group longer than one partial sum', [400, 70], 1))
  }
})
