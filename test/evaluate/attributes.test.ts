import { expect, test } from 'vitest'
import { readFrame, readSegment } from '../../lib/evaluate/attributes.js'
import { evaluate, worldPixels } from '../../lib/evaluate/index.js'
import { curtainClosedness, drawWorld, renderFrame, WORLD_SIZE } from '../../lib/training/demo-world.js'
import type { World } from '../../lib/training/demo-world.js'
import { PhiloxRandom, streams } from '../../lib/training/random.js'

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

test('evaluate reads a video of the world, before and after its curtain, at any whole scale', async () => {
  const world: World = { ...single(2), event: 'curtain', t1: 1, t2: 3 }
  const frames = async function* (scale: number) {
    for (let index = 0; index < 64; index++) {
      const small = renderFrame(world, index)
      const size = WORLD_SIZE * scale
      const data = new Uint8Array(size * size * 3)
      for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) data.set(small.subarray((Math.floor(y / scale) * WORLD_SIZE + Math.floor(x / scale)) * 3).subarray(0, 3), (y * size + x) * 3)
      yield { index, data, width: size, height: size }
    }
  }
  for (const scale of [1, 4]) {
    const { frames: count, gap, prompted, seconds } = await evaluate(frames(scale), { prompt: `a ${world.objects[0]!.colour} shape moves over the ${world.background} the curtain closes at 1s opens at 3s` })
    expect(count).toBe(64)
    expect(seconds).toHaveLength(4)
    expect(gap?.same).toMatchObject({ background: true, colour: true })
    expect(prompted?.map(({ attribute, obeyed }) => [attribute, obeyed])).toEqual([['background', true], ['colour', true]])
  }
  await expect(evaluate([] as never)).rejects.toThrow(TypeError)
  expect(() => worldPixels({ index: 0, data: new Uint8Array(90 * 90 * 3), width: 90, height: 90 })).toThrow(RangeError)
})
