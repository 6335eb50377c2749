// Reads the attributes of the demo world from pixels: background, colour, shape and size of the most visible object, and the curtain. Nothing is learned,
// so any decoded frame can be read, and a frame that shows no such world reads as nothing. Distances are Euclidean in RGB / 255.

import { backgroundPicture, backgrounds, colours, curtainFolds, WORLD_SIZE } from 'vin-native/demo-world'
import type { BackgroundName, ColourName, ShapeName, SizeName } from 'vin-native/demo-world'

const PIXELS = WORLD_SIZE * WORLD_SIZE
const backgroundNames = Object.keys(backgrounds) as BackgroundName[]
const colourNames = Object.keys(colours) as ColourName[]

/** A pixel this near to the folds is curtain, one this near to a background's picture is background, a colour is this near to its palette value. */
const CURTAIN_DISTANCE = 0.12
const BACKGROUND_DISTANCE = 0.15
const PALETTE_DISTANCE = 0.22
/** Object pixels stay this far away from every background. */
const CLEAR_OF_BACKGROUND = 0.12
/** Least share of a frame that names a background; least pixels that name a colour, or of which a shape is judged. */
const BACKGROUND_SHARE = 0.25
const COLOUR_PIXELS = 40
const SHAPE_PIXELS = 60

const pictures = backgroundNames.map(backgroundPicture)
/** Red, green, blue of one colour after another. */
const paletteValues = Float64Array.from(colourNames.flatMap((name) => colours[name]))

/** What one frame shows. */
export interface FrameReading {
  background: BackgroundName | undefined
  /** Share of pixels that look like the curtain. */
  curtain: number
  /** Pixels of each palette colour after specks went. */
  counts: Record<ColourName, number>
  /** Of the largest colour mask; undefined where it cannot be judged. */
  shapes: Partial<Record<ColourName, { shape: ShapeName; size: SizeName }>>
}

function squared(data: Uint8Array, at: number, red: number, green: number, blue: number): number {
  const r = data[at]! - red
  const g = data[at + 1]! - green
  const b = data[at + 2]! - blue
  return r * r + g * g + b * b
}

const bound = (distance: number) => (distance * 255) ** 2

/** Reads one frame, uint8 RGB [64,64,3]. */
export function readFrame(data: Uint8Array): FrameReading {
  if (data.length !== PIXELS * 3) throw new RangeError(`Expected a frame of ${WORLD_SIZE}x${WORLD_SIZE} RGB pixels but received ${data.length} bytes`)
  const curtainLimit = bound(CURTAIN_DISTANCE)
  const backgroundLimit = bound(BACKGROUND_DISTANCE)
  const clearLimit = bound(CLEAR_OF_BACKGROUND)
  const paletteLimit = bound(PALETTE_DISTANCE)
  const shares = new Array<number>(backgroundNames.length).fill(0)
  // Palette index + 1 of each pixel, 0 for none.
  const palette = new Uint8Array(PIXELS)
  let curtain = 0
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const at = pixel * 3
    const column = (pixel % WORLD_SIZE) * 3
    if (squared(data, at, curtainFolds[column]!, curtainFolds[column + 1]!, curtainFolds[column + 2]!) < curtainLimit) {
      curtain += 1
      continue
    }
    let clear = true
    for (let index = 0; index < pictures.length; index++) {
      const picture = pictures[index]!
      const distance = squared(data, at, picture[at]!, picture[at + 1]!, picture[at + 2]!)
      if (distance < backgroundLimit) shares[index]! += 1
      if (distance <= clearLimit) clear = false
    }
    if (!clear) continue
    let best = paletteLimit
    for (let index = 0; index < colourNames.length; index++) {
      const distance = squared(data, at, paletteValues[3 * index]!, paletteValues[3 * index + 1]!, paletteValues[3 * index + 2]!)
      if (distance < best) {
        best = distance
        palette[pixel] = index + 1
      }
    }
  }
  const share = Math.max(...shares)
  const background = share >= BACKGROUND_SHARE * PIXELS ? backgroundNames[shares.indexOf(share)] : undefined
  const counts = {} as Record<ColourName, number>
  const judged: FrameReading['shapes'] = {}
  colourNames.forEach((name, index) => {
    counts[name] = 0
    // Most frames show one or two of the colours.
    if (!palette.includes(index + 1)) return
    const { mask, count } = withoutSpecks(palette, index + 1)
    counts[name] = count
    const shape = judgeShape(mask, count)
    if (shape !== undefined) judged[name] = shape
  })
  return { background, curtain: curtain / PIXELS, counts, shapes: judged }
}

/** 1 where at least five of the 3 × 3 pixels around have the value; outside counts as not. */
function withoutSpecks(palette: Uint8Array, value: number): { mask: Uint8Array; count: number } {
  const mask = new Uint8Array(PIXELS)
  let count = 0
  for (let y = 0; y < WORLD_SIZE; y++) {
    for (let x = 0; x < WORLD_SIZE; x++) {
      let votes = 0
      for (let v = Math.max(0, y - 1); v <= Math.min(WORLD_SIZE - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(WORLD_SIZE - 1, x + 1); u++) if (palette[v * WORLD_SIZE + u] === value) votes += 1
      }
      if (votes < 5) continue
      mask[y * WORLD_SIZE + x] = 1
      count += 1
    }
  }
  return { mask, count }
}

/** From the mask's fill of its bounding box (a triangle fills half, a circle π/4, a square all) and its longer side. */
function judgeShape(mask: Uint8Array, count: number): { shape: ShapeName; size: SizeName } | undefined {
  if (count < SHAPE_PIXELS) return undefined
  let left = WORLD_SIZE
  let right = -1
  let top = WORLD_SIZE
  let bottom = -1
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    if (mask[pixel] === 0) continue
    const x = pixel % WORLD_SIZE
    const y = Math.floor(pixel / WORLD_SIZE)
    left = Math.min(left, x)
    right = Math.max(right, x)
    top = Math.min(top, y)
    bottom = Math.max(bottom, y)
  }
  if (left === 0 || top === 0 || right === WORLD_SIZE - 1 || bottom === WORLD_SIZE - 1) return undefined
  const width = right - left + 1
  const height = bottom - top + 1
  const aspect = width / height
  if (aspect < 0.75 || aspect > 1.35) return undefined
  const fill = count / (width * height)
  const shape: ShapeName = fill < 0.66 ? 'triangle' : fill < 0.9 ? 'circle' : 'square'
  return { shape, size: Math.max(width, height) > 17.5 ? 'large' : 'small' }
}

/** The most frequent value, the earliest on a tie; undefined when there are fewer than `least`. */
function majority<T>(values: readonly T[], least = 1): T | undefined {
  if (values.length < least) return undefined
  const votes = new Map<T, number>()
  for (const value of values) votes.set(value, (votes.get(value) ?? 0) + 1)
  return [...votes].sort((a, b) => b[1] - a[1])[0]?.[0]
}

/** What a run of frames shows. */
export interface SegmentReading {
  background: BackgroundName | undefined
  colour: ColourName | undefined
  shape: ShapeName | undefined
  size: SizeName | undefined
  /** Mean share of the curtain. */
  curtain: number
}

export type Attribute = 'background' | 'colour' | 'shape' | 'size'
export const attributes: readonly Attribute[] = ['background', 'colour', 'shape', 'size']

/** Joins the readings of a segment: the majority of what was read, and the colour with the largest mean count. */
export function readSegment(readings: readonly FrameReading[]): SegmentReading {
  const mean = (name: ColourName) => readings.reduce((sum, { counts }) => sum + counts[name], 0) / Math.max(1, readings.length)
  const strongest = [...colourNames].sort((a, b) => mean(b) - mean(a))[0]!
  const colour = mean(strongest) >= COLOUR_PIXELS ? strongest : undefined
  const judged = colour === undefined ? [] : readings.flatMap(({ shapes }) => shapes[colour] ?? [])
  return {
    background: majority(readings.flatMap(({ background }) => background ?? [])),
    colour,
    shape: majority(judged.map(({ shape }) => shape), 2),
    size: majority(judged.map(({ size }) => size), 2),
    curtain: readings.reduce((sum, { curtain }) => sum + curtain, 0) / Math.max(1, readings.length)
  }
}
