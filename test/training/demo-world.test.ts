import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { loadBinding } from '../../lib/native/load.js'
import { curtainClosedness, demoWorld, drawCaption, drawWorld, objectPosition, objectWeights, radii, renderFrame, WORLD_SIZE } from '../../lib/training/demo-world.js'
import type { World } from '../../lib/training/demo-world.js'
import { demoTokenizerJson } from '../../models/demo/recipe/tokenizer.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { streams } from '../../lib/training/random.js'
import { Tokenizer } from '../../lib/models/tokenizer.js'
import { fixture, readJson } from '../support/fixtures.js'

const { frames: numbers, videos } = readJson('world', 'world.json') as unknown as { frames: number[]; videos: World[] }
const worlds = (count: number, duration: number, seed = 1) => Array.from({ length: count }, (_, index) => drawWorld(new PhiloxRandom(seed, streams.world, index), { duration }))

test('frames are those of the fixture within one step of 255', () => {
  const bytes = gunzipSync(readFileSync(fixture('world', 'frames.safetensors.gz')))
  const pictures = loadBinding().readSafetensors(bytes).tensors['frames']!.data as Uint8Array
  const size = WORLD_SIZE * WORLD_SIZE * 3
  let compared = 0
  videos.forEach((world, video) =>
    numbers.forEach((frame, index) => {
      const expected = pictures.subarray((video * numbers.length + index) * size, (video * numbers.length + index + 1) * size)
      const drawn = renderFrame(world, frame)
      expect(drawn.every((value, at) => Math.abs(value - expected[at]!) <= 1)).toBe(true)
      compared += 1
    })
  )
  expect(compared).toBe(96)
})

test('at least 2,000 frames a second', () => {
  // Of one core: what other processes take of the machine is not counted.
  const drawn = worlds(20, 4)
  const started = process.cpuUsage()
  for (const world of drawn) for (let frame = 0; frame < 64; frame++) renderFrame(world, frame)
  const { user, system } = process.cpuUsage(started)
  expect((1e6 * 20 * 64) / (user + system)).toBeGreaterThan(2000)
})

test('events keep to their times: whole seconds, a gap of two at least, over before the last second', () => {
  for (const duration of [4, 5, 8, 16]) {
    for (const { event, t1, t2 } of worlds(200, duration)) {
      expect(Number.isInteger(t1) && Number.isInteger(t2) && t1 >= 1 && t2 - t1 >= 2 && t2 <= duration - 1, `${event} ${t1} ${t2} of ${duration}`).toBe(true)
    }
  }
  for (const { event } of worlds(200, 2)) expect(['none', 'wall']).toContain(event)
})

test('shares of events and second objects are those of the world', () => {
  const drawn = worlds(4000, 8)
  const share = (test: (world: World) => boolean) => drawn.filter(test).length / drawn.length
  // Four standard deviations of a share near one half are 0.032.
  for (const [event, wanted] of [['none', 0.15], ['curtain', 0.55], ['leave', 0.2], ['wall', 0.1]] as const) expect(Math.abs(share((world) => world.event === event) - wanted)).toBeLessThan(0.032)
  expect(Math.abs(share(({ objects }) => objects.length === 2) - 0.25)).toBeLessThan(0.032)
  for (const { objects } of drawn) expect(new Set(objects.map(({ colour }) => colour)).size).toBe(objects.length)
})

test('objects stay inside by their radius, except while they are away', () => {
  for (const world of worlds(60, 8).filter(({ event }) => event !== 'leave')) {
    for (const object of world.objects) {
      for (let frame = 0; frame < 128; frame++) {
        for (const place of objectPosition(world, object, frame)) {
          expect(place).toBeGreaterThanOrEqual(radii[object.size] - 1e-9)
          expect(place).toBeLessThanOrEqual(WORLD_SIZE - radii[object.size] + 1e-9)
        }
      }
    }
  }
  const leaving = worlds(100, 8).filter(({ event }) => event === 'leave')
  for (const world of leaving) {
    const [x] = objectPosition(world, world.objects[0]!, 16 * world.t1 + 4)
    const radius = radii[world.objects[0]!.size]
    expect(x + radius <= 0 || x - radius >= WORLD_SIZE).toBe(true)
  }
  expect(leaving.length).toBeGreaterThan(5)
})

test('a closed curtain hides everything: two worlds with the same event look alike', () => {
  const [a, b] = worlds(2, 8)
  const event = { event: 'curtain', t1: 2, t2: 5 } as const
  const [first, second] = [{ ...a!, ...event, background: 'night' as const }, { ...b!, ...event, background: 'meadow' as const }]
  expect(curtainClosedness(first, 32)).toBe(1)
  expect(renderFrame(first, 40)).toEqual(renderFrame(second, 40))
  expect(renderFrame(first, 90)).not.toEqual(renderFrame(second, 90))
})

test('pixels near an object weigh more, unless a curtain hides it', () => {
  const world: World = { ...worlds(1, 8)[0]!, event: 'curtain', t1: 2, t2: 5 }
  const weights = new Float32Array(WORLD_SIZE * WORLD_SIZE)
  const heavy = (frame: number) => objectWeights(world, frame, { edge: 12, inside: 4, margin: 2 }, weights).filter((weight) => weight > 1).length
  expect(heavy(0)).toBeGreaterThan(Math.PI * 7.5 ** 2 / 2)
  expect(heavy(40)).toBe(0)
})

test('the edge of an object has a weight of its own', () => {
  const one: World = { ...worlds(1, 8)[0]!, event: 'none' }
  const world: World = { ...one, objects: [{ ...one.objects[0]!, shape: 'circle', size: 'large' }] }
  const [x, y] = objectPosition(world, world.objects[0]!, 0)
  const weights = objectWeights(world, 0, { edge: 12, inside: 4, margin: 2 }, new Float32Array(WORLD_SIZE * WORLD_SIZE))
  weights.forEach((weight, i) => {
    const distance = Math.hypot((i % WORLD_SIZE) + 0.5 - x, Math.floor(i / WORLD_SIZE) + 0.5 - y) - radii.large
    expect(weight).toBe(distance < -2 ? 4 : distance <= 2 ? 12 : 1)
  })
})

test('captions say what the world is, and events always', () => {
  for (const [index, world] of worlds(300, 8).entries()) {
    const say = (mode: 'everything' | 'nothing' | 'mixed') => drawCaption(new PhiloxRandom(2, streams.caption, index), world, mode)
    const everything = say('everything')
    for (const { colour, shape, size } of world.objects) expect(everything).toContain(`a ${size} ${colour} ${shape}`)
    expect(everything).toContain(`over the ${world.background}`)
    expect(say('nothing')).toMatch(/^a shape( and a shape)? (moves|bounces)( the curtain| leaves| behind|$)/)
    if (world.event === 'curtain') expect(say('mixed')).toContain(`the curtain closes at ${world.t1}s opens at ${world.t2}s`)
  }
})

test('every caption consists of words the tokenizer knows, in at most 24 tokens', async () => {
  const tokenizer = await Tokenizer.fromJson(demoTokenizerJson())
  for (const [index, world] of worlds(200, 16).entries()) {
    const { ids, unknown } = tokenizer.encode(drawCaption(new PhiloxRandom(2, streams.caption, index), world, 'everything'))
    expect(unknown).toEqual([])
    expect(ids.length).toBeLessThanOrEqual(24)
  }
})

test('the data set repeats itself for a seed, and starts anywhere', async () => {
  const read = async (source: AsyncIterable<{ prompt: string; frames: { data: Uint8Array } }>) => {
    const out = []
    for await (const { prompt, frames } of source) out.push([prompt, Buffer.from(frames.data).toString('base64').slice(0, 400)])
    return out
  }
  const dataset = demoWorld({ seed: 4, durations: [1, 2], count: 5 })
  const all = await read(dataset)
  expect(all).toHaveLength(5)
  expect(await read(demoWorld({ seed: 4, durations: [1, 2], count: 5 }))).toEqual(all)
  expect(await read(dataset.examples!(0, 3))).toEqual(all.slice(3))
  expect((await read(dataset.examples!(1, 0))).map(([prompt]) => prompt)).not.toEqual(all.map(([prompt]) => prompt))
})
