// References of elementwise ops.

import type { Tensor64 } from './operands.js'

export const map = (f: (...x: number[]) => number, ...operands: Tensor64[]): Tensor64 => ({
  shape: operands[0]!.shape,
  data: operands[0]!.data.map((_, i) => f(...operands.map(({ data }) => data[i]!)))
})

/** clamp and sign of PyTorch: NaN stays. */
export const clamp = (x: number, low: number, high: number): number => (x < low ? low : x > high ? high : x)
