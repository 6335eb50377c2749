// When a step's evaluation may be left out: TeaCache (arXiv 2411.19108), methods.md §9.

/** 'slow' skips where little changes, 'fast' more; a number is the threshold itself, and 0 skips nothing. */
export type StepCacheOption = 'off' | 'slow' | 'fast' | number

export const stepCacheNames = ['off', 'slow', 'fast'] as const

/** What may change before a step is computed again. */
const stepCacheThresholds = { slow: 0.1, fast: 0.2 } as const

/** How much the prediction changes for a change of the first block's modulated input, highest power first: Open-Sora 1.2's, fitted by TeaCache's authors. */
export const openSoraPolynomial: readonly number[] = [217.546007, -118.329252, 26.8662585, -0.0459364272, 0.048442624]

/** What an option lets change; undefined: every step is computed. */
export function stepCacheThreshold(option: StepCacheOption): number | undefined {
  return typeof option === 'number' ? option : option === 'off' ? undefined : stepCacheThresholds[option]
}

/** The polynomial's value. */
export function polynomialAt(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0)
}

/** Adds up what has changed since the last step that was computed, and says which step is computed next. */
export class ChangeCounter {
  readonly #threshold: number
  readonly #polynomial: readonly number[]
  /** In fp32, as a saved state keeps it. */
  accumulated = 0

  constructor(threshold: number, polynomial: readonly number[]) {
    this.#threshold = threshold
    this.#polynomial = polynomial
  }

  /** Whether this step is computed. `change` of the input since the step before it, relative; undefined: none is known. The first and the last step always are. */
  next(change: number | undefined, isLast: boolean): boolean {
    this.accumulated = change === undefined || isLast ? Infinity : Math.fround(this.accumulated + polynomialAt(this.#polynomial, change))
    // A change that is no number computes; a polynomial may fall below 0, and threshold 0 computes all the same.
    const computes = this.#threshold === 0 || !(this.accumulated < this.#threshold)
    if (computes) this.accumulated = 0
    return computes
  }
}

/** The polynomial of a degree, highest power first, that is nearest to the points by least squares. */
export function fitPolynomial(points: readonly (readonly [x: number, y: number])[], degree: number): { polynomial: number[]; error: number } {
  // Powers of x / scale keep the columns alike. Householder reflections of [powers | y].
  const scale = Math.max(...points.map(([x]) => Math.abs(x))) || 1
  const rows = points.map(([x, y]) => Float64Array.from([...Array.from({ length: degree + 1 }, (_, i) => (x / scale) ** (degree - i)), y]))
  const columns = degree + 1
  const at = (row: number, column: number): number => rows[row]![column]!
  for (let k = 0; k < columns; k++) {
    const norm = Math.hypot(...rows.slice(k).map((row) => row[k]!))
    if (norm === 0) continue
    const v = rows.map((row, i) => (i < k ? 0 : row[k]!))
    v[k]! += v[k]! < 0 ? -norm : norm
    const square = v.reduce((sum, value) => sum + value * value, 0)
    for (let column = k; column <= columns; column++) {
      const factor = (2 * rows.reduce((sum, row, i) => sum + v[i]! * row[column]!, 0)) / square
      rows.forEach((row, i) => void (row[column]! -= factor * v[i]!))
    }
  }
  const scaled = Array<number>(columns).fill(0)
  for (let k = columns - 1; k >= 0; k--) {
    const rest = scaled.reduce((sum, coefficient, column) => (column > k ? sum + at(k, column) * coefficient : sum), 0)
    scaled[k] = (at(k, columns) - rest) / at(k, k)
  }
  const error = Math.hypot(...rows.slice(columns).map((row) => row[columns]!)) / Math.sqrt(points.length)
  return { polynomial: scaled.map((coefficient, i) => coefficient / scale ** (degree - i)), error }
}
