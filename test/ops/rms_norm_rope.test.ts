import { at, compute, normal, type Tensor64 } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [R, H, d]: [number, number, number], { weight = true, positions = 0, each = 1 } = {}): OpCase => ({
  title, scalars: { eps: 1e-6, rows_per_position: each }, outputs: { y: { shape: [R, H, d] }, rstd: { shape: [R, H] } },
  inputs: {
    x: normal([R, H, d], { deviation: 2 }),
    ...(weight && { weight: normal([d], { mean: 1, deviation: 0.3 }) }),
    ...(positions > 0 && { rope: turns(positions, d) })
  }
})
/** Lines of (cos, sin): angles that differ from pair to pair. */
const turns = (positions: number, d: number) => ({
  shape: [positions, d], dtype: 'float32' as const,
  data: Float32Array.from({ length: positions * d }, (_, i) => (i % 2 ? Math.sin : Math.cos)(Math.floor(i / d) * 0.7 + ((i % d) >> 1)))
})
const cases = [
  of('odd, norm alone', [5, 3, 7]), of('rope alone', [6, 2, 10], { weight: false, positions: 6 }), of('rows past the table', [9, 2, 6], { positions: 3 }),
  of('four rows a position', [12, 1, 18], { positions: 3, each: 4 }), of('neither', [2, 2, 5], { weight: false }),
  of('model', [60, 16, 72], { positions: 60 }), of('empty', [0, 4, 8], { positions: 1 })
]

testOp('rms_norm_rope', {
  cases,
  reference: ({ x, weight, rope }, { eps, rows_per_position: each }) => {
    const [R, H, d] = x!.shape as [number, number, number]
    const rstd = compute([R, H], (r, h) => {
      if (!weight) return 1
      const row = x!.data.subarray((r * H + h) * d, (r * H + h + 1) * d)
      return 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / d + eps!)
    })
    const n = compute([R, H, d], (r, h, i) => at(x!, r, h, i) * at(rstd, r, h) * (weight ? weight.data[i]! : 1))
    return { y: rope ? turned(n, rope, each!) : n, rstd }
  },
  tolerance: { own: 8, largest: 8 },
  layouts: { x: 'rows', y: 'rows' },
  gradient: {
    of: { dx: 'x', dweight: 'weight' }, dy: 'y', added: ['dweight'], tolerance: { own: 32, largest: 32 }, layouts: { x: 'rows', dy: 'rows', dx: 'rows' },
    cases: [...cases.filter(({ title }) => title !== 'model'), of('more rows than one task', [90, 2, 24], { positions: 45, each: 2 })]
  }
})

function turned(n: Tensor64, rope: Tensor64, each: number): Tensor64 {
  return compute(n.shape, (r, h, i) => {
    const line = Math.floor(r / each)
    if (line >= rope.shape[0]!) return at(n, r, h, i)
    const pair = i - (i % 2)
    const [cos, sin] = [at(rope, line, pair), at(rope, line, pair + 1)]
    return i % 2 ? at(n, r, h, i) * cos + at(n, r, h, i - 1) * sin : at(n, r, h, i) * cos - at(n, r, h, i + 1) * sin
  })
}
