// Latents of demo-world videos, encoded once by the frozen VAE: one file of Float32 per video length, grown by appending. Video k of a length is
// demoWorldVideo(seed, k, [seconds]), so the file needs no index, and a caption is drawn anew at every use.

import { createHash } from 'node:crypto'
import { open, readFile, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import type { Dataset, TrainingExample, VAE, VideoLatents } from 'vin-native'
import { curtainClosedness, demoWorldVideo, drawCaption, PhiloxRandom, streams, WORLD_FPS, WORLD_SIZE } from 'vin-native/demo-world'
import type { CaptionMode, World } from 'vin-native/demo-world'
import { worldFeatures } from './features.js'
import { writeWhole } from './files.js'
import { encodeWorld } from './world.js'

const SIDE = WORLD_SIZE / 8
const CHANNELS = 4

/** Share of the single pictures whose caption names everything. */
const NAMED_IMAGES = 0.6

export interface LatentCacheOptions {
  folder: string
  /** Seconds of every video. */
  seconds: number
  seed: number
  vae: VAE
  /** Names the weights that made the latents. */
  fingerprint: string
  /** A file of another seed or other weights is replaced; without it such a file is an error. */
  replace?: boolean
}

/** SHA-256 of a VAE's weight file. */
export async function weightsFingerprint(file: string): Promise<string> {
  return createHash('sha256').update(await readFile(file)).digest('hex')
}

export class LatentCache {
  readonly seconds: number
  readonly frames: number
  readonly #options: LatentCacheOptions
  readonly #path: string
  readonly #values: number
  #count: number

  private constructor(options: LatentCacheOptions, path: string, values: number, frames: number, count: number) {
    this.#options = options
    this.#path = path
    this.#values = values
    this.seconds = options.seconds
    this.frames = frames
    this.#count = count
  }

  /** Opens or makes the file of one length. A last video that was cut off is dropped. */
  static async open(options: LatentCacheOptions): Promise<LatentCache> {
    // A second is whole micro-batches.
    const { frames: videoFrames, latentFrames } = options.vae.microBatch
    const frames = ((options.seconds * WORLD_FPS) / videoFrames) * latentFrames
    const values = CHANNELS * frames * SIDE * SIDE
    const path = join(options.folder, `latents-${options.seconds}s.f32`)
    const label = `${JSON.stringify({ seconds: options.seconds, seed: options.seed, frames, fingerprint: options.fingerprint })}\n`
    const known = await readFile(`${path}.json`, 'utf8').catch(() => '')
    if (known !== label) {
      if (known !== '' && options.replace !== true) {
        throw new RangeError(
          `Expected latents of seed ${options.seed} and of the frozen VAE in ${path} but they are of another seed or VAE (${known.trim()}); pass their --seed, or replace them with --stage latents`
        )
      }
      await (await open(path, 'w')).close()
      await writeWhole(`${path}.json`, label)
    }
    const { size } = await stat(path)
    const count = Math.floor(size / (4 * values))
    if (size !== count * 4 * values) await truncate(path, count * 4 * values)
    return new LatentCache(options, path, values, frames, count)
  }

  get count(): number {
    return this.#count
  }

  /** Encodes videos until there are `count`; `onVideo` hears of each. */
  async grow(count: number, onVideo?: (done: number, count: number) => void): Promise<void> {
    if (this.#count >= count) return
    const handle = await open(this.#path, 'a')
    try {
      while (this.#count < count) {
        const { data } = await encodeWorld(this.#options.vae, this.world(this.#count), this.seconds * WORLD_FPS)
        await handle.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
        this.#count += 1
        onVideo?.(this.#count, count)
      }
    } finally {
      await handle.close()
    }
  }

  /** Latents of video `index`. */
  async read(index: number): Promise<VideoLatents> {
    const handle = await open(this.#path, 'r')
    try {
      const data = new Float32Array(this.#values)
      await handle.read(new Uint8Array(data.buffer), 0, data.byteLength, index * data.byteLength)
      return { data, shape: [CHANNELS, this.frames, SIDE, SIDE] }
    } finally {
      await handle.close()
    }
  }

  world(index: number): World {
    return demoWorldVideo(this.#options.seed, index, [this.seconds]).world
  }

  /** A latent frame that shows its objects, with a caption without events. */
  async image(random: PhiloxRandom): Promise<TrainingExample> {
    const { microBatch } = this.#options.vae
    let index, frame, world
    do {
      index = random.int(this.#count)
      frame = random.int(this.frames)
      world = this.world(index)
    } while (!shows(world, frame, microBatch))
    const { data } = await this.read(index)
    const values = SIDE * SIDE
    const image = new Float32Array(CHANNELS * values)
    for (let channel = 0; channel < CHANNELS; channel++) {
      const from = (channel * this.frames + frame) * values
      image.set(data.subarray(from, from + values), channel * values)
    }
    const still: World = { ...world, event: world.event === 'wall' ? 'wall' : 'none' }
    return { latents: { data: image, shape: [CHANNELS, 1, SIDE, SIDE] }, prompt: drawCaption(random, still, random.uniform() < NAMED_IMAGES ? 'everything' : 'mixed'), globalFeatures: worldFeatures(still) }
  }

  async example(index: number, use: number, captions: CaptionMode): Promise<TrainingExample> {
    const world = this.world(index)
    return { latents: await this.read(index), prompt: drawCaption(new PhiloxRandom(this.#options.seed, streams.caption, use), world, captions), globalFeatures: worldFeatures(world) }
  }
}

/** Whether latent frame `index` shows its objects: no curtain and no exit in its video frames. */
function shows(world: World, index: number, { frames: videoFrames, latentFrames }: VAE['microBatch']): boolean {
  // The first latent frame of a micro-batch is one video frame, each of the others an equal share of the rest of them, which also depends on the frame before.
  const share = videoFrames / (latentFrames - 1)
  const first = Math.floor(index / latentFrames) * videoFrames + Math.max(0, (index % latentFrames) - 1) * share
  const last = first + share
  if (world.event === 'curtain') for (let frame = first; frame <= last; frame++) if (curtainClosedness(world, frame) > 0) return false
  return !(world.event === 'leave' && last > WORLD_FPS * (world.t1 - 1) && first < WORLD_FPS * (world.t2 + 1))
}

export interface CachedVideosOptions {
  seed: number
  /** Relative numbers of latent frames that each length takes. */
  shares: readonly number[]
  /** Share of all latent frames that are single pictures. @default 0 */
  images?: number | undefined
  /** Share of videos that are drawn among those with a curtain; the others are drawn among all. @default 0 */
  curtains?: number | undefined
  /** Share of videos whose caption names nothing but the event: what they show only the video itself tells. @default 0 */
  unnamed?: number | undefined
}

/** Videos of several lengths in random order, and single pictures out of the shortest ones. */
export function cachedVideos(caches: readonly LatentCache[], { shares, seed, images = 0, curtains = 0, unnamed = 0 }: CachedVideosOptions): Dataset {
  // A pass is 4,096 draws; which video and which caption depends on (pass, draw) alone.
  const DRAWS = 4096
  const weights = caches.map((cache, index) => (cache.count > 0 ? (shares[index] ?? 0) / cache.frames : 0))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  // Frames of videos to one picture: a share of the frames becomes a share of the draws.
  const framesPerDraw = total === 0 ? 0 : caches.reduce((sum, cache, index) => sum + weights[index]! * cache.frames, 0) / total
  const pictures = caches.find(({ count }) => count > 0)!
  const imageDraws = images >= 1 ? 1 : (images * framesPerDraw) / (images * framesPerDraw + 1 - images)
  const withCurtain = new Map<LatentCache, number[]>()
  const curtainsOf = (cache: LatentCache) => {
    const known = withCurtain.get(cache) ?? Array.from({ length: cache.count }, (_, index) => index).filter((index) => cache.world(index).event === 'curtain')
    withCurtain.set(cache, known)
    return known
  }
  const examples = async function* (epoch: number, skip: number): AsyncGenerator<TrainingExample> {
    for (let draw = skip; draw < DRAWS; draw++) {
      const use = epoch * DRAWS + draw
      const random = new PhiloxRandom(seed, streams.order, use)
      if (imageDraws > 0 && random.uniform() < imageDraws) {
        yield pictures.image(random)
        continue
      }
      let lot = random.uniform() * total
      let chosen = 0
      while (chosen < caches.length - 1 && lot >= weights[chosen]!) lot -= weights[chosen++]!
      const cache = caches[chosen]!
      const among = curtains > 0 && random.uniform() < curtains ? curtainsOf(cache) : []
      const index = among.length > 0 ? among[random.int(among.length)]! : random.int(cache.count)
      yield cache.example(index, use, unnamed > 0 && random.uniform() < unnamed ? 'nothing' : 'mixed')
    }
  }
  return { examples, [Symbol.asyncIterator]: () => examples(0, 0) }
}
