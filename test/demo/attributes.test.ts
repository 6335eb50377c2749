import { expect, test } from 'vitest'
import { readFrame, readSegment } from '../../models/demo/evaluation/attributes.js'
import { gapSegments, readGap } from '../../models/demo/evaluation/identity.js'
import { worldPixels } from '../../models/demo/evaluation/pixels.js'
import { curtainClosedness, drawWorld, renderFrame, WORLD_SIZE } from '../../lib/training/demo-world.js'
import type { World } from '../../lib/training/demo-world.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { streams } from '../../lib/training/random.js'

const single = (index: number): World => ({ ...drawWorld(new PhiloxRandom(11, streams.world, index), { duration: 8, objects: 1 }), event: 'none' })
const segment = (world: World, begin: number) => readSegment(Array.from({ length: 16 }, (_, index) => readFrame(renderFrame(world, begin + index))))

test('on rendered frames background and colour are read right always, shape and size mostly', () => {
  const right = { background: 0, colour: 0, shape: 0, size: 0 }
  const count = 120
  for (let index = 0; index < count; index++) {
    const world = single(index)
    const read = segment(world, 20)
    const [object] = world.objects
    if (read.background === world.background) right.background += 1
    if (read.colour === object!.colour) right.colour += 1
    if (read.shape === object!.shape) right.shape += 1
    if (read.size === object!.size) right.size += 1
  }
  expect(right.background).toBe(count)
  expect(right.colour).toBe(count)
  // demo.md §4: 91–100 % of the shapes.
  expect(right.shape / count).toBeGreaterThanOrEqual(0.91)
  expect(right.size / count).toBeGreaterThanOrEqual(0.91)
})

test('on noise nothing is read', () => {
  for (let index = 0; index < 20; index++) {
    const random = new PhiloxRandom(12, streams.world, index)
    const noise = Array.from({ length: 8 }, () => readFrame(Uint8Array.from({ length: WORLD_SIZE * WORLD_SIZE * 3 }, () => random.int(256))))
    const { background, colour, shape, size } = readSegment(noise)
    expect([background, colour, shape, size]).toEqual([undefined, undefined, undefined, undefined])
  }
})

test('a grey frame is no background, and a closed curtain is no room', () => {
  expect(readFrame(new Uint8Array(WORLD_SIZE * WORLD_SIZE * 3).fill(128)).background).toBeUndefined()
  const closed = readFrame(renderFrame({ ...single(0), event: 'curtain', t1: 1, t2: 3 }, 30))
  expect(closed.background).toBeUndefined()
  expect(closed.curtain).toBeGreaterThan(0.99)
})

test('the share of the curtain follows its closedness', () => {
  const world: World = { ...single(1), background: 'sea', event: 'curtain', t1: 1, t2: 3 }
  for (let frame = 0; frame < 64; frame++) expect(Math.abs(readFrame(renderFrame(world, frame)).curtain - Math.min(1, curtainClosedness(world, frame)))).toBeLessThan(0.06)
})

test('a video of the world is read before and after its curtain, at any whole scale', () => {
  const world: World = { ...single(2), event: 'curtain', t1: 1, t2: 3 }
  const enlarged = (index: number, scale: number) => {
    const small = renderFrame(world, index)
    const size = WORLD_SIZE * scale
    const data = new Uint8Array(size * size * 3)
    for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) data.set(small.subarray((Math.floor(y / scale) * WORLD_SIZE + Math.floor(x / scale)) * 3).subarray(0, 3), (y * size + x) * 3)
    return { index, data, width: size, height: size }
  }
  for (const scale of [1, 4]) {
    const readings = Array.from({ length: 64 }, (_, index) => readFrame(worldPixels(enlarged(index, scale))))
    const { before, after, middle } = readGap(readings, 1, 3)
    expect([before.background, after.background]).toEqual([world.background, world.background])
    expect([before.colour, after.colour]).toEqual([world.objects[0]!.colour, world.objects[0]!.colour])
    expect(middle).toBeGreaterThan(0.99)
    expect(before).toEqual(readSegment(readings.slice(...gapSegments(1, 3).before)))
  }
  expect(() => worldPixels({ index: 0, data: new Uint8Array(90 * 90 * 3), width: 90, height: 90 })).toThrow(RangeError)
})
