// Model files as other programs write them load as those programs load them, or are refused by name.
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TextEncoder, Trainer, Transformer, VAE, VideoPipeline } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import type { TypedArray } from '../../lib/native/binding.js'
import { bits, fixture, readJson } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'
import { pictures } from '../support/vae.js'

type Stored = Record<string, { data: TypedArray; shape: number[] }>
const binding = loadBinding()
const stored = (...path: string[]): Stored => Object.fromEntries(Object.entries(binding.readSafetensors(fixture(...path)).tensors).map(([name, { data, shape }]) => [name, { data: data!, shape }]))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-published-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const write = async (config: object, tensors: Stored): Promise<void> => {
  await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  binding.writeSafetensors(join(folder, 'model.safetensors'), tensors)
}

describe('T5', () => {
  const shared = 'shared.weight'
  const alias = 'encoder.embed_tokens.weight'
  const open = (): Promise<TextEncoder> => TextEncoder.fromPretrained(folder, { device: 'cpu' })

  test('the word embedding under both of its names loads', async () => {
    const tensors = stored('t5', 'model.safetensors')
    await write(readJson('t5', 'config.json'), { ...tensors, [alias]: tensors[shared]! })
    await using both = await open()
    await using one = await TextEncoder.fromPretrained(fixture('t5'), { device: 'cpu' })
    const text = { ids: [5, 9, 1] }
    expect(bits((await both.encode(text)).embeds).equals(bits((await one.encode(text)).embeds))).toBe(true)
  })

  test('a sharded snapshot in the cache of the Hub, where every file is a link into blobs, loads', async () => {
    const tensors = stored('t5', 'model.safetensors')
    const snapshot = join(folder, 'models--org--t5', 'snapshots', '31db6d8', 'text_encoder')
    const blobs = join(folder, 'models--org--t5', 'blobs')
    for (const place of [snapshot, blobs]) await mkdir(place, { recursive: true })
    const names = Object.keys(tensors)
    const shards = [names.slice(0, 5), names.slice(5)].map((part, i) => ({ part, file: `model-0000${i + 1}-of-00002.safetensors` }))
    for (const { part, file } of shards) binding.writeSafetensors(join(blobs, `sha-of-${file}`), Object.fromEntries(part.map((name) => [name, tensors[name]!])))
    await writeFile(join(blobs, 'sha-of-config.json'), JSON.stringify(readJson('t5', 'config.json')))
    await writeFile(join(blobs, 'sha-of-model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: Object.fromEntries(shards.flatMap(({ part, file }) => part.map((name) => [name, file]))) }))
    for (const file of ['config.json', 'model.safetensors.index.json', ...shards.map((shard) => shard.file)]) await symlink(`../../../blobs/sha-of-${file}`, join(snapshot, file))
    await using encoder = await TextEncoder.fromPretrained(snapshot, { device: 'cpu' })
    await using one = await TextEncoder.fromPretrained(fixture('t5'), { device: 'cpu' })
    expect(bits((await encoder.encode({ ids: [5, 9, 1] })).embeds).equals(bits((await one.encode({ ids: [5, 9, 1] })).embeds))).toBe(true)
  })

  test('two different embeddings under its names are refused, naming both', async () => {
    const tensors = stored('t5', 'model.safetensors')
    const { data, shape } = tensors[shared]!
    const other = Float32Array.from(data)
    other[other.length - 1]! += 1
    await write(readJson('t5', 'config.json'), { ...tensors, [alias]: { data: other, shape } })
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringMatching(/shared\.weight.*encoder\.embed_tokens\.weight|encoder\.embed_tokens\.weight.*shared\.weight/) as string })
  })

  test.each([
    ['I32', (data: TypedArray) => Int32Array.from(data)],
    ['U8', (data: TypedArray) => Uint8Array.from(data)]
  ])('%s weights are refused, naming the tensor', async (dtype, convert) => {
    const tensors = stored('t5', 'model.safetensors')
    const name = 'encoder.block.0.layer.0.SelfAttention.q.weight'
    await write(readJson('t5', 'config.json'), { ...tensors, [name]: { data: convert(tensors[name]!.data), shape: tensors[name]!.shape } })
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining(`of integers 1: ${name} (${dtype})`) as string })
  })

  test('integers in a buffer that no model reads are passed over', async () => {
    await write(readJson('t5', 'config.json'), { ...stored('t5', 'model.safetensors'), 'decoder.position_ids': { data: Int32Array.of(0, 1), shape: [2] } })
    await (await open()).dispose()
  })
})

describe('VAE', () => {
  const open = (): Promise<VAE> => VAE.fromPretrained(folder, { device: 'cpu' })

  test('scalar shift and scale, in the config or in the file, are the same for every channel', async () => {
    const { shift: _shift, scale: _scale, ...rest } = stored('vae', 'model.safetensors')
    const config = readJson('vae', 'config.json')
    const frame = pictures(1, 24, 16)
    const encode = async (change: object, tensors: Stored): Promise<Buffer> => {
      await write({ ...config, ...change }, { ...rest, ...tensors })
      await using vae = await open()
      return bits(await vae.encode(frame))
    }
    const one = (value: number): Stored[string] => ({ data: Float32Array.of(value), shape: [] })
    const lists = await encode({ shift: [0.25, 0.25, 0.25, 0.25], scale: [2, 2, 2, 2] }, {})
    expect((await encode({ shift: 0.25, scale: 2 }, {})).equals(lists)).toBe(true)
    expect((await encode({ shift: 0.25, scale: 2 }, { shift: one(0.25), scale: one(2) })).equals(lists)).toBe(true)
    expect((await encode({}, { shift: one(0.25), scale: one(2) })).equals(lists)).toBe(true)
    expect((await encode({}, {})).equals(lists)).toBe(false)
  })

  test('a weight of one number where a matrix belongs is of another shape', async () => {
    const tensors = stored('vae', 'model.safetensors')
    const name = 'spatial_vae.module.quant_conv.bias'
    await write(readJson('vae', 'config.json'), { ...tensors, [name]: { data: Float32Array.of(1), shape: [] } })
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining(`${name} (expected [8], found [])`) as string })
  })

  test('micro_frame_size null, one micro-batch for the whole video upstream, is refused by name', async () => {
    await write({ ...readJson('vae', 'config.json'), micro_frame_size: null }, stored('vae', 'model.safetensors'))
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('micro_frame_size') as string })
  })
})

describe('transformer', () => {
  const source = fixture('vin-full', 'transformer')
  const place = async (change: object): Promise<void> => {
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...(JSON.parse(await readFile(join(source, 'config.json'), 'utf8')) as object), ...change }))
    await symlink(join(source, 'diffusion_pytorch_model.safetensors'), join(folder, 'model.safetensors'))
  }

  test('skip_y_embedder true, captions without y_embedder upstream, is refused by name; false is what is computed', async () => {
    await place({ skip_y_embedder: false })
    await (await Transformer.fromPretrained(folder, { device: 'cpu' })).dispose()
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...(JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as object), skip_y_embedder: true }))
    await expect(Transformer.fromPretrained(folder, { device: 'cpu' })).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('skip_y_embedder') as string })
  })

  test.each([1, 6])('%i latent frames are sampled without vae/', async (frames) => {
    const transformer = join(folder, 'transformer')
    await mkdir(transformer)
    for (const file of ['config.json', 'diffusion_pytorch_model.safetensors']) await symlink(join(source, file), join(transformer, file))
    await using pipeline = await VideoPipeline.fromPretrained(folder, { device: 'cpu' })
    const { in_channels: channels, caption_channels: width } = pipeline.transformer.config
    const latents = { data: Float32Array.from({ length: channels * frames * 16 }, (_, i) => Math.sin(i)), shape: [channels, frames, 4, 4] }
    const promptEmbeds = { data: Float32Array.from({ length: 2 * width }, (_, i) => Math.cos(i)), shape: [2, width] }
    const options = { latents, promptEmbeds, numInferenceSteps: 2, outputType: 'latents' as const }
    const { latents: sampled } = await pipeline.generate(options)
    expect(sampled.shape).toEqual(latents.shape)
    expect(sampled.data.every(Number.isFinite)).toBe(true)
    expect(sampled.data).not.toEqual(latents.data)
    await expect(pipeline.generate({ ...options, numFrames: 64 })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })
})

test.each([['RFlowScheduler', 'vin-native'], ['DDIMScheduler', 'diffusers']] as const)('a saved model_index.json says whose %s is', async (scheduler, library) => {
  await using pipeline = await tinyPipeline()
  const trainer = new Trainer(pipeline, { scheduler })
  await trainer.save(join(folder, 'saved'))
  trainer.dispose()
  expect(JSON.parse(await readFile(join(folder, 'saved', 'model_index.json'), 'utf8'))).toMatchObject({ scheduler: [library, scheduler] })
})

test('a byte order mark in front of every JSON file of a model changes nothing', async () => {
  await using made = await tinyPipeline()
  const trainer = new Trainer(made, {})
  const place = join(folder, 'saved')
  await trainer.save(place)
  trainer.dispose()
  for (const file of ['model_index.json', 'transformer/config.json', 'vae/config.json', 'text_encoder/config.json', 'tokenizer/tokenizer.json', 'scheduler/scheduler_config.json']) {
    await writeFile(join(place, file), `\ufeff${await readFile(join(place, file), 'utf8')}`)
  }
  await using pipeline = await VideoPipeline.fromPretrained(place, { device: 'cpu' })
  expect(pipeline.tokenizer.encode('a red circle').ids).toEqual(made.tokenizer.encode('a red circle').ids)
  expect(pipeline.plan({ numFrames: 16 })).toEqual(made.plan({ numFrames: 16 }))
})
