// Moments [R, 2C] of the VAE's Gaussian: means, then log variances, some of them beyond the clamp at −30 and 20.

import { normal, type Operand } from './operands.js'

export function moments(R: number, C: number): Operand {
  const operand = normal([R, 2 * C])
  for (let r = 0; r < R; r++) {
    if (r % 3 === 1) operand.data[r * 2 * C + C] = 21.5
    if (r % 3 === 2) operand.data[r * 2 * C + C] = -31
  }
  return operand
}
