// Given pictures and videos of the built-in model, decoded, against what its VAE alone gives back.
// A video's micro-batches are decoded by themselves: its frames come back exactly. A picture is one latent frame of five: `image` stands for the frames that
// decoding drops in front of the video, `lastImage` for the last four. The four latent frames beside it are the model's; the decoders have learned to take the
// picture from its own. Two things are asked of a picture: that nothing of it is lost on the way (with the VAE's own latents beside it, it comes back to within
// 1 dB), and that it comes back to within 1 dB in the video of a prompt that it fits.
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

/** The frames of [3, T, H, W] in −1 … 1. */
function bytesOf({ data, shape }: TensorData): Uint8Array[] {
  const T = shape[1] as number
  const byte = (value: number): number => Math.round(Math.min(255, Math.max(0, (value + 1) * 127.5)))
  return Array.from({ length: T }, (_, t) => Uint8Array.from({ length: 3 * size * size }, (_byte, i) => byte(data[((i % 3) * T + t) * size * size + Math.floor(i / 3)]!)))
}

/** What the VAE alone makes of pictures. */
async function throughVAE(pictures: readonly Picture[]): Promise<Uint8Array[]> {
  return bytesOf(await pipeline.vae.decode(await pipeline.vae.encode(pixels(pictures)), { numFrames: pictures.length }))
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

/** The 16 frames of five latent frames: those of `given`, but for the one at `at`, which is that of `result`. */
async function decodeWith(result: number[] | undefined, at: number, given: TensorData): Promise<Uint8Array[]> {
  const data = given.data.slice()
  for (let c = 0; c < 4; c++) data.set(result?.slice(c * 64, (c + 1) * 64) ?? new Float32Array(64), (c * 5 + at) * 64)
  return bytesOf(await pipeline.vae.decode({ data, shape: given.shape }, { numFrames: 16 }))
}

test('image and lastImage', async () => {
  const { vae } = pipeline
  const { frames: given, latents } = await generated({ image: first, lastImage: last })
  const { frames: free } = await generated({})
  for (const { picture: wanted, at, inBatch, frame } of [
    { picture: first, at: 0, inBatch: 0, frame: 0 },
    { picture: last, at: 19, inBatch: 4, frame: 63 }
  ]) {
    const still = await vae.encode(pixels(Array.from({ length: 16 }, () => wanted)))
    const alone = await throughVAE(at === 0 ? [wanted] : Array.from({ length: 16 }, () => wanted))
    const own = psnr(alone.at(-1)!, wanted.data)
    // Clean through all steps, in bits.
    const kept = latentFrame(latents, at)
    expect(kept).toEqual(latentFrame(at === 0 ? await vae.encode(pixels([wanted])) : still, inBatch))
    // It comes back, and it is that latent frame which brings it.
    expect(psnr((await decodeWith(kept, inBatch, still))[frame % 16]!, wanted.data)).toBeGreaterThan(own - 1)
    expect(psnr((await decodeWith(undefined, inBatch, still))[frame % 16]!, wanted.data)).toBeLessThan(own - 3)
    // The prompt asks for another place; the picture comes all the same.
    expect(psnr(given[frame]!, wanted.data)).toBeGreaterThan(psnr(free[frame]!, wanted.data) + 15)
  }
})

/** What the VAE alone gives of a picture that fills a micro-batch, as a last image does. */
const ownPSNR = async (wanted: Picture): Promise<number> => psnr((await throughVAE(Array.from({ length: 16 }, () => wanted))).at(-1)!, wanted.data)

test.each([
  ['sand', 'blue', 'square', 'large', [0.5, -0.25]],
  ['meadow', 'red', 'circle', 'large', [1.2, 0.6]],
  ['night', 'yellow', 'triangle', 'large', [-0.8, 0.9]],
  ['sea', 'white', 'circle', 'small', [0.9, -0.3]],
  ['room', 'green', 'square', 'large', [-1, 1]]
] as const)('an image that the prompt fits begins the video and one ends it: %s, %s %s', async (background, colour, shape, size, velocity) => {
  const moving: World = { ...world, background, objects: [{ colour, shape, size, start: [30, 28], velocity: [...velocity] }] }
  const [begin, end] = [picture(moving, 0), picture(moving, 63)]
  const prompt = `a ${size} ${colour} ${shape} moves over the ${background}`
  const { frames: begun } = await generated({ prompt, image: begin, numInferenceSteps: 12 })
  expect(psnr(begun[0]!, begin.data)).toBeGreaterThan(psnr((await throughVAE([begin]))[0]!, begin.data) - 1)
  const { frames: ended } = await generated({ prompt, lastImage: end, numInferenceSteps: 12 })
  expect(psnr(ended[63]!, end.data)).toBeGreaterThan((await ownPSNR(end)) - 1)
})

test('a last image that stands still ends the video: the object has left', async () => {
  const empty = picture({ ...world, event: 'leave', t1: 1, t2: 9 }, 63)
  const leaving: GenerateOptions = { prompt: 'a large blue square moves over the sand leaves at 1s returns at 9s', numInferenceSteps: 12 }
  const [{ frames: given }, { frames: free }] = [await generated({ ...leaving, lastImage: empty }), await generated(leaving)]
  expect(psnr(given[63]!, empty.data)).toBeGreaterThan((await ownPSNR(empty)) - 1)
  // Without the picture the object is still there.
  expect(psnr(given[63]!, empty.data)).toBeGreaterThan(psnr(free[63]!, empty.data) + 15)
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
