// NaN and Inf never become a picture: bytes cannot show them, so what comes before the bytes is asked.
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Tensor, Video, VinError, openLatents } from '../../lib/index.js'
import type { GenerateOptions, TensorData, VideoPipeline } from '../../lib/index.js'
import { tinyPipeline } from '../support/models.js'

let folder: string
let pipeline: VideoPipeline
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nonfinite-'))
  pipeline = await tinyPipeline()
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true, force: true })
})

const options = { prompt: 'a red circle', numFrames: 16, seed: 2, numInferenceSteps: 2 } satisfies GenerateOptions
const failure = (work: PromiseLike<unknown>): Promise<VinError | undefined> => Promise.resolve(work).then(() => undefined, (error: unknown) => error as VinError)

test.each([
  ['NaN', 'plain data', 'video'],
  ['Infinity', 'plain data', 'latents'],
  ['NaN', 'a handle', 'video']
] as const)('%s that a hook returns as %s at the last step is ERR_VIN_NONFINITE of that step, for outputType %s', async (value, form, outputType) => {
  const poison = async ({ step, latents }: { step: number; latents: () => Promise<TensorData> }) => {
    const plain = await latents()
    if (step < 1) return undefined
    // Latent frame 3 of 5: 16 values a frame.
    plain.data[3 * 16 + 7] = Number(value)
    const engine = pipeline.engine.native
    return form === 'plain data' ? plain : new Tensor(engine, engine.upload(plain.data, plain.shape))
  }
  const error = await failure(pipeline.generate({ ...options, outputType, onStep: poison }))
  expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 1, frame: 3 } })
  expect(error!.message).toMatch(/Expected finite latents from onStep but found (NaN|Infinity) in latent frame 3/)
})

test('they are not saved as a state either', async () => {
  const resume = join(folder, 'states')
  const error = await failure(pipeline.generate({ ...options, resume, onStep: async ({ latents }) => ({ ...(await latents()), data: new Float32Array(320).fill(NaN) }) }))
  expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 0 } })
  expect((await readdir(resume).catch(() => [])).filter((name) => name.endsWith('.safetensors'))).toEqual([])
})

test('a file of latents with Inf is refused by its name, before anything is written', async () => {
  const file = join(folder, 'inf.safetensors')
  const data = new Float32Array(4 * 5 * 16).fill(0.5)
  data[320 - 1] = -Infinity
  const parts = { width: 32, height: 32, fps: 16, numFrames: 16, seed: 0, options: {}, plan: undefined, timings: {}, warnings: [] }
  await new Video({ ...parts, latents: { data, shape: [4, 5, 4, 4] } }).save(file)
  const error = await failure(openLatents(pipeline, file))
  expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { file, frame: 4 } })
  expect(error!.message).toContain(`latents in ${file}`)
  expect(await failure(pipeline.generate({ ...options, numFrames: 32, video: file }))).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { file, frame: 4 } })
})

test('a VAE that overflows is an error that names the frame, and leaves no file', async () => {
  const broken = await tinyPipeline()
  try {
    const video = await broken.generate(options)
    const weight = broken.vae.native.weight('spatial_vae.module.decoder.conv_out.weight')
    broken.engine.native.op('fill', { y: weight, value: 3e38 })
    weight.dispose()
    const path = join(folder, 'black.y4m')
    const error = await failure(video.save(path))
    expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { frame: 0 } })
    expect(error!.message).toMatch(/Expected finite pixels but the VAE made NaN or Inf from video frame 0 on/)
    expect(existsSync(path)).toBe(false)
    // A preview is decoded too.
    expect(await failure(broken.generate({ ...options, onPreview: () => undefined }))).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 0, frame: 0 } })
  } finally {
    await broken.dispose()
  }
})
