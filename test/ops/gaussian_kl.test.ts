import { clamp } from './elementwise.js'
import { addTo, earlierLoss, fp64Sum } from './losses.js'
import { moments } from './moments.js'
import { at } from './operands.js'
import { testOp, type OpCase } from './test-op.js'

const of = (title: string, [R, C]: [number, number]): OpCase => ({ title, inputs: { moments: moments(R, C) }, scalars: { scale: 0.01 }, outputs: { loss: earlierLoss() } })
const cases = [of('odd', [1, 3]), of('clamped', [9, 4]), of('empty', [0, 4])]

testOp('gaussian_kl', {
  cases: [...cases, of('model', [10 * 24 * 40, 4])],
  reference: ({ moments: m, loss }, { scale }) => {
    const [R, C] = [m!.shape[0]!, m!.shape[1]! / 2]
    let total = 0
    for (let r = 0; r < R; r++)
      for (let c = 0; c < C; c++) {
        const logvar = clamp(at(m!, r, C + c), -30, 20)
        total += at(m!, r, c) ** 2 + Math.exp(logvar) - 1 - logvar
      }
    return { loss: addTo(loss!, (scale! / 2) * total) }
  },
  tolerance: fp64Sum,
  layouts: { moments: 'rows' },
  gradient: { of: { dmoments: 'moments' }, tolerance: { own: 4 }, layouts: { moments: 'rows', dmoments: 'rows' }, cases }
})
