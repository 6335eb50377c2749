// Rows of ratios, the table they are printed as, and the goals that are read off them. Nothing here measures.

/** One figure per round, and what is quoted of them. */
export interface Summary {
  median: number
  min: number
  max: number
  rounds: number[]
}

export function summary(rounds: readonly number[]): Summary {
  const sorted = [...rounds].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
  return { median, min: sorted[0]!, max: sorted.at(-1)!, rounds: [...rounds] }
}

/** above / below, round by round: what disturbs the machine for a while disturbs both sides of a ratio. */
export const ratio = (above: readonly number[], below: readonly number[]): Summary => summary(above.map((value, round) => value / below[round]!))

export interface Row {
  group: string
  work: string
  threads: number
  /** By column; a plain number was counted, not measured. */
  ratios: Record<string, Summary | number>
  /** Contender that `× PyTorch` refers to: the fastest of them. */
  peer?: string
  /** Its version. */
  pytorch?: string
  /** Floating-point operations of one call. */
  operations?: number
  /** Seconds of one call, per contender and round. */
  seconds: Record<string, number[]>
  /** fp32 operations per second that registers alone allow, by number of threads. */
  peak?: Record<number, number[]>
}

const order = [
  'measured peak', 'GEMM', 'GEMM backward', 'attention', 'attention, forward and backward', 'denoise', 'training step', 'around the transformer', 'vin beside full', 'chunk scaling', 'start'
]

export const OF_PEAK = 'of peak'
export const TIMES_PEER = '× PyTorch'

export interface Goal {
  text: string
  group: string
  column: string
  least: number
}

export const goals: Goal[] = [
  { text: 'GEMM at DiT shapes ≥ 70 % of measured peak', group: 'GEMM', column: OF_PEAK, least: 0.7 },
  { text: 'one denoise ≥ 0.8 × PyTorch', group: 'denoise', column: TIMES_PEER, least: 0.8 },
  { text: 'one training step ≥ 0.8 × PyTorch', group: 'training step', column: TIMES_PEER, least: 0.8 }
]

const digits = (value: number): string => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2))

const cell = (value: Summary | number | undefined): string => {
  if (value === undefined) return '–'
  if (typeof value === 'number') return digits(value)
  return value.rounds.length === 1 ? digits(value.median) : `${digits(value.median)} (${digits(value.min)}–${digits(value.max)})`
}

const medianOf = (value: Summary | number): number => (typeof value === 'number' ? value : value.median)

const figure = ({ ratios, peer }: Row, column: string): string => cell(ratios[column]) + (column === TIMES_PEER && peer ? ` ${peer}` : '')

/** One row by itself, for those who wait for the table. */
export function formatRow(row: Row): string {
  const figures = Object.keys(row.ratios).map((column) => `${column} ${figure(row, column)}`)
  return `${row.group}, ${row.work}, ${row.threads} ${row.threads === 1 ? 'thread' : 'threads'}: ${figures.join('; ')}`
}

/** Groups below each other, each with its own columns under one set of widths. */
export function formatTable(rows: readonly Row[]): string {
  const groups = [...new Set(rows.map(({ group }) => group))].sort((a, b) => order.indexOf(a) - order.indexOf(b))
  const lines: string[][] = []
  for (const group of groups) {
    const members = rows.filter((row) => row.group === group)
    const columns = [...new Set(members.flatMap(({ ratios }) => Object.keys(ratios)))]
    lines.push([], [group, 'threads', ...columns])
    for (const row of members) lines.push([`  ${row.work}`, String(row.threads), ...columns.map((column) => figure(row, column))])
  }
  const widths: number[] = []
  for (const line of lines) line.forEach((text, i) => (widths[i] = Math.max(widths[i] ?? 0, text.length)))
  return lines.map((line) => line.map((text, i) => text.padEnd(widths[i]!)).join('  ').trimEnd()).join('\n')
}

/** The peaks of all rows that measured one, in words. */
export function formatPeak(rows: readonly Row[]): string {
  const found: Record<string, number[]> = {}
  for (const { peak } of rows) for (const [threads, rounds] of Object.entries(peak ?? {})) (found[threads] ??= []).push(...rounds)
  return Object.entries(found)
    .map(([threads, rounds]) => `${threads} ${threads === '1' ? 'thread' : 'threads'} ${digits(summary(rounds).median / 1e9)} GFLOP/s`)
    .join(', ')
}

/** 'met', 'missed' or 'not measured', and by what. */
export function formatGoals(rows: readonly Row[]): string {
  return goals
    .map(({ text, group, column, least }) => {
      const found = rows.flatMap((row) => (row.group === group && row.ratios[column] !== undefined ? [{ work: row.work, value: medianOf(row.ratios[column]) }] : []))
      if (found.length === 0) return `not measured  ${text}`
      const worst = found.reduce((a, b) => (b.value < a.value ? b : a))
      const reached = found.filter(({ value }) => value >= least).length
      return `${reached === found.length ? 'met         ' : 'missed      '}  ${text}: ${reached} of ${found.length} rows, lowest ${digits(worst.value)} (${worst.work})`
    })
    .join('\n')
}
