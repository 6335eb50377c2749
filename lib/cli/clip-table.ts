// train --check: the clips of a data folder as a table.

import type { Clip } from '../index.js'

/** One line, cut to a number of characters: a caption may have more lines, and a name whatever a terminal obeys. */
function cut(given: string, most: number): string {
  const text = given.replace(/[\s\p{Cc}]+/gu, ' ').trim()
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}

/** A line for each clip: what it holds, whether it is used, and why not or with what caption. */
export function clipTable(clips: readonly Clip[], fps: number): string {
  const rows = clips.map(({ file, frames, width, height, use, reason, damage, prompt }) => [
    cut(file, 48),
    width === undefined ? '' : `${width} × ${height}`,
    reason !== undefined && frames === 0 ? '' : String(frames),
    reason !== undefined && frames === 0 ? '' : `${(frames / fps).toFixed(1)} s`,
    damage === undefined || use === 'left out' ? use : `${use}, damaged`,
    cut(reason ?? prompt, 72)
  ])
  const table = [['clip', 'size', 'frames', 'length', 'use', 'caption or reason'], ...rows]
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)))
  const right = new Set([2, 3])
  return table.map((row) => row.map((cell, column) => (right.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!))).join('  ').trimEnd()).join('\n')
}
