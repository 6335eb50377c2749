import { addTo, earlierLoss, fp64Sum } from './losses.js'
import { normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [R, C]: [number, number], weighted: boolean, [l1, l2]: [number, number]): OpCase => ({
  title, scalars: { l1, l2 }, outputs: { loss: earlierLoss() },
  // Means apart, so that no finite difference crosses the corner of |p − t|.
  inputs: {
    prediction: normal([R, C], { seed: 1, mean: 8 }), target: normal([R, C], { seed: 2 }), ...(weighted && { weight: normal([R], { mean: 1, deviation: 0.5 }) })
  }
})
const both: [number, number] = [0.5, 0.25]
const cases = [
  of('odd', [5, 3], true, both), of('l1 alone', [40, 3], false, [1, 0]), of('below the target', [6, 7], true, [-1, 0.125]), of('empty', [0, 3], true, both)
]

testOp('reconstruction_loss', {
  cases: [...cases, of('model', [16 * 64 * 64, 3], true, both)],
  reference: ({ prediction, target, weight, loss }, { l1, l2 }) => {
    const C = prediction!.shape[1]!
    const total = prediction!.data.reduce((sum, p, i) => {
      const difference = p - target!.data[i]!
      return sum + (weight ? weight.data[Math.floor(i / C)]! : 1) * (l1! * Math.abs(difference) + l2! * difference ** 2)
    }, 0)
    return { loss: addTo(loss!, total) }
  },
  tolerance: fp64Sum,
  layouts: { prediction: 'rows', target: 'rows' },
  gradient: { of: { dprediction: 'prediction' }, tolerance: { own: 2 }, layouts: { prediction: 'rows', target: 'rows', dprediction: 'rows' }, cases }
})
