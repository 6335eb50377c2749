// Which timesteps of training n steps of sampling take, for models that were trained at integer ones. NumPy's arithmetic, operation by operation: its roundings decide
// whether a timestep that lies half-way becomes 499 or 500.

/** Rounds half to even. */
function rint(value: number): number {
  const floor = Math.floor(value)
  if (value - floor !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}

/** `linspace(0, end, n).round()`, descending. */
export function linspace(end: number, n: number): number[] {
  if (n === 1) return [0]
  const step = end / (n - 1)
  return Array.from({ length: n }, (_, i) => (i === n - 1 ? end : rint(i * step))).reverse()
}

/** Multiples of ⌊train/parts⌋ from n − 1 down to 0, moved up by the offset. */
export function leading(train: number, parts: number, n: number, offset: number): number[] {
  const step = Math.floor(train / parts)
  return Array.from({ length: n }, (_, i) => (n - 1 - i) * step + offset)
}

/** `arange(train, 0, -train/n).round() - 1`: the first n, where rounding makes NumPy give one more. */
export function trailing(train: number, n: number): number[] {
  // arange adds its step to the start once, and goes on by the difference that this makes.
  const step = train - train / n - train
  return Array.from({ length: n }, (_, i) => rint(train + i * step) - 1)
}
