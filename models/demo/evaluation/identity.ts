// Is what comes out from behind a curtain what went in? Attributes before and after a gap are compared over many videos, with chance and intervals beside.

import { WORLD_FPS } from 'vin-native/demo-world'
import { readSegment } from './attributes.js'
import { readability } from './readability.js'
import type { Readability } from './readability.js'
import type { Attribute, FrameReading, SegmentReading } from './attributes.js'

/** 97.5 % point of the normal distribution: intervals hold 95 %. */
const Z = 1.959964

/** Wilson's interval for a share of `hits` in `count` trials. */
export function wilsonInterval(hits: number, count: number): [number, number] {
  if (count === 0) return [0, 1]
  const p = hits / count
  const z2 = Z * Z
  const centre = p + z2 / (2 * count)
  const half = Z * Math.sqrt((p * (1 - p)) / count + z2 / (4 * count * count))
  return [Math.max(0, (centre - half) / (1 + z2 / count)), Math.min(1, (centre + half) / (1 + z2 / count))]
}

/** Video frames before and after a gap: the last 8 before closing begins at 16·t1 − 8, the first 8 from 16·t2 + 8 on. */
export function gapSegments(t1: number, t2: number): { before: [number, number]; after: [number, number] } {
  const closing = WORLD_FPS * t1 - 8
  const open = WORLD_FPS * t2 + 8
  return { before: [Math.max(0, closing - 8), closing], after: [open, open + 8] }
}

/** The video frame in the middle of a gap. */
export function gapMiddle(t1: number, t2: number): number {
  return Math.round((WORLD_FPS * (t1 + t2)) / 2)
}

/** The video frames that say what a gap hid, and whether it hid it: both segments and the middle. */
export function gapFrames(t1: number, t2: number): number[] {
  const { before, after } = gapSegments(t1, t2)
  const range = ([from, to]: [number, number]) => Array.from({ length: to - from }, (_, index) => from + index)
  return [...range(before), gapMiddle(t1, t2), ...range(after)]
}

/** What one video shows before and after its gap. */
export interface GapReading {
  before: SegmentReading
  after: SegmentReading
  /** Share of the frame in the middle of the gap that is curtain: whether anything was hidden at all. */
  middle: number
  /** Of the frames of both segments. */
  readable: Readability
}

/** `frames` holds a reading per video frame, at least of those of `gapFrames`. */
export function readGap(frames: readonly (FrameReading | undefined)[], t1: number, t2: number): GapReading {
  const segments = gapSegments(t1, t2)
  const [before, after] = [segments.before, segments.after].map((range) => frames.slice(...range).flatMap((reading) => reading ?? [])) as [FrameReading[], FrameReading[]]
  return { before: readSegment(before), after: readSegment(after), middle: frames[gapMiddle(t1, t2)]?.curtain ?? 0, readable: readability([...before, ...after]) }
}

export interface IdentityResult {
  attribute: Attribute
  videos: number
  /** Videos in which both sides were read and are equal. */
  matches: number
  /** matches / videos, with its 95 % interval. */
  rate: number
  interval: [number, number]
  /** Share of videos read on both sides. */
  read: number
  /** Σ p² of what was generated: the rate of two independent draws. */
  chance: number
}

/** Match rate of one attribute over videos. */
export function identity(attribute: Attribute, videos: readonly { before: SegmentReading; after: SegmentReading }[]): IdentityResult {
  const pairs = videos.map(({ before, after }) => [before[attribute], after[attribute]] as const)
  const matches = pairs.filter(([before, after]) => before !== undefined && before === after).length
  const read = pairs.filter(([before, after]) => before !== undefined && after !== undefined).length
  const seen = pairs.flat().filter((value) => value !== undefined)
  const shares = new Map<string, number>()
  for (const value of seen) shares.set(value, (shares.get(value) ?? 0) + 1 / seen.length)
  return {
    attribute,
    videos: videos.length,
    matches,
    rate: videos.length === 0 ? 0 : matches / videos.length,
    interval: wilsonInterval(matches, videos.length),
    read: videos.length === 0 ? 0 : read / videos.length,
    chance: [...shares.values()].reduce((sum, share) => sum + share * share, 0)
  }
}

/** Least share of videos read on both sides for a match rate to be quoted. */
export const QUOTABLE = 0.9

export function isQuotable({ read }: Pick<IdentityResult, 'read'>): boolean {
  return read >= QUOTABLE
}
