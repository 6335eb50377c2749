// Intervals against tables and numbers by hand.
import { expect, test } from 'vitest'
import { ticksOf } from '../../lib/compare/curves.js'
import { isClear, meanOf, pairedDifference, shareOf, studentQuantile } from '../../lib/compare/statistics.js'

test("Student's quantiles are those of tables", () => {
  // Degrees of freedom and the 97.5 % point, four digits.
  for (const [degrees, wanted] of [[1, 12.7062], [5, 2.5706], [10, 2.2281], [11, 2.201], [15, 2.1314], [20, 2.086], [30, 2.0423], [60, 2.0003], [120, 1.9799], [1e6, 1.96]] as const) {
    expect(studentQuantile(degrees), `${degrees}`).toBeCloseTo(wanted, 3)
  }
})

test('a mean has the interval of its values', () => {
  // Mean 3, variance 2.5, n 5: 2.7764 · √(2.5 / 5).
  const { mean, interval, count } = meanOf([1, 2, 3, 4, 5])!
  expect([mean, count]).toEqual([3, 5])
  expect(interval![1] - 3).toBeCloseTo(2.7764 * Math.SQRT1_2, 10)
  expect(meanOf([7])).toEqual({ mean: 7, count: 1 })
  expect(meanOf([])).toBeUndefined()
})

test("a share has Wilson's interval", () => {
  // methods.md: 109 of 128 → .7798 … .9029, 41 of 128 → .2457 … .4054.
  for (const [hits, low, high] of [[109, 0.7798, 0.9029], [41, 0.2457, 0.4054]] as const) {
    const { interval } = shareOf(hits, 128)!
    expect(interval![0]).toBeCloseTo(low, 4)
    expect(interval![1]).toBeCloseTo(high, 4)
  }
})

test('a difference is taken over what both have, so what changes for both alike counts for nothing', () => {
  const of = new Map([['a', 11], ['b', 22], ['c', 33.5], ['d', 1e6]])
  const to = new Map([['a', 10], ['b', 21], ['c', 32], ['e', 7]])
  // Differences 1, 1, 1.5: mean 7/6, standard deviation .288675.
  const difference = pairedDifference(of, to)!
  expect(difference.count).toBe(3)
  expect(difference.mean).toBeCloseTo(7 / 6, 12)
  expect(difference.interval![0]).toBeCloseTo(7 / 6 - (4.3027 * 0.2886751) / Math.sqrt(3), 6)
  expect(isClear(difference)).toBe(true)
  expect(isClear(pairedDifference(new Map([['a', 1], ['b', -1]]), new Map([['a', 0], ['b', 0]]))!)).toBe(false)
  expect(isClear({ mean: 5, count: 1 })).toBe(false)
  expect(pairedDifference(of, new Map())).toBeUndefined()
})

test('ticks are round and cover the range', () => {
  expect(ticksOf(0.13, 0.94)).toEqual([0, 0.5, 1])
  expect(ticksOf(3, 3)).toEqual([3, 4])
  expect(ticksOf(-2, 1)).toEqual([-2, -1, 0, 1])
})
