// The built-in optical flow on pairs of known motion (fixtures/methods): its end-point error, beside that of OpenCV's estimators on the same pairs.
import { describe, expect, test } from 'vitest'
import type { Picture } from '../../lib/index.js'
import { builtInFlow } from '../../lib/evaluate/optical-flow.js'
import { loadBinding } from '../../lib/native/load.js'
import { fixtureBytes, readJson } from '../support/fixtures.js'

interface Pair {
  name: string
  /** p(1) = A (p − c) + c + b, counted where it is inside. */
  A?: [[number, number], [number, number]]
  b: [number, number]
  /** Of the demo world: colour, shape, radius, centre, velocity. */
  objects: [colour: string, shape: string, radius: number, x: number, y: number, u: number, v: number][]
  mean_true_px: number
  moving_pixels: number
  /** Mean end-point error of estimators. */
  epe_all: Record<string, number>
}

const { pairs } = readJson('methods', 'flow.json') as unknown as { pairs: Pair[] }
const { tensors } = loadBinding().readSafetensors(fixtureBytes('methods', 'flow.safetensors'))

function picturesOf(name: string): [Picture, Picture] {
  const { data, shape } = tensors[`${name}.frames`]!
  const [, height = 0, width = 0] = shape
  const picture = (at: number): Picture => ({ data: Uint8Array.from(data!.slice(at * 3 * width * height, (at + 1) * 3 * width * height) as ArrayLike<number>), width, height })
  return [picture(0), picture(1)]
}

/** How the pixel at x, y moves. */
function motionOf({ A, b, objects }: Pair, x: number, y: number, width: number, height: number): [number, number] {
  if (A !== undefined) {
    const [cx, cy] = [(width - 1) / 2, (height - 1) / 2]
    const [toX, toY] = A.map(([p, q], row) => p * (x - cx) + q * (y - cy) + [cx, cy][row]! + b[row]!) as [number, number]
    return [toX - x, toY - y]
  }
  // The last object is in front.
  for (const [, shape, radius, left, top, u, v] of [...objects].reverse()) {
    const [dx, dy] = [Math.abs(x + 0.5 - left), y + 0.5 - top]
    const distance = { circle: Math.hypot(dx, dy) - radius, square: Math.max(dx, Math.abs(dy)) - 0.9 * radius, triangle: Math.max(dy - 0.75 * radius, 0.866 * dx - 0.5 * dy - 0.62 * radius) }[shape]!
    if (distance < 0) return [u, v]
  }
  return [0, 0]
}

/** Errors are counted where the pixel stays in the picture; `moving` are pixels that move at all. */
async function errorsOf(pair: Pair): Promise<{ error: number; moving: number; trueLength: number }> {
  const [from, to] = picturesOf(pair.name)
  const { width, height } = from
  const { data } = await builtInFlow.estimate(from, to)
  const sums = { error: 0, counted: 0, moving: 0, trueLength: 0 }
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const motion = motionOf(pair, x, y, width, height)
      sums.trueLength += Math.hypot(...motion)
      if (motion[0] !== 0 || motion[1] !== 0) sums.moving += 1
      const [toX, toY] = [x + motion[0], y + motion[1]]
      if (toX < 0 || toY < 0 || toX > width - 1 || toY > height - 1) continue
      const [u, v] = [data[y * width + x]!, data[(height + y) * width + x]!]
      sums.error += Math.hypot(u - motion[0], v - motion[1])
      sums.counted += 1
    }
  return { error: sums.error / sums.counted, moving: sums.moving, trueLength: sums.trueLength / (width * height) }
}

describe('end-point error in pixels', () => {
  test.each(pairs.filter(({ A }) => A !== undefined))('a texture that moves as known: $name', async (pair) => {
    const { error, trueLength } = await errorsOf(pair)
    // The motion is the fixture's.
    expect(trueLength).toBeCloseTo(pair.mean_true_px, 5)
    expect(error).toBeLessThan(0.03)
    expect(error).toBeLessThan(pair.epe_all['DIS medium']!)
  })

  test.each(pairs.filter(({ A }) => A === undefined))('objects of the demo world: $name', async (pair) => {
    const { error, moving, trueLength } = await errorsOf(pair)
    expect(moving).toBe(pair.moving_pixels)
    expect(trueLength).toBeCloseTo(pair.mean_true_px, 5)
    // Flat colours tell nothing of their motion: the gate leaves them still, as the prototype's did.
    expect(error).toBeLessThan(1.1 * pair.epe_all['own variational, gated']!)
    expect(error).toBeLessThan(pair.epe_all['DIS medium']!)
  })
})
