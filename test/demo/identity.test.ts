import { expect, test } from 'vitest'
import { promptedAttributes } from '../../models/demo/evaluation/caption.js'
import { gapSegments, identity, wilsonInterval } from '../../models/demo/evaluation/identity.js'
import type { SegmentReading } from '../../models/demo/evaluation/attributes.js'

const shows = (background: SegmentReading['background']): SegmentReading => ({ background, colour: undefined, shape: undefined, size: undefined, curtain: 0 })
const pair = (before: SegmentReading['background'], after: SegmentReading['background']) => ({ before: shows(before), after: shows(after) })

test("Wilson's interval has its known values", () => {
  const rounded = (hits: number, count: number) => wilsonInterval(hits, count).map((value) => Number(value.toFixed(4)))
  expect(rounded(109, 128)).toEqual([0.7798, 0.9029])
  expect(rounded(41, 128)).toEqual([0.2457, 0.4054])
  expect(wilsonInterval(0, 0)).toEqual([0, 1])
})

test('a match needs both sides read and equal; unread equals nothing', () => {
  const result = identity('background', [pair('sea', 'sea'), pair('sea', 'night'), pair(undefined, undefined), pair('room', undefined)])
  expect(result).toMatchObject({ videos: 4, matches: 1, rate: 0.25, read: 0.5 })
})

test('chance is that of the marginals that were generated', () => {
  expect(identity('background', [pair('sea', 'sea'), pair('sea', 'sea')]).chance).toBe(1)
  // sea ½, night ½
  expect(identity('background', [pair('sea', 'night'), pair('night', 'sea')]).chance).toBeCloseTo(0.5, 12)
  expect(identity('background', []).chance).toBe(0)
})

test('the segments of a gap end before closing begins and start after opening has ended', () => {
  expect(gapSegments(1, 3)).toEqual({ before: [0, 8], after: [56, 64] })
  expect(gapSegments(3, 9)).toEqual({ before: [32, 40], after: [152, 160] })
})

test('captions are understood', () => {
  expect(promptedAttributes('A small red circle and a large blue square bounces over the sea')).toEqual([
    { attribute: 'background', value: 'sea' },
    { attribute: 'colour', value: 'red' },
    { attribute: 'shape', value: 'circle' },
    { attribute: 'size', value: 'small' }
  ])
  expect(promptedAttributes('a shape moves the curtain closes at 3s opens at 9s')).toEqual([])
})
