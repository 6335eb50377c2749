// What the benchmarks print: medians, ratios of rounds, the table and the goals read off it. And the arguments of `npm run bench`.
import { describe, expect, test } from 'vitest'
import { OF_PEAK, TIMES_PEER, formatGoals, formatPeak, formatRow, formatTable, ratio, summary } from './table.js'
import type { Row } from './table.js'

interface BenchArguments {
  benchHelp: string
  readBenchArguments(args: string[]): { help?: true; settings?: Record<string, unknown>; rest?: string[] }
}
const { benchHelp, readBenchArguments } = (await import(new URL('../../tools/bench.mjs', import.meta.url).href)) as BenchArguments

const row = (group: string, work: string, ratios: Row['ratios'], more: Partial<Row> = {}): Row => ({ group, work, threads: 2, ratios, seconds: {}, ...more })

test('a median is the middle round, or the mean of the two in the middle', () => {
  expect(summary([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3, rounds: [3, 1, 2] })
  expect(summary([4, 1, 2, 3]).median).toBe(2.5)
  expect(summary([7])).toMatchObject({ median: 7, min: 7, max: 7 })
})

test('a ratio compares what ran in the same round', () => {
  // The second round was disturbed for both: each is twice as slow there.
  expect(ratio([2, 4, 2], [1, 2, 1])).toEqual({ median: 2, min: 2, max: 2, rounds: [2, 2, 2] })
})

test('the table has a heading per group, groups in one order, and rows with lowest and highest', () => {
  const rows = [
    row('denoise', '20 latent frames', { [OF_PEAK]: summary([0.5, 0.7, 0.6]), [TIMES_PEER]: summary([1.2]) }, { peer: 'compiled' }),
    row('GEMM', 'a', { [OF_PEAK]: summary([0.8, 0.8, 0.8]) }),
    row('GEMM', 'b', { [OF_PEAK]: 0.25, [TIMES_PEER]: summary([12.34, 12.34, 12.34]) }, { peer: 'eager' })
  ]
  expect(formatTable(rows).split('\n')).toEqual([
    '',
    'GEMM                threads  of peak           × PyTorch',
    '  a                 2        0.80 (0.80–0.80)  –',
    '  b                 2        0.25              12.3 (12.3–12.3) eager',
    '',
    'denoise             threads  of peak           × PyTorch',
    '  20 latent frames  2        0.60 (0.50–0.70)  1.20 compiled'
  ])
})

test('a row says by itself what it compares', () => {
  const both = row('denoise', '20 latent frames', { [OF_PEAK]: summary([0.5, 0.7, 0.6]), [TIMES_PEER]: summary([1.2]) }, { peer: 'compiled' })
  expect(formatRow(both)).toBe('denoise, 20 latent frames, 2 threads: of peak 0.60 (0.50–0.70); × PyTorch 1.20 compiled')
  expect(formatRow(row('GEMM', 'a', { [OF_PEAK]: 0.25 }, { threads: 1 }))).toBe('GEMM, a, 1 thread: of peak 0.25')
})

test('a goal is met when every row of its group reaches it by its median', () => {
  const gemm = (...medians: number[]) => medians.map((median, i) => row('GEMM', `shape ${i}`, { [OF_PEAK]: summary([median]) }))
  const lines = (rows: Row[]) => formatGoals(rows).split('\n')
  expect(lines(gemm(0.7, 0.9))[0]).toBe('met           GEMM at DiT shapes ≥ 70 % of measured peak: 2 of 2 rows, lowest 0.70 (shape 0)')
  expect(lines(gemm(0.9, 0.69))[0]).toBe('missed        GEMM at DiT shapes ≥ 70 % of measured peak: 1 of 2 rows, lowest 0.69 (shape 1)')
  expect(lines(gemm(0.9))[1]).toBe('not measured  one denoise ≥ 0.8 × PyTorch')
  expect(lines([row('training step', 'x', { [TIMES_PEER]: summary([0.81]) })])[2]).toBe('met           one training step ≥ 0.8 × PyTorch: 1 of 1 rows, lowest 0.81 (x)')
})

test('the peak is the median over all rows, by threads', () => {
  expect(formatPeak([row('a', 'a', {}, { peak: { 1: [50e9], 2: [80e9, 100e9] } }), row('a', 'b', {}, { peak: { 2: [110e9] } })])).toBe('1 thread 50.0 GFLOP/s, 2 threads 100 GFLOP/s')
})

describe('npm run bench', () => {
  test('has its own options; the others are left to vitest', () => {
    expect(readBenchArguments(['gemm', '--peer', '--python=/opt/torch/bin/python', '-t', 'bare'])).toEqual({ settings: { peer: true, python: '/opt/torch/bin/python' }, rest: ['gemm', '-t', 'bare'] })
    expect(readBenchArguments(['--python', 'python3.11', '--rounds', '7'])).toEqual({ settings: { python: 'python3.11', rounds: 7 }, rest: [] })
    expect(readBenchArguments([])).toEqual({ settings: {}, rest: [] })
  })

  test('--quick is one round unless more are asked for', () => {
    expect(readBenchArguments(['--quick']).settings).toEqual({ quick: true, rounds: 1 })
    expect(readBenchArguments(['--quick', '--rounds', '2']).settings).toEqual({ quick: true, rounds: 2 })
  })

  test.each([['--python'], ['--python='], ['--rounds', '0'], ['--rounds', '1.5'], ['--rounds', 'many'], ['--rounds']])('refuses %s %s', (...args) => {
    expect(() => readBenchArguments(args)).toThrow(RangeError)
  })

  test('--help names every option', () => {
    expect(readBenchArguments(['gemm', '--help'])).toEqual({ help: true })
    for (const option of ['--peer', '--python', '--quick', '--rounds', '-t']) expect(benchHelp).toContain(option)
  })
})
