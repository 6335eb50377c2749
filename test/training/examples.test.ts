// What an example must be, said before anything trains on it: pixels of another type, length or number of channels would be read as other pixels.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Trainer, VAE, VAETrainer } from '../../lib/index.js'
import type { TrainingExample, VideoPipeline } from '../../lib/index.js'
import { tinyPipeline, tinyVAE } from '../support/models.js'

let pipeline: VideoPipeline
let trainer: Trainer
let vaeTrainer: VAETrainer
beforeAll(async () => {
  pipeline = await tinyPipeline()
  trainer = new Trainer(pipeline, { lengths: [5] })
  vaeTrainer = new VAETrainer(await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 }), { stage: 'spatial', batchSize: 1 })
})
afterAll(async () => {
  trainer.dispose()
  vaeTrainer.dispose()
  await pipeline.dispose()
  await vaeTrainer.vae.dispose()
})

const bytes = (channels: number, frames = 16, size = 16): Uint8Array => new Uint8Array(frames * size * size * channels).fill(90)
const wrong: [string, unknown, RegExp, 'ERR_INVALID_ARG_TYPE' | 'ERR_OUT_OF_RANGE'][] = [
  ['RGBA', { data: bytes(4), shape: [16, 16, 16, 4] }, /^Expected \[T, H, W, 3\] without an alpha channel for frames\.shape but received \[16, 16, 16, 4\]$/, 'ERR_OUT_OF_RANGE'],
  ['RGBA that says it is RGB', { data: bytes(4), shape: [16, 16, 16, 3] }, /^Expected 12288 bytes for frames\.data of shape \[16, 16, 16, 3\] but received 16384$/, 'ERR_OUT_OF_RANGE'],
  ['too few bytes', { data: bytes(3).subarray(1), shape: [16, 16, 16, 3] }, /^Expected 12288 bytes .* received 12287$/, 'ERR_OUT_OF_RANGE'],
  ['floats', { data: new Float32Array(12288), shape: [16, 16, 16, 3] }, /^Expected a Uint8Array .* for frames\.data but received a Float32Array of 12288$/, 'ERR_INVALID_ARG_TYPE'],
  ['no shape', { data: bytes(3) }, /for frames\.shape but received undefined$/, 'ERR_INVALID_ARG_TYPE'],
  ['bare bytes', bytes(3), /for frames\.data but received undefined$/, 'ERR_INVALID_ARG_TYPE'],
  ['no frame', { data: new Uint8Array(0), shape: [0, 16, 16, 3] }, /positive integers for frames\.shape/, 'ERR_OUT_OF_RANGE'],
  ['a width of 12', { data: new Uint8Array(16 * 16 * 12 * 3), shape: [16, 16, 12, 3] }, /a multiple of 8 \(the two nearest are 8 and 16\) for width but received 12$/, 'ERR_OUT_OF_RANGE']
]

test.each(wrong)('frames: %s', async (_name, frames, message, code) => {
  const example = { prompt: 'a red circle', frames } as TrainingExample
  for (const step of [() => trainer.step([example]), () => vaeTrainer.step([example])]) {
    await expect(step()).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  }
})

test('a Buffer of RGB bytes is taken', async () => {
  const frames = { data: Buffer.from(bytes(3)), shape: [16, 16, 16, 3] as [number, number, number, number] }
  expect((await vaeTrainer.step([{ prompt: '', frames }])).loss).toBeGreaterThan(0)
  expect((await trainer.step([{ prompt: 'a red circle', frames }])).loss).toBeGreaterThan(0)
})

test('prompt, fps and weights', async () => {
  const frames = { data: bytes(3), shape: [16, 16, 16, 3] as [number, number, number, number] }
  const refused = (example: unknown) => expect(trainer.step([example as TrainingExample])).rejects
  await refused({ frames }).toThrow(/^Expected a string for prompt of an example but received undefined$/)
  await refused({ frames, prompt: 'a red circle', fps: 0 }).toThrow(/^Expected a number above 0 .* for fps of an example but received 0$/)
  await refused('a red circle').toThrow(/an example of the data set but received "a red circle"$/)
  await refused({ prompt: 'a red circle' }).toThrow(/frames or latents/)
  await expect(vaeTrainer.step([{ prompt: '', frames, weights: new Float32Array(7) }])).rejects.toThrow(/^Expected 4096 numbers, one for each pixel, for weights of an example but received a Float32Array of 7$/)
  await expect(vaeTrainer.step([{ prompt: '', frames, weights: [1] as unknown as Float32Array }])).rejects.toThrow(/^Expected a Float32Array for weights/)
})
