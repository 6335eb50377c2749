// How much of a video can be read at all, and whether it keeps still: a rate over videos that nobody can read says nothing.

import { readSegment } from './attributes.js'
import type { FrameReading } from './attributes.js'

export interface Readability {
  /** Frames that the shares are of. */
  frames: number
  /** Share of frames in which a background is read. */
  background: number
  /** Share of frames in which the colour of an object is read. */
  colour: number
  /** Share of frames whose background differs from that of the one read before it: 0 in a video of one place. */
  jitter: number
}

/** Whether a frame counts for background and colour: its curtain covers less than a tenth. */
export function isOpen(reading: FrameReading): boolean {
  return reading.curtain < 0.1
}

/** Of readings in the order of their frames; those under a curtain are the caller's to leave out. */
export function readability(readings: readonly FrameReading[]): Readability {
  const backgrounds = readings.flatMap(({ background }) => background ?? [])
  const coloured = readings.filter((reading) => readSegment([reading]).colour !== undefined)
  const changes = backgrounds.filter((background, index) => index > 0 && background !== backgrounds[index - 1])
  const share = (count: number, total: number) => (total <= 0 ? 0 : count / total)
  return {
    frames: readings.length,
    background: share(backgrounds.length, readings.length),
    colour: share(coloured.length, readings.length),
    jitter: share(changes.length, backgrounds.length - 1)
  }
}
