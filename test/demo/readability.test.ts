import { expect, test } from 'vitest'
import { readFrame } from '../../models/demo/evaluation/attributes.js'
import { isOpen, readability } from '../../models/demo/evaluation/readability.js'
import { drawWorld, renderFrame, WORLD_SIZE } from '../../lib/training/demo-world.js'
import type { World } from '../../lib/training/demo-world.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { streams } from '../../lib/training/random.js'

const world: World = { ...drawWorld(new PhiloxRandom(11, streams.world, 2), { duration: 4, objects: 1 }), background: 'sea', event: 'curtain', t1: 1, t2: 3 }
const grey = new Uint8Array(WORLD_SIZE * WORLD_SIZE * 3).fill(128)
const shown = (background: World['background'], frame = 0) => readFrame(renderFrame({ ...world, background, event: 'none' }, frame))

test('a rendered video is read in every frame and keeps its place', () => {
  expect(readability(Array.from({ length: 16 }, (_, frame) => shown('sea', frame)))).toEqual({ frames: 16, background: 1, colour: 1, jitter: 0 })
})

test('frames that show nothing lower the shares; a background that comes and goes is jitter', () => {
  expect(readability([shown('sea'), readFrame(grey), shown('sea'), readFrame(grey)])).toEqual({ frames: 4, background: 0.5, colour: 0.5, jitter: 0 })
  // sea → night → sea → sea: two of three neighbours differ.
  expect(readability([shown('sea'), shown('night'), shown('sea'), shown('sea')]).jitter).toBeCloseTo(2 / 3, 12)
  expect(readability([])).toEqual({ frames: 0, background: 0, colour: 0, jitter: 0 })
})

test('of a video with a curtain, the frames that it covers are left out', () => {
  const open = Array.from({ length: 64 }, (_, frame) => readFrame(renderFrame(world, frame))).filter(isOpen)
  expect(open.length).toBeLessThan(40)
  expect(readability(open)).toEqual({ frames: open.length, background: 1, colour: 1, jitter: 0 })
})
