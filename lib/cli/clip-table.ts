// train --check: the clips of a data folder as a table.

import type { Clip } from '../index.js'
import { oneLine, textTable } from './table.js'

/** A line for each clip: what it holds, whether it is used, and why not or with what caption. */
export function clipTable(clips: readonly Clip[], fps: number): string {
  const rows = clips.map(({ file, frames, width, height, use, reason, damage, prompt }) => [
    oneLine(file, 48),
    width === undefined ? '' : `${width} × ${height}`,
    reason !== undefined && frames === 0 ? '' : String(frames),
    reason !== undefined && frames === 0 ? '' : `${(frames / fps).toFixed(1)} s`,
    damage === undefined || use === 'left out' ? use : `${use}, damaged`,
    oneLine(reason ?? prompt, 72)
  ])
  return textTable([['clip', 'size', 'frames', 'length', 'use', 'caption or reason'], ...rows], new Set([2, 3]))
}
