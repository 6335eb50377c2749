// Given frames stay as they are: first image, last image, a video to go on from.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { randn } from '../../lib/index.js'
import type { Frame, GenerateOptions, TensorData, VideoPipeline } from '../../lib/index.js'
import { compare } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
const options = { prompt: 'a red circle', numFrames: 64, seed: 3, outputType: 'latents' } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
})
afterAll(() => pipeline.dispose())

/** A picture of 32 × 32 with a gradient. */
const picture = { width: 32, height: 32, data: Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (i * 7) % 256) }

/** Latent frames [begin, end) of [C, N, H, W]. */
function part({ data, shape }: TensorData, begin: number, end: number): TensorData {
  const [C = 0, N = 0, H = 0, W = 0] = shape
  const size = H * W
  const result = new Float32Array(C * (end - begin) * size)
  for (let c = 0; c < C; c++) result.set(data.subarray((c * N + begin) * size, (c * N + end) * size), c * (end - begin) * size)
  return { data: result, shape: [C, end - begin, H, W] }
}

/** [3, T, H, W] in −1 … 1 of T pictures. */
function pixels(pictures: readonly { data: Uint8Array; width: number; height: number }[]): TensorData {
  const { width, height } = pictures[0]!
  const size = width * height
  const data = new Float32Array(3 * pictures.length * size)
  pictures.forEach((each, t) => {
    for (let i = 0; i < size; i++) for (let c = 0; c < 3; c++) data[(c * pictures.length + t) * size + i] = each.data[3 * i + c]! / 127.5 - 1
  })
  return { data, shape: [3, pictures.length, height, width] }
}

const same = (a: TensorData, b: TensorData): void => expect(compare(a, b).difference).toBeLessThan(1e-5)

test('image is the first latent frame, lastImage the last one', async () => {
  const { latents } = await pipeline.generate({ ...options, image: picture, lastImage: picture })
  same(part(latents, 0, 1), part(await pipeline.vae.encode(pixels([picture])), 0, 1))
  same(part(latents, 19, 20), part(await pipeline.vae.encode(pixels(Array.from({ length: 16 }, () => picture))), 4, 5))
  const free = await pipeline.generate(options)
  expect(compare(part(latents, 5, 15), part(free.latents, 5, 15)).difference).toBeGreaterThan(1e-4)
})

describe('video', () => {
  const clip = async (numFrames: number) => pipeline.generate({ ...options, numFrames, seed: 9, outputType: 'video' })

  test('latents condition as they are; a remainder at the start is dropped', async () => {
    const given = await randn({ seed: 5, shape: [4, 12, 4, 4] })
    const video = await pipeline.generate({ ...options, video: { latents: given } })
    same(part(video.latents, 0, 10), part(given, 2, 12))
    expect(video.warnings).toEqual([expect.objectContaining({ code: 'frames-dropped' })])
  })

  test('a Video conditions by its latents', async () => {
    const given = await clip(32)
    const { latents } = await pipeline.generate({ ...options, video: given })
    same(part(latents, 0, 10), given.latents)
  })

  test('frames are encoded by whole micro-batches, from the end', async () => {
    const given = await clip(40)
    const frames: Frame[] = []
    for await (const frame of given.frames()) frames.push(frame)
    const video = await pipeline.generate({ ...options, video: given })
    expect(video.warnings).toEqual([expect.objectContaining({ code: 'frames-dropped', message: expect.stringContaining('first 8 frames') })])
    same(part(video.latents, 0, 10), await pipeline.vae.encode(pixels(frames.slice(8))))
  })

  test('a Video and its file of latents condition alike, at their own rate and at another', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vin-conditioning-'))
    const file = join(folder, 'clip.safetensors')
    try {
      // 8 frames a second at 16: every frame twice. 24 frames a second at 16: frames 0, 2, 3, 5, 6, 8 and so on, those that began last at each sixteenth.
      for (const [fps, numFrames, shown] of [[16, 32, (i: number) => i], [8, 16, (i: number) => Math.floor(i / 2)], [24, 48, (i: number) => Math.floor((3 * i + 1) / 2)]] as const) {
        const given = await pipeline.generate({ ...options, numFrames, fps, seed: 9, outputType: 'video' })
        const frames: Frame[] = []
        for await (const frame of given.frames()) frames.push(frame)
        const wanted = await pipeline.vae.encode(pixels(Array.from({ length: 32 }, (_, i) => frames[shown(i)]!)))
        await given.save(file)
        for (const video of [given, file]) {
          const { latents, warnings } = await pipeline.generate({ ...options, fps: 16, video })
          expect(warnings).toEqual([])
          same(part(latents, 0, 10), fps === 16 ? given.latents : wanted)
        }
      }
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  test('as many frames as the result has leave nothing to make', async () => {
    await expect(pipeline.generate({ ...options, numFrames: 32, video: await clip(32) })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })

  test('less than a micro-batch is refused', async () => {
    await expect(pipeline.generate({ ...options, video: { latents: await randn({ seed: 5, shape: [4, 3, 4, 4] }) } })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })
})

test('given frames are kept by every method', async () => {
  const given = await randn({ seed: 5, shape: [4, 10, 4, 4] })
  for (const method of ['vin', 'full', 'independent', 'autoregressive'] as const) {
    const { latents } = await pipeline.generate({ ...options, method, video: { latents: given } })
    same(part(latents, 0, 10), given)
    expect(latents.data.every(Number.isFinite)).toBe(true)
  }
})
