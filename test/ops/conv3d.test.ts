import { at, compute, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

interface Options {
  kernel?: [number, number]
  stride?: [number, number]
  pad?: [number, number]
  bias?: boolean
  residual?: boolean
}
/** Output sizes leave room for one more row of padding behind, as convolutions with stride 2 have it. */
const of = (title: string, x: [number, number, number, number], O: number, { kernel = [3, 3], stride = [1, 1], pad = [2, 1], bias = true, residual = false }: Options = {}): OpCase => {
  const [kt, ks] = kernel
  const spatial = (size: number) => Math.floor((size - 1) / stride[1]) + 1
  const shape = [x[0] && Math.floor((x[0] - 1) / stride[0]) + 1, spatial(x[1]), spatial(x[2]), O]
  return {
    title, scalars: { stride_t: stride[0], stride_s: stride[1], pad_t: pad[0], pad_s: pad[1] }, outputs: { y: { shape } },
    inputs: {
      x: normal(x), weight: normal([O, x[3], kt, ks, ks], { seed: 1, deviation: 1 / Math.sqrt(x[3] * kt * ks * ks) }), ...(bias && { bias: normal([O], { seed: 2 }) }),
      ...(residual && { residual: normal(shape, { seed: 3 }) })
    }
  }
}
const plain = [
  of('odd, causal', [3, 4, 5, 3], 7), of('2D', [2, 5, 4, 6], 5, { kernel: [1, 3], pad: [0, 1] }), of('1 × 1', [2, 3, 3, 4], 9, { kernel: [1, 1], pad: [0, 0], bias: false }),
  of('stride 2', [4, 6, 5, 3], 4, { stride: [2, 2], pad: [2, 0] }), of('empty', [0, 4, 4, 3], 2)
]

testOp('conv3d', {
  cases: [...plain, of('residual', [2, 4, 4, 5], 6, { residual: true }), of('model', [1, 12, 10, 128], 128, { kernel: [1, 3], pad: [0, 1] })],
  reference: ({ x, weight, bias, residual }, { stride_t, stride_s, pad_t, pad_s }, { y }) => {
    const [T, H, W, I] = x!.shape as [number, number, number, number]
    const [, , kt, kh, kw] = weight!.shape as [number, number, number, number, number]
    return {
      y: compute(y!, (t, h, w, o) => {
        let sum = (bias ? bias.data[o]! : 0) + (residual ? at(residual, t, h, w, o) : 0)
        for (let dt = 0; dt < kt; dt++)
          for (let dh = 0; dh < kh; dh++)
            for (let dw = 0; dw < kw; dw++) {
              const [ti, hi, wi] = [t * stride_t! - pad_t! + dt, h * stride_s! - pad_s! + dh, w * stride_s! - pad_s! + dw]
              // Outside x there are zeros, and 0 · NaN is NaN.
              const inside = ti >= 0 && ti < T && hi >= 0 && hi < H && wi >= 0 && wi < W
              for (let i = 0; i < I; i++) sum += (inside ? x!.data[((ti * H + hi) * W + wi) * I + i]! : 0) * weight!.data[(((o * I + i) * kt + dt) * kh + dh) * kw + dw]!
            }
        return sum
      })
    }
  },
  // Up to 1152 terms of size 1/√1152, as for linear.
  tolerance: { own: 8, largest: 34 },
  gradient: {
    of: { dx: 'x', dweight: 'weight', dbias: 'bias' }, dy: 'y', added: ['dweight', 'dbias'], tolerance: { own: 16, largest: 16 },
    cases: [...plain, of('pixels in slices', [2, 26, 25, 2], 3, { kernel: [1, 3], pad: [0, 1] })]
  }
})
