// A gradient as `onGradients` sees it.

import { checkNumber } from '../check.js'
import { Tensor } from '../native/tensor.js'

/** The sum over a step's videos, live until the next step. */
export class Gradient extends Tensor {
  /** Multiplies it in place, before norm, clipping and update. 0 also takes away what is not finite. */
  scale(factor: number): void {
    checkNumber(factor, 'factor', -1e30, 1e30)
    const [engine, gradient] = [this.engine, this.native]
    if (factor === 0) engine.op('fill', { y: gradient, value: 0 })
    else engine.op('linear_combination', { y: gradient, a: gradient, fa: factor, fb: 0, fc: 0, fd: 0 })
  }
}
