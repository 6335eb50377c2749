// Where an element of a picture lies among 2 × 2 patches (opensora.md §1.3).

/** [patch, element of it] of channel c at (h, w); P: elements of a patch. */
export function patchOf(c: number, h: number, w: number, { width, P, channelsLast }: { width: number; P: number; channelsLast: boolean }): [number, number] {
  const inside = (h % 2) * 2 + (w % 2)
  return [(h >> 1) * Math.ceil(width / 2) + (w >> 1), channelsLast ? inside * (P / 4) + c : c * 4 + inside]
}
