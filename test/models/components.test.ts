// Each component used alone, against the fixtures.
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TextEncoder, Transformer, VAE } from '../../lib/index.js'
import type { TensorData } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { devices } from '../support/devices.js'
import { expectEvaluation, fixture, named, readTensors } from '../support/fixtures.js'

/** Item b of a batch, without the batch dimension. */
function item({ data, shape }: TensorData, b: number, squeeze = 1): TensorData {
  const size = data.length / (shape[0] as number)
  return { data: data.slice(b * size, (b + 1) * size), shape: shape.slice(squeeze) }
}

test.each(devices)('Open-Sora 1.2 backbone on %s: all output channels, with and without conditioning frames', async (device) => {
  await using transformer = await Transformer.fromPretrained(fixture('stdit3'), { device })
  expect(transformer.hasGlobalTokens).toBe(false)
  const io = readTensors('stdit3', 'io.safetensors')
  const { fps, height, width } = JSON.parse(await readFile(fixture('stdit3', 'config.json'), 'utf8')) as { fps: number; height: number; width: number }
  for (let b = 0; b < 2; b++) {
    const common = {
      latents: item(named(io, 'x'), b),
      timestep: named(io, 'timestep').data[b] as number,
      promptEmbeds: item(named(io, 'y'), b, 2),
      promptMask: item(named(io, 'mask'), b).data,
      fps,
      height,
      width
    }
    expectEvaluation(await transformer.forward(common), item(named(io, 'out_no_mask'), b))
    expectEvaluation(await transformer.forward({ ...common, frameMask: item(named(io, 'x_mask'), b).data }), item(named(io, 'out'), b))
  }
})

test.each(devices)('T5 encoder on %s', async (device) => {
  await using encoder = await TextEncoder.fromPretrained(fixture('t5'), { device })
  const io = readTensors('t5', 'io.safetensors')
  for (let b = 0; b < 2; b++) {
    const ids = item(named(io, 'input_ids'), b).data
    const mask = item(named(io, 'attention_mask'), b).data
    const { embeds, mask: given } = await encoder.encode({ ids, mask })
    expect(given).toEqual([...mask])
    expect(embeds.shape).toEqual([41, 32])
    const rows = mask.reduce((sum, value) => sum + value, 0)
    const valid = (tensor: TensorData): TensorData => ({ data: tensor.data.slice(0, rows * 32), shape: [rows, 32] })
    expectEvaluation(valid(embeds), valid(item(named(io, 'last_hidden_state'), b)))
  }
  await expect(encoder.encode('text')).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  await expect(encoder.encode({ ids: [60] })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
})

describe('model folders', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vin-model-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))
  const source = fixture('vin-full', 'transformer')
  const open = (): Promise<Transformer> => Transformer.fromPretrained(folder, { device: 'cpu' })
  const config = async (change: object): Promise<void> => {
    const base = JSON.parse(await readFile(join(source, 'config.json'), 'utf8')) as object
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...base, ...change }))
  }
  const weights = async (): Promise<void> => symlink(join(source, 'diffusion_pytorch_model.safetensors'), join(folder, 'model.safetensors'))

  test.each([
    ['depth', { depth: 1e9 }],
    ['hidden_size', { hidden_size: -4 }],
    ['num_heads', { num_heads: 7 }],
    ['context_frames', { context_frames: 11 }],
    ['vin.dim', { vin: { num_global_tokens: 8, dim: 1e12, num_heads: 4 } }],
    ['attention_layout', { attention_layout: 'diagonal' }]
  ])('%s out of range is ERR_VIN_FORMAT naming it', async (key, change) => {
    await config(change)
    await weights()
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', details: { key }, message: expect.stringContaining(key) })
  })

  test('a config that is no JSON, and one that is missing', async () => {
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
    await writeFile(join(folder, 'config.json'), '{"depth": 1, "depth": 2}')
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
  })

  test('missing weights, and weights of another shape', async () => {
    await config({})
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'weights' } })
    await config({ depth: 3 })
    await weights()
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('blocks.2.') })
  })

  test('shards under an index load like one file', async () => {
    await config({})
    const { tensors } = loadBinding().readSafetensors(join(source, 'diffusion_pytorch_model.safetensors'))
    const names = Object.keys(tensors)
    const map: Record<string, string> = {}
    for (const [i, part] of [names.slice(0, 20), names.slice(20)].entries()) {
      const name = `diffusion_pytorch_model-0000${i + 1}-of-00002.safetensors`
      loadBinding().writeSafetensors(join(folder, name), Object.fromEntries(part.map((key) => [key, { data: tensors[key]!.data!, shape: tensors[key]!.shape }])))
      for (const key of part) map[key] = name
    }
    const index = (weight_map: object): Promise<void> => writeFile(join(folder, 'diffusion_pytorch_model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map }))
    await index(map)
    await using transformer = await open()
    expect(transformer.weights().map(({ name }) => name).sort()).toEqual([...names].sort())
    for (const path of ['../outside.safetensors', '/etc/passwd', 'a/b.safetensors']) {
      await index({ ...map, [names[0]!]: path })
      await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
    }
    await mkdir(join(folder, 'elsewhere'))
    await symlink(join(source, 'diffusion_pytorch_model.safetensors'), join(folder, 'linked.safetensors'))
    await index({ ...map, [names[0]!]: 'linked.safetensors' })
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
  })
})
