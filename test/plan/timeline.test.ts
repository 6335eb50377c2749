// Shares of a timeline's entries, by the words of its rules.
import { expect, test } from 'vitest'
import { entryAt, entryShares } from '../../lib/plan/timeline.js'

const entries = (...list: [latentFrame: number, ease: number][]) => list.map(([latentFrame, ease]) => ({ latentFrame, ease }))

test('an entry holds from its start to the next one, the first from the beginning', () => {
  const timeline = entries([3, 0], [10, 0], [20, 0])
  expect([0, 3, 9.5, 10, 15, 20, 1000].map((centre) => entryAt(timeline, centre))).toEqual([0, 0, 0, 1, 1, 2, 2])
  expect([5, 10, 25].map((centre) => entryShares(timeline, centre))).toEqual([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
  expect(entryAt([], 5)).toBe(0)
  expect(entryShares([], 5)).toEqual([1])
})

test('an entry fades in from its start over `ease` latent frames', () => {
  const timeline = entries([0, 7], [10, 8])
  expect([9, 10, 12, 14, 17, 18, 30].map((centre) => entryShares(timeline, centre))).toEqual([[1, 0], [1, 0], [0.75, 0.25], [0.5, 0.5], [0.125, 0.875], [0, 1], [0, 1]])
})

test('an entry that begins while another still fades in blends with what was there', () => {
  const timeline = entries([0, 0], [10, 20], [15, 10])
  // At 20 the second entry is half there, and the third takes half of that blend.
  expect(entryShares(timeline, 20)).toEqual([0.25, 0.25, 0.5])
  expect(entryShares(timeline, 15)).toEqual([0.75, 0.25, 0])
  // No jump anywhere: the steepest share moves by 1/10 a latent frame, and what shrinks by two factors at once by no more than the sum of their rates.
  for (let centre = 8; centre < 32; centre += 0.01) {
    const [before, after] = [entryShares(timeline, centre), entryShares(timeline, centre + 0.01)]
    expect(after.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12)
    after.forEach((share, i) => expect(Math.abs(share - before[i]!)).toBeLessThan(0.01 * (1 / 10 + 1 / 20) + 1e-12))
  }
})
