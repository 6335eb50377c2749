// pipeline.save and component.save are the mirror of fromPretrained: what is opened again computes the same, and nothing that is not ours goes.

import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { TextEncoder, Trainer, Transformer, VAE, VideoPipeline, createScheduler, openLatents } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

const device = { device: 'cpu' } as const
let root = ''
let pipeline: VideoPipeline
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vin-save-'))
  pipeline = await tinyPipeline()
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(root, { recursive: true, force: true })
})

const dtypes = (...path: string[]) => new Set(Object.values(loadBinding().readSafetensors(join(root, ...path)).tensors).map(({ dtype }) => dtype))
const vaeFile = 'diffusion_pytorch_model.safetensors'

test('a saved pipeline computes what it computed, with its own defaults', async () => {
  const folder = join(root, 'model')
  await pipeline.save(folder)
  await using again = await VideoPipeline.fromPretrained(folder, device)
  expect(again.defaults).toEqual(pipeline.defaults)
  expect(again.scheduler.config).toEqual(pipeline.scheduler.config)
  const options = { prompt: 'a red circle', numFrames: 16, numInferenceSteps: 1, seed: 3, outputType: 'latents' } as const
  expect(bits((await again.generate(options)).latents).equals(bits((await pipeline.generate(options)).latents))).toBe(true)
})

test('parts have the numbers that were asked for', async () => {
  await pipeline.save(join(root, 'half'), { dtype: { transformer: 'bfloat16', vae: 'float16' } })
  expect([dtypes('half', 'transformer', vaeFile), dtypes('half', 'vae', vaeFile), dtypes('half', 'text_encoder', 'model.safetensors')]).toEqual([new Set(['BF16']), new Set(['F16']), new Set(['F32'])])
  await expect(pipeline.save(join(root, 'half'), { dtype: 'int8' as never })).rejects.toThrow(/'float32', 'float16', 'bfloat16' for dtype but received "int8"/)
})

test('what lies beside a model stays, in folders too; what an older model had goes; a checkpoint and what is not ours is refused', async () => {
  const folder = join(root, 'kept')
  await pipeline.save(folder)
  for (const [name, text] of [['README.md', 'figures'], ['train.ts', 'let it = 1'], ['recipe/stage.ts', 'let be = 2'], ['transformer/notes.txt', 'mine'], ['transformer/model.safetensors', 'old weights under another name']] as const) {
    await mkdir(join(folder, 'recipe'), { recursive: true })
    await writeFile(join(folder, name), text)
  }
  await pipeline.save(folder, { dtype: 'float16' })
  const kept = await Promise.all(['README.md', 'train.ts', 'recipe/stage.ts', 'transformer/notes.txt'].map((name) => readFile(join(folder, name), 'utf8')))
  expect(kept).toEqual(['figures', 'let it = 1', 'let be = 2', 'mine'])
  expect(existsSync(join(folder, 'transformer', 'model.safetensors'))).toBe(false)
  expect((await readdir(folder)).sort()).toEqual(['README.md', 'model_index.json', 'recipe', 'scheduler', 'text_encoder', 'tokenizer', 'train.ts', 'transformer', 'vae'])

  await mkdir(join(root, 'theirs'))
  await writeFile(join(root, 'theirs', 'notes.txt'), 'mine')
  await expect(pipeline.save(join(root, 'theirs'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: expect.stringContaining('notes.txt') as string })
  await expect(pipeline.vae.save(join(root, 'theirs'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: expect.stringContaining('notes.txt') as string })
  expect(await readdir(join(root, 'theirs'))).toEqual(['notes.txt'])
  const trainer = new Trainer(pipeline, {})
  await trainer.save(join(root, 'checkpoint'))
  trainer.dispose()
  await expect(pipeline.save(join(root, 'checkpoint'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: expect.stringContaining('training') as string })
})

test('each part is saved and opened alone, with the weights it has now', async () => {
  for (const [name, part, open] of [['transformer', pipeline.transformer, Transformer], ['vae', pipeline.vae, VAE], ['text_encoder', pipeline.textEncoder, TextEncoder]] as const) {
    const { name: weight, shape } = part.weights()[0]!
    const old = await part.readWeight(weight)
    expect(old.shape).toEqual(shape)
    const data = old.data.map((value, at) => value + at)
    part.writeWeight(weight, { data, shape })
    await part.save(join(root, name))
    await using again = await open.fromPretrained(join(root, name), device)
    expect([name, again.config]).toEqual([name, part.config])
    expect(Array.from((await again.readWeight(weight)).data)).toEqual(Array.from(data))
    part.writeWeight(weight, old)
    // Over a model of its own kind; not over another.
    await part.save(join(root, name), { dtype: 'float16' })
  }
  await expect(pipeline.vae.save(join(root, 'transformer'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK' })
})

test('a weight is named, and keeps its shape', async () => {
  await expect(pipeline.vae.readWeight('shfit')).rejects.toThrow(/the nearest is shift.* received "shfit"/)
  expect(() => pipeline.vae.writeWeight('scale', { data: new Float32Array(3), shape: [3] })).toThrow(/Expected shape \[.*\] for scale but received \[3\]/)
  expect(() => pipeline.vae.writeWeight('scale', [1, 2, 3, 4] as never)).toThrow(TypeError)
})

test('latents of a loop that was written by hand become the video that generate makes', async () => {
  const video = await pipeline.generate({ prompt: 'a red circle', numFrames: 20, numInferenceSteps: 1, seed: 3 })
  const own = { data: video.latents.data.slice(), shape: video.latents.shape }
  const opened = await openLatents(pipeline, own, { numFrames: 20 })
  own.data.fill(0)
  const pixels = async (frames: AsyncIterable<{ data: Uint8Array }>) => {
    const all = []
    for await (const { data } of frames) all.push(data)
    return Buffer.concat(all)
  }
  expect((await pixels(opened.frames())).equals(await pixels(video.frames()))).toBe(true)
  expect(opened).toMatchObject({ numFrames: 20, fps: pipeline.defaults.fps, width: 32, height: 32 })
  await expect(openLatents(pipeline, { data: new Float32Array(6), shape: [2, 3] })).rejects.toThrow(RangeError)
  await expect(openLatents(pipeline, { data: new Float32Array(4 * 5 * 16).fill(NaN), shape: [4, 5, 4, 4] })).rejects.toMatchObject({ code: 'ERR_VIN_NONFINITE' })
})

test('a scheduler that is made from another has a run of its own', () => {
  const scheduler = createScheduler(pipeline.scheduler)
  pipeline.scheduler.setTimesteps(4)
  scheduler.setTimesteps(3)
  expect([scheduler.timesteps.length, pipeline.scheduler.timesteps.length]).toEqual([3, 4])
  expect(createScheduler({ ...pipeline.scheduler.config, shift: 5 }).config['shift']).toBe(5)
})
