// Texts of a timeline per chunk: the entry that holds at the centre of the chunk's owned frames or, while one fades in, a blend with those before it.

import type { Chunk } from './chunks.js'

/** When an entry begins, and over how many latent frames it fades in. */
export interface TimelineStart {
  latentFrame: number
  ease: number
}

/** The number of the entry that holds at a latent frame; the first one holds from the beginning. */
export function entryAt(entries: readonly TimelineStart[], centre: number): number {
  return Math.max(0, entries.findLastIndex(({ latentFrame }) => latentFrame <= centre))
}

/** Each entry's share at a latent frame; they add up to 1. Entry k fades in as w = (centre − start) / ease, and the shares before it shrink by 1 − w. */
export function entryShares(entries: readonly TimelineStart[], centre: number): number[] {
  const shares = entries.map(() => 0)
  shares[0] = 1
  for (let entry = 1; entry <= entryAt(entries, centre); entry++) {
    const { latentFrame, ease } = entries[entry] as TimelineStart
    const w = ease === 0 ? 1 : Math.min(1, (centre - latentFrame) / ease)
    for (let earlier = 0; earlier < entry; earlier++) shares[earlier] = (shares[earlier] ?? 0) * (1 - w)
    shares[entry] = w
  }
  return shares
}

/** The centre of the frames that a chunk owns. */
export function centreOf({ start, end }: Chunk): number {
  return (start + end) / 2
}
