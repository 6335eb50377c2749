// What every metric is: it is shown the frames of a video in order, keeps what it needs of them, and says its value at the end.

import type { Picture } from '../video/index.js'

export interface Meter<Value> {
  /** The next frame, which belongs to the meter from now on: nobody writes to it again. */
  add(frame: Picture): void | Promise<void>
  /** Undefined where the video was too short for it. */
  readonly value: Value | undefined
}
