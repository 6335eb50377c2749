// Shared by the losses: a float64 number that is added to.

import { values, type Tensor64 } from './operands.js'
import type { OutputShape, Tolerance } from './test-op.js'

export const earlierLoss = (): OutputShape => ({ shape: [1], dtype: 'float64', initial: values([1], [0.625], 'float64') })
export const addTo = (loss: Tensor64, amount: number): Tensor64 => ({ shape: [1], data: Float64Array.of(loss.data[0]! + amount) })

/** fp64 sums of up to 10⁵ terms in another order: 10⁵ · 2⁻⁵³ of the loss, 2e-4 units of 2⁻²⁴. */
export const fp64Sum: Tolerance = { own: 2e-4 }
