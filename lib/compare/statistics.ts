// Means with 95 % intervals, and differences of two methods over the same prompts and seeds.

export interface Estimate {
  mean: number
  /** 95 % interval; absent for fewer than two values. */
  interval?: [number, number]
  /** Values, or pairs of values. */
  count: number
}

const Z = 1.959964

/** 97.5 % point of Student's distribution: for few degrees of freedom from its table, else by Cornish and Fisher's expansion (to 1e-4). */
const fewDegrees = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281]

export function studentQuantile(degrees: number): number {
  const known = fewDegrees[degrees - 1]
  if (known !== undefined) return known
  const [z, d] = [Z, degrees]
  return z + (z ** 3 + z) / (4 * d) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * d ** 2) + (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * d ** 3)
}

/** Student's interval. */
export function meanOf(values: readonly number[]): Estimate | undefined {
  const count = values.length
  if (count === 0) return undefined
  const mean = values.reduce((a, b) => a + b, 0) / count
  if (count === 1) return { mean, count }
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1)
  const half = studentQuantile(count - 1) * Math.sqrt(variance / count)
  return { mean, interval: [mean - half, mean + half], count }
}

/** Wilson's interval of a share. */
export function shareOf(hits: number, count: number): Estimate | undefined {
  if (count === 0) return undefined
  const p = hits / count
  const z2 = Z * Z
  const middle = p + z2 / (2 * count)
  const half = Z * Math.sqrt((p * (1 - p)) / count + z2 / (4 * count * count))
  return { mean: p, interval: [(middle - half) / (1 + z2 / count), (middle + half) / (1 + z2 / count)], count }
}

/** Mean difference of the values that both have under one key, and its interval: what changes from key to key alike counts for nothing. */
export function pairedDifference(of: ReadonlyMap<string, number>, to: ReadonlyMap<string, number>): Estimate | undefined {
  return meanOf([...of].flatMap(([key, value]) => (to.has(key) ? [value - to.get(key)!] : [])))
}

/** Whether an interval leaves out 0. */
export function isClear({ interval }: Estimate): boolean {
  return interval !== undefined && (interval[0] > 0 || interval[1] < 0)
}
