// The world of the built-in model: up to two coloured shapes that move over one of five backgrounds, and an event that hides them for seconds.
// 64 × 64 RGB, 16 frames a second. An edge is a signed distance d in pixels with coverage clamp(0.5 − d, 0, 1); pixel centres lie at +0.5, y points down.

import { setImmediate } from 'node:timers/promises'
import { PhiloxRandom } from '../plan/random.js'
import { streams } from './random.js'
import { expected } from '../errors.js'
import { checkSeed } from '../native/ops.js'
import { checkInteger, checkNames, checkOneOf } from '../check.js'
import type { Dataset, TrainingExample } from './dataset.js'

export { PhiloxRandom } from '../plan/random.js'
export { latentNoise, streams } from './random.js'

export const WORLD_SIZE = 64
export const WORLD_FPS = 16

type Colour = readonly [number, number, number]

export const backgrounds = {
  night: { top: [16, 18, 48], bottom: [36, 30, 60], horizon: 0.7 },
  meadow: { top: [140, 200, 235], bottom: [90, 140, 50], horizon: 0.55 },
  sea: { top: [175, 205, 215], bottom: [20, 80, 120], horizon: 0.45 },
  sand: { top: [235, 190, 140], bottom: [200, 150, 90], horizon: 0.6 },
  room: { top: [120, 90, 80], bottom: [80, 55, 45], horizon: 0.75 }
} as const satisfies Record<string, { top: Colour; bottom: Colour; horizon: number }>

export const colours = {
  red: [225, 40, 40],
  green: [40, 190, 60],
  blue: [50, 90, 240],
  yellow: [245, 215, 40],
  purple: [170, 50, 200],
  white: [245, 245, 245]
} as const satisfies Record<string, Colour>

export const shapes = ['circle', 'square', 'triangle'] as const
export const radii = { small: 7.5, large: 12 } as const

export type BackgroundName = keyof typeof backgrounds
export type ColourName = keyof typeof colours
export type ShapeName = (typeof shapes)[number]
export type SizeName = keyof typeof radii
export type EventName = 'none' | 'curtain' | 'leave' | 'wall'

export interface WorldObject {
  colour: ColourName
  shape: ShapeName
  size: SizeName
  /** Centre in frame 0, pixels. */
  start: readonly [number, number]
  /** Pixels per frame. */
  velocity: readonly [number, number]
}

/** One video of the world. */
export interface World {
  background: BackgroundName
  event: EventName
  /** The event begins and ends, whole seconds. */
  t1: number
  t2: number
  /** Direction in which objects leave: −1 left, 1 right. */
  side: number
  /** Object 0 is in front. */
  objects: readonly WorldObject[]
}

const clamp = (value: number) => (value < 0 ? 0 : value > 1 ? 1 : value)
const smooth = (u: number) => {
  const c = clamp(u)
  return c * c * (3 - 2 * c)
}

const CURTAIN_LIGHT: Colour = [110, 112, 118]
const CURTAIN_DARK: Colour = [85, 87, 92]
const PILLAR: Colour = [70, 62, 58]
const CENTRE = WORLD_SIZE / 2

/** The picture of a background alone, [64,64,3] in 0 … 255. */
export function backgroundPicture(name: BackgroundName): Float64Array {
  const { top, bottom, horizon } = backgrounds[name]
  const picture = new Float64Array(WORLD_SIZE * WORLD_SIZE * 3)
  for (let y = 0; y < WORLD_SIZE; y++) {
    const weight = clamp((y + 0.5 - WORLD_SIZE * horizon) / 3 + 0.5)
    for (let x = 0; x < WORLD_SIZE; x++) {
      for (let channel = 0; channel < 3; channel++) {
        picture[(y * WORLD_SIZE + x) * 3 + channel] = top[channel]! * (1 - weight) + bottom[channel]! * weight
      }
    }
  }
  return picture
}

const pictures = new Map<BackgroundName, Float64Array>()

function cachedPicture(name: BackgroundName): Float64Array {
  let picture = pictures.get(name)
  if (!picture) pictures.set(name, (picture = backgroundPicture(name)))
  return picture
}

/** The curtain's folds in column x, the same in every row; [64,3] in 0 … 255. */
export const curtainFolds: Float64Array = (() => {
  const folds = new Float64Array(WORLD_SIZE * 3)
  for (let x = 0; x < WORLD_SIZE; x++) {
    const k = 0.5 + 0.5 * Math.cos((2 * Math.PI * (x + 0.5)) / 8)
    for (let channel = 0; channel < 3; channel++) folds[x * 3 + channel] = CURTAIN_LIGHT[channel]! * k + CURTAIN_DARK[channel]! * (1 - k)
  }
  return folds
})()

/** How far the curtain is closed in a video frame, 0 … 1. */
export function curtainClosedness(world: World, frame: number): number {
  if (world.event !== 'curtain') return 0
  return smooth((frame - WORLD_FPS * world.t1 + 8) / 8) - smooth((frame - WORLD_FPS * world.t2) / 8)
}

/** A coordinate that moves freely from `start` and is mirrored at r and 64 − r. */
function reflected(start: number, velocity: number, frame: number, radius: number): number {
  const span = WORLD_SIZE - 2 * radius
  const period = 2 * span
  const along = (((start - radius + velocity * frame) % period) + period) % period
  return radius + (along > span ? period - along : along)
}

/** The centre of an object in a video frame, pixels. */
export function objectPosition(world: World, object: WorldObject, frame: number): [number, number] {
  const radius = radii[object.size]
  let x = reflected(object.start[0], object.velocity[0], frame, radius)
  const y = reflected(object.start[1], object.velocity[1], frame, radius)
  if (world.event === 'leave') {
    const away = smooth((frame - WORLD_FPS * world.t1 + 16) / 16) - smooth((frame - WORLD_FPS * world.t2) / 16)
    x += world.side * (WORLD_SIZE + 2 * radius) * away
  }
  return [x, y]
}

/** Signed distance to the edge of an object at (dx, dy) from its centre. */
function signedDistance(shape: ShapeName, radius: number, dx: number, dy: number): number {
  if (shape === 'circle') return Math.sqrt(dx * dx + dy * dy) - radius
  if (shape === 'square') return Math.max(Math.abs(dx), Math.abs(dy)) - 0.9 * radius
  return Math.max(dy - 0.75 * radius, 0.866 * Math.abs(dx) - 0.5 * dy - 0.62 * radius)
}

/** Pixels [from, to) of one axis in which an object around `centre` may be visible; 1.2 r bounds every shape (the triangle's corners lie 1.16 r from its centre along x). */
function extent(centre: number, radius: number, margin: number): [number, number] {
  return [Math.max(0, Math.floor(centre - 1.25 * radius - margin)), Math.min(WORLD_SIZE, Math.ceil(centre + 1.25 * radius + margin))]
}

function drawObject(picture: Float64Array, world: World, object: WorldObject, frame: number): void {
  const radius = radii[object.size]
  const [centreX, centreY] = objectPosition(world, object, frame)
  const [red, green, blue] = colours[object.colour]
  const [left, right] = extent(centreX, radius, 1)
  const [top, bottom] = extent(centreY, radius, 1)
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const coverage = clamp(0.5 - signedDistance(object.shape, radius, x + 0.5 - centreX, y + 0.5 - centreY))
      if (coverage === 0) continue
      const at = (y * WORLD_SIZE + x) * 3
      picture[at] = picture[at]! * (1 - coverage) + red * coverage
      picture[at + 1] = picture[at + 1]! * (1 - coverage) + green * coverage
      picture[at + 2] = picture[at + 2]! * (1 - coverage) + blue * coverage
    }
  }
}

/** Covers column x of every row with one colour. */
function coverColumn(picture: Float64Array, x: number, coverage: number, red: number, green: number, blue: number): void {
  for (let at = x * 3; at < picture.length; at += WORLD_SIZE * 3) {
    picture[at] = picture[at]! * (1 - coverage) + red * coverage
    picture[at + 1] = picture[at + 1]! * (1 - coverage) + green * coverage
    picture[at + 2] = picture[at + 2]! * (1 - coverage) + blue * coverage
  }
}

const scratch = new Float64Array(WORLD_SIZE * WORLD_SIZE * 3)

/** One frame, uint8 RGB [64,64,3]; written into `out` when it is given. */
export function renderFrame(world: World, frame: number, out = new Uint8Array(WORLD_SIZE * WORLD_SIZE * 3)): Uint8Array {
  const picture = scratch
  picture.set(cachedPicture(world.background))
  for (let index = world.objects.length - 1; index >= 0; index--) drawObject(picture, world, world.objects[index]!, frame)
  if (world.event === 'wall') {
    for (let x = 0; x < WORLD_SIZE; x++) {
      const coverage = clamp(14.5 - Math.abs(x + 0.5 - CENTRE))
      if (coverage > 0) coverColumn(picture, x, coverage, PILLAR[0], PILLAR[1], PILLAR[2])
    }
  }
  const closedness = curtainClosedness(world, frame)
  if (closedness > 0) {
    for (let x = 0; x < WORLD_SIZE; x++) {
      const coverage = clamp(32.5 * closedness - Math.min(x + 0.5, WORLD_SIZE - x - 0.5) + 0.5)
      if (coverage > 0) coverColumn(picture, x, coverage, curtainFolds[x * 3]!, curtainFolds[x * 3 + 1]!, curtainFolds[x * 3 + 2]!)
    }
  }
  for (let at = 0; at < out.length; at++) out[at] = picture[at]! + 0.5
  return out
}

/** Frames [begin, end) one after another, uint8 [T,64,64,3]. */
export function renderFrames(world: World, begin: number, end: number): Uint8Array {
  const size = WORLD_SIZE * WORLD_SIZE * 3
  const out = new Uint8Array((end - begin) * size)
  for (let frame = begin; frame < end; frame++) renderFrame(world, frame, out.subarray((frame - begin) * size, (frame - begin + 1) * size))
  return out
}

/** What pixels of an object weigh, where no curtain hides it: those within `margin` pixels of its edge, on either side, and those deeper inside. */
export interface ObjectWeights {
  edge: number
  inside: number
  margin: number
}

/** Weights of a frame's pixels [64,64], written to `out`: 1 but for those of objects. */
export function objectWeights(world: World, frame: number, { edge, inside, margin }: ObjectWeights, out: Float32Array): Float32Array {
  out.fill(1)
  const closedness = curtainClosedness(world, frame)
  for (const object of world.objects) {
    const radius = radii[object.size]
    const [centreX, centreY] = objectPosition(world, object, frame)
    const [left, right] = extent(centreX, radius, margin + 1)
    const [top, bottom] = extent(centreY, radius, margin + 1)
    for (let x = left; x < right; x++) {
      if (closedness > 0 && 32.5 * closedness - Math.min(x + 0.5, WORLD_SIZE - x - 0.5) > 0.5) continue
      for (let y = top; y < bottom; y++) {
        const distance = signedDistance(object.shape, radius, x + 0.5 - centreX, y + 0.5 - centreY)
        if (distance <= margin) out[y * WORLD_SIZE + x] = distance < -margin ? inside : edge
      }
    }
  }
  return out
}

export interface DrawWorldOptions {
  /** Seconds, a whole number. Below 4 there is no curtain and no exit. */
  duration: number
  /** Fixes the number of objects; by default 1, with probability ¼ 2. */
  objects?: 1 | 2
}

/** A video of the world. Every call takes the same number of words from `random` for the same number of objects. */
export function drawWorld(random: PhiloxRandom, { duration, objects: fixed }: DrawWorldOptions): World {
  if (!Number.isInteger(duration) || duration < 1) throw expected('a whole number of seconds from 1', 'duration', duration, 'range')
  const background = random.pick(Object.keys(backgrounds) as BackgroundName[])
  const lot = random.uniform()
  const drawn: EventName = lot < 0.15 ? 'none' : lot < 0.7 ? 'curtain' : lot < 0.9 ? 'leave' : 'wall'
  const event = duration < 4 && drawn !== 'wall' ? 'none' : drawn
  const t1 = Math.max(1, Math.min(duration - 4, 1 + Math.floor(random.uniform() * 0.45 * (duration - 1))))
  const t2 = t1 + 2 + random.int(Math.max(1, duration - 1 - t1 - 1))
  const side = random.uniform() < 0.5 ? -1 : 1
  const two = random.uniform() < 0.25
  const count = fixed ?? (two ? 2 : 1)
  const palette = random.permutation(Object.keys(colours).length).map(index => (Object.keys(colours) as ColourName[])[index]!)
  const objects = Array.from({ length: count }, (_, index): WorldObject => {
    const shape = random.pick(shapes)
    const size: SizeName = random.uniform() < 0.5 ? 'small' : 'large'
    const radius = radii[size]
    const start = [radius + random.uniform() * (WORLD_SIZE - 2 * radius), radius + random.uniform() * (WORLD_SIZE - 2 * radius)] as const
    const speed = 0.5 + random.uniform()
    const direction = 2 * Math.PI * random.uniform()
    return { colour: palette[index]!, shape, size, start, velocity: [speed * Math.cos(direction), speed * Math.sin(direction)] }
  })
  return { background, event, t1, t2, side, objects }
}

export type CaptionMode = 'mixed' | 'everything' | 'nothing'

/** The sentence of an event; empty for none. */
function eventCaption(world: World): string {
  if (world.event === 'curtain') return `the curtain closes at ${world.t1}s opens at ${world.t2}s`
  if (world.event === 'leave') return `leaves at ${world.t1}s returns at ${world.t2}s`
  return world.event === 'wall' ? 'behind a wall' : ''
}

/** `mixed`: a quarter names everything, a quarter nothing, the rest each attribute with probability ½. Events and their times are always said. */
export function drawCaption(random: PhiloxRandom, world: World, mode: CaptionMode = 'mixed'): string {
  const lot = random.uniform()
  const share = mode === 'everything' ? 1 : mode === 'nothing' ? 0 : lot < 0.25 ? 1 : lot < 0.5 ? 0 : 0.5
  const says = () => random.uniform() < share
  const nouns = world.objects.map(({ colour, shape, size }) => {
    const words = ['a']
    if (says()) words.push(size)
    if (says()) words.push(colour)
    words.push(says() ? shape : 'shape')
    return words.join(' ')
  })
  const verb = random.uniform() < 0.5 ? 'moves' : 'bounces'
  const place = says() ? `over the ${world.background}` : ''
  return [nouns.join(' and '), verb, place, eventCaption(world)].filter(part => part !== '').join(' ')
}

export interface DemoWorldOptions {
  /** The same seed gives the same videos and captions. */
  seed: number | bigint
  /**
  Lengths of the videos in seconds; every video takes one of them at random.

  @default [4]
  */
  durations?: readonly number[]
  /**
  Videos of one pass. Every pass draws new captions.

  @default 1024
  */
  count?: number
  /** @default 'mixed' */
  captions?: CaptionMode
}

/** What `demoWorld` yields: an example of training with the parameters it was rendered from. */
export interface DemoWorldExample extends TrainingExample {
  frames: { data: Uint8Array; shape: [number, number, number, number] }
  world: World
}

/** Video number `index` of a seed: its length, its parameters. */
export function demoWorldVideo(seed: number | bigint, index: number, durations: readonly number[]): { world: World; duration: number } {
  const random = new PhiloxRandom(seed, streams.world, index)
  const duration = random.pick(durations)
  return { world: drawWorld(random, { duration }), duration }
}

/**
Rendered videos of the demo world with their captions.

@throws TypeError or RangeError for wrong options
*/
export function demoWorld(options: DemoWorldOptions): Dataset<DemoWorldExample> {
  checkNames(options, 'demoWorld', ['seed', 'durations', 'count', 'captions'])
  const { durations = [4], captions = 'mixed', count = 1024 } = options
  const seed = checkSeed(options.seed)
  checkInteger(count, 'count', 0, Number.MAX_SAFE_INTEGER)
  if (!Array.isArray(durations) || durations.length === 0) throw expected('a list of seconds', 'durations', durations, 'type')
  for (const [i, duration] of durations.entries()) checkInteger(duration, `durations[${i}]`, 1, 3600)
  checkOneOf(captions, 'captions', ['mixed', 'everything', 'nothing'])
  const examples = async function* (epoch = 0, skip = 0): AsyncGenerator<DemoWorldExample> {
    for (let index = skip; index < count; index++) {
      const { world, duration } = demoWorldVideo(seed, index, durations)
      const frames = duration * WORLD_FPS
      const data = new Uint8Array(frames * WORLD_SIZE * WORLD_SIZE * 3)
      // A second at a time: this thread also answers timers and requests.
      for (let begin = 0; begin < frames; begin += WORLD_FPS) {
        data.set(renderFrames(world, begin, begin + WORLD_FPS), begin * WORLD_SIZE * WORLD_SIZE * 3)
        await setImmediate()
      }
      const random = new PhiloxRandom(seed, streams.caption, epoch * count + index)
      yield {
        frames: { data, shape: [frames, WORLD_SIZE, WORLD_SIZE, 3] },
        prompt: drawCaption(random, world, captions),
        world
      }
    }
  }
  return { examples, [Symbol.asyncIterator]: () => examples() }
}
