// Mask patterns (model.md §4, opensora.md §5.3): which latent frames of a training video are conditioning frames. 1 = denoised, 0 = clean.

import type { PhiloxRandom } from '../plan/random.js'
import { checkNames, checkNumber } from '../check.js'
import { rangeError } from '../errors.js'

export const maskPatterns = [
  'random',
  'interpolate',
  'quarterRandom',
  'quarterHead',
  'quarterTail',
  'quarterHeadTail',
  'imageRandom',
  'imageHead',
  'imageTail',
  'imageHeadTail',
  'chunks'
] as const

export type MaskPattern = (typeof maskPatterns)[number]

/** Share of the videos that each pattern takes; the rest has no mask. They add up to at most 1. */
export type MaskRatios = Partial<Record<MaskPattern, number>>

export function checkMaskRatios(ratios: MaskRatios): MaskRatios {
  checkNames(ratios, 'maskRatios', maskPatterns)
  let sum = 0
  for (const [name, ratio = 0] of Object.entries(ratios)) sum += checkNumber(ratio, `maskRatios.${name}`, 0, 1)
  if (sum > 1 + 1e-9) throw rangeError(`Expected maskRatios that add up to at most 1 but received a sum of ${sum}`)
  return ratios
}

/** The pattern of a video, or none. Takes one uniform number. */
export function drawMaskPattern(random: PhiloxRandom, ratios: MaskRatios): MaskPattern | undefined {
  let lot = random.uniform()
  for (const pattern of maskPatterns) {
    const ratio = ratios[pattern] ?? 0
    if (lot < ratio) return pattern
    lot -= ratio
  }
  return undefined
}

interface Owned {
  start: number
  end: number
}

/** The mask of `frames` latent frames, or undefined where nothing is to be masked: one frame, or `chunks` with a single chunk. */
export function drawMask(random: PhiloxRandom, pattern: MaskPattern, frames: number, chunks: readonly Owned[]): number[] | undefined {
  if (frames < 2) return undefined
  const mask = new Array<number>(frames).fill(1)
  const clean = (begin: number, end: number) => mask.fill(0, Math.max(0, begin), Math.min(frames, end))
  // quarter patterns take 1 … ⌊frames / 4⌋ frames, image patterns one.
  const length = pattern.startsWith('quarter') ? 1 + random.int(Math.max(1, Math.floor(frames / 4))) : 1
  if (pattern === 'random') {
    const share = 0.1 + 0.8 * random.uniform()
    for (let frame = 0; frame < frames; frame++) if (random.uniform() < share) mask[frame] = 0
    mask[frames - 1] = 1
  } else if (pattern === 'interpolate') {
    for (let frame = random.int(2); frame < frames; frame += 2) mask[frame] = 0
  } else if (pattern === 'chunks') {
    return drawChunkMask(random, mask, chunks)
  } else if (pattern.endsWith('Random')) {
    const begin = random.int(frames - length + 1)
    clean(begin, begin + length)
  } else {
    if (pattern.includes('Head')) clean(0, length)
    if (pattern.includes('Tail')) clean(frames - length, frames)
  }
  // With two or three frames head and tail may meet: the last frame stays live, as in `random`.
  if (!mask.includes(1)) mask[frames - 1] = 1
  return mask
}

/** Each chunk clean with probability ½, not all and not none: drawn again until that holds. */
function drawChunkMask(random: PhiloxRandom, mask: number[], chunks: readonly Owned[]): number[] | undefined {
  if (chunks.length < 2) return undefined
  for (;;) {
    const drawn = chunks.map(() => random.uniform() < 0.5)
    if (drawn.every(Boolean) || !drawn.some(Boolean)) continue
    chunks.forEach(({ start, end }, index) => {
      if (drawn[index]) mask.fill(0, start, end)
    })
    return mask
  }
}
