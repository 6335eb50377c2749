// Given pictures come back in the decoded frames of the built-in model as well as its VAE alone gives them back, to within 1 dB.
// A video's micro-batches are decoded by themselves: its frames come back exactly. A picture is one latent frame: `image` stands for the frames that decoding
// drops in front of the video, `lastImage` for the last four; what surrounds them is the model's, and must carry them on.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, TensorData } from '../../lib/index.js'
import { renderFrame } from '../../lib/training/demo-world.js'
import type { World } from '../../lib/training/demo-world.js'

const size = 64
interface Picture {
  data: Uint8Array
  width: number
  height: number
}

const world: World = {
  background: 'sand',
  event: 'none',
  t1: 1,
  t2: 3,
  side: 1,
  objects: [{ colour: 'blue', shape: 'square', size: 'large', start: [30, 28], velocity: [0.5, -0.25] }]
}
const picture = (of: World, frame: number): Picture => ({ data: renderFrame(of, frame), width: size, height: size })
const first = picture(world, 0)
const last = picture({ ...world, background: 'meadow' }, 0)
const clip = Array.from({ length: 32 }, (_, frame) => picture(world, frame))

let pipeline: VideoPipeline
const options = { prompt: 'a white circle moves over the night', numFrames: 64, numInferenceSteps: 4, seed: 5 } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await VideoPipeline.fromPretrained('demo', { device: 'cpu' })
})
afterAll(() => pipeline.dispose())

/** [3, T, H, W] in −1 … 1. */
function pixels(pictures: readonly Picture[]): TensorData {
  const data = new Float32Array(3 * pictures.length * size * size)
  pictures.forEach((each, t) => {
    for (let i = 0; i < size * size; i++) for (let c = 0; c < 3; c++) data[(c * pictures.length + t) * size * size + i] = each.data[3 * i + c]! / 127.5 - 1
  })
  return { data, shape: [3, pictures.length, size, size] }
}

/** What the VAE alone makes of pictures, as bytes. */
async function throughVAE(pictures: readonly Picture[]): Promise<Uint8Array[]> {
  const { data } = await pipeline.vae.decode(await pipeline.vae.encode(pixels(pictures)), { numFrames: pictures.length })
  const byte = (value: number): number => Math.round(Math.min(255, Math.max(0, (value + 1) * 127.5)))
  return pictures.map((_, t) => Uint8Array.from({ length: 3 * size * size }, (_, i) => byte(data[((i % 3) * pictures.length + t) * size * size + Math.floor(i / 3)]!)))
}

async function generated(extra: GenerateOptions): Promise<{ frames: Uint8Array[]; latents: TensorData }> {
  const video = await pipeline.generate({ ...options, ...extra })
  const frames: Uint8Array[] = []
  for await (const { data } of video.frames()) frames.push(data)
  expect(frames).toHaveLength(64)
  return { frames, latents: video.latents }
}

/** Numbers of one latent frame of [4, N, 8, 8]. */
const latentFrame = ({ data, shape }: TensorData, frame: number): number[] => [0, 1, 2, 3].flatMap((c) => [...data.subarray((c * shape[1]! + frame) * 64, (c * shape[1]! + frame + 1) * 64)])

/** Decibels between pictures of bytes. */
function psnr(a: Uint8Array, b: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2
  return 10 * Math.log10(255 ** 2 / (sum / a.length))
}

test('image and lastImage', async () => {
  const { vae } = pipeline
  const [alone] = await throughVAE([first])
  const still = await throughVAE(Array.from({ length: 16 }, () => last))
  const { frames: given, latents } = await generated({ image: first, lastImage: last })
  const { frames: free } = await generated({})
  const wanted = [psnr(alone!, first.data), psnr(still[15]!, last.data)] as const
  // Clean through all steps.
  expect(latentFrame(latents, 0)).toEqual(latentFrame(await vae.encode(pixels([first])), 0))
  expect(latentFrame(latents, 19)).toEqual(latentFrame(await vae.encode(pixels(Array.from({ length: 16 }, () => last))), 4))
  expect(psnr(given[0]!, first.data)).toBeGreaterThan(wanted[0] - 1)
  expect(psnr(given[63]!, last.data)).toBeGreaterThan(wanted[1] - 1)
  // Without them other pictures are made: what is asked above is not what any video has.
  expect(psnr(free[0]!, first.data)).toBeLessThan(wanted[0] - 1)
  expect(psnr(free[63]!, last.data)).toBeLessThan(wanted[1] - 1)
})

test('the frames of a video', async () => {
  const frames = async function* () {
    for (const [index, each] of clip.entries()) yield { ...each, index }
  }
  const [alone, { frames: given }] = [await throughVAE(clip), await generated({ video: frames() })]
  for (const [t, each] of clip.entries()) {
    expect(psnr(given[t]!, each.data)).toBeGreaterThan(psnr(alone[t]!, each.data) - 1)
    // Half a step of 255 may round either way.
    expect(Math.max(...given[t]!.map((value, i) => Math.abs(value - alone[t]![i]!)))).toBeLessThanOrEqual(1)
  }
})
