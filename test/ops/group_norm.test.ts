import { at, compute, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [B, P, C]: [number, number, number], groups: number, silu: number, mean = 0): OpCase => ({
  title, scalars: { groups, silu, eps: 1e-6 }, outputs: { y: { shape: [B, P, C] }, stats: { shape: [B, groups, 2] } },
  inputs: {
    x: normal([B, P, C], { mean, deviation: 2 }), weight: normal([C], { seed: 1, mean: 1, deviation: 0.3 }), bias: normal([C], { seed: 2, deviation: 0.3 })
  }
})
const cases = [
  of('odd', [2, 5, 9], 3, 0), of('silu', [3, 7, 12], 4, 1), of('several blocks', [2, 200, 6], 2, 1), of('model', [1, 256, 128], 32, 1), of('empty', [0, 4, 8], 2, 0)
]

testOp('group_norm', {
  // A mean of 50 deviations: the fp64 sums keep the variance; x − mean itself is exact to one rounding of x.
  cases: [...cases, { ...of('far from zero', [1, 100, 8], 2, 0, 100), tolerance: { largest: 128 } }],
  reference: ({ x, weight, bias }, { groups, silu, eps }) => {
    const [B, P, C] = x!.shape as [number, number, number]
    const size = C / groups!
    const members = (b: number, g: number) => compute([P, size], (p, c) => at(x!, b, p, g * size + c)).data
    const stats = compute([B, groups!, 2], () => 0)
    for (let b = 0; b < B; b++)
      for (let g = 0; g < groups!; g++) {
        const m = members(b, g)
        const mean = m.reduce((sum, v) => sum + v, 0) / m.length
        stats.data.set([mean, 1 / Math.sqrt(m.reduce((sum, v) => sum + (v - mean) ** 2, 0) / m.length + eps!)], (b * groups! + g) * 2)
      }
    const y = compute([B, P, C], (b, p, c) => {
      const g = Math.floor(c / size)
      const z = (at(x!, b, p, c) - at(stats, b, g, 0)) * at(stats, b, g, 1) * weight!.data[c]! + bias!.data[c]!
      return silu ? z / (1 + Math.exp(-z)) : z
    })
    return { y, stats }
  },
  tolerance: { own: 16, largest: 8 },
  gradient: {
    of: { dx: 'x', dweight: 'weight', dbias: 'bias' }, dy: 'y', added: ['dweight', 'dbias'], tolerance: { own: 32, largest: 32 },
    cases: cases.filter(({ title }) => title !== 'model')
  }
})
