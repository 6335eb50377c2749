import { normal, values } from './operands.js'
import { testOp, type OpCase } from './test-op.js'
import { map } from './elementwise.js'

const of = (title: string, shape: number[], step: number, clip?: number): OpCase => {
  const second = normal(shape, { seed: 3 })
  second.data.forEach((value, i) => (second.data[i] = step === 1 ? 0 : value * value))
  const first = normal(shape, { seed: 2 })
  if (step === 1) first.data.fill(0)
  return {
    title,
    inputs: { gradient: normal(shape, { seed: 1 }), ...(clip !== undefined && { clip: values([1], [clip]) }) },
    scalars: {
      learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, correction1: 1 - 0.9 ** step, correction2: 1 - 0.999 ** step
    },
    outputs: { weight: { shape, initial: normal(shape) }, first_moment: { shape, initial: first }, second_moment: { shape, initial: second } }
  }
}

testOp('adamw', {
  cases: [of('first step', [3, 5, 7], 1), of('later, clipped', [19], 100, 0.25), of('model', [1152, 72], 1000), of('empty', [0], 1)],
  reference: ({ weight, first_moment, second_moment, gradient, clip }, s) => {
    if (Number.isNaN(clip?.data[0])) return { weight: weight!, first_moment: first_moment!, second_moment: second_moment! }
    const g = map((x) => x * (clip ? clip.data[0]! : 1), gradient!)
    const m = map((before, x) => s.beta1! * before + (1 - s.beta1!) * x, first_moment!, g)
    const v = map((before, x) => s.beta2! * before + (1 - s.beta2!) * x * x, second_moment!, g)
    const w = map(
      (x, mean, square) => x - s.learning_rate! * (s.weight_decay! * x + mean / s.correction1! / (Math.sqrt(square / s.correction2!) + s.eps!)), weight!, m, v
    )
    return { weight: w, first_moment: m, second_moment: v }
  },
  // Three fp32 operations for each moment, eight for the weight; terms may cancel.
  tolerance: { own: 8, largest: 4 }
})
