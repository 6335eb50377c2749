import { addTo, earlierLoss, fp64Sum } from './losses.js'
import { compute, normal } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, shape: number[], weighted: boolean): OpCase => ({
  title, scalars: { scale: 0.0125 }, outputs: { loss: earlierLoss() },
  inputs: {
    prediction: normal(shape, { seed: 1 }), target: normal(shape, { seed: 2 }), ...(weighted && { weight: normal([shape[1]!], { mean: 1, deviation: 0.5 }) })
  }
})
const cases = [of('odd', [3, 5, 4, 7], true), of('no weight', [2, 3, 3, 2], false), of('model', [4, 20, 24, 40], true), of('empty', [4, 0, 6, 6], true)]

testOp('squared_error', {
  cases,
  reference: ({ prediction, target, weight, loss }, { scale }) => {
    const [, F, H, W] = prediction!.shape as [number, number, number, number]
    const terms = compute([prediction!.data.length], (i) => (weight ? weight.data[Math.floor(i / H / W) % F]! : 1) * (prediction!.data[i]! - target!.data[i]!) ** 2)
    return { loss: addTo(loss!, scale! * terms.data.reduce((sum, term) => sum + term, 0)) }
  },
  tolerance: fp64Sum,
  layouts: { prediction: 'strided', target: 'strided' },
  gradient: {
    of: { dprediction: 'prediction' }, tolerance: { own: 2 }, layouts: { prediction: 'strided', target: 'strided', dprediction: 'strided' },
    cases: cases.filter(({ title }) => title !== 'model')
  }
})
