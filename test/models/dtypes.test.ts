// Weight files of half the size: bf16 and fp16 tensors load as the numbers they hold, in one file and in shards, for every kind of model.
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TextEncoder, Transformer, VAE, VideoPipeline } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { compare, fixture, named, readTensors } from '../support/fixtures.js'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-dtypes-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const models = {
  transformer: { Model: Transformer, source: fixture('vin-hybrid', 'transformer') },
  vae: { Model: VAE, source: fixture('vae') },
  't5 encoder': { Model: TextEncoder, source: fixture('t5') }
}

/** The nearest bfloat16: the upper half of the float's bits, ties to even. */
function bfloat16(value: number): number {
  const view = new DataView(new ArrayBuffer(4))
  view.setFloat32(0, value)
  const bits = view.getUint32(0)
  view.setUint32(0, ((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000) >>> 0)
  return view.getFloat32(0)
}

/** The nearest float16: 11 bits of precision, and steps of 2⁻²⁴ below 2⁻¹⁴. */
function float16(value: number): number {
  const size = Math.abs(value)
  const step = 2 ** (Math.max(-14, Math.floor(Math.log2(size))) - 10)
  const below = Math.floor(size / step)
  const part = size / step - below
  const up = part > 0.5 || (part === 0.5 && below % 2 === 1)
  // A tiny negative number becomes −0.
  return Math.sign(value) * ((below + (up ? 1 : 0)) * step)
}

const rounded = { bfloat16, float16 }

/** Splits a folder's weight file in two shards with an index. */
async function intoShards(place: string, file: string, dtype: 'bfloat16' | 'float16'): Promise<void> {
  const { tensors } = loadBinding().readSafetensors(join(place, file))
  const names = Object.keys(tensors).sort()
  const half = names.length >> 1
  const map: Record<string, string> = {}
  for (const [i, part] of [names.slice(0, half), names.slice(half)].entries()) {
    const shard = `${file.replace('.safetensors', '')}-0000${i + 1}-of-00002.safetensors`
    loadBinding().writeSafetensors(join(place, shard), Object.fromEntries(part.map((name) => [name, { data: tensors[name]!.data!, shape: tensors[name]!.shape, dtype }])))
    for (const name of part) map[name] = shard
  }
  await rm(join(place, file))
  await writeFile(join(place, `${file}.index.json`), JSON.stringify({ metadata: {}, weight_map: map }))
}

describe.each(Object.entries(models))('%s', (_name, { Model, source }) => {
  test.each([
    ['bfloat16', false],
    ['float16', false],
    ['bfloat16', true],
    ['float16', true]
  ] as const)('%s, in shards: %s', async (dtype, shards) => {
    await writeFile(join(folder, 'config.json'), await readFile(join(source, 'config.json')))
    await using original = await Model.fromPretrained(source, { device: 'cpu' })
    await original.native.save(join(folder, 'model.safetensors'), { dtype })
    const stored = Object.values(loadBinding().readSafetensors(join(folder, 'model.safetensors'), { headerOnly: true }).tensors)
    expect(new Set(stored.map((each) => each.dtype))).toEqual(new Set([dtype === 'float16' ? 'F16' : 'BF16']))
    if (shards) await intoShards(folder, 'model.safetensors', dtype)
    await using loaded = await Model.fromPretrained(folder, { device: 'cpu' })
    expect(loaded.weights()).toEqual(original.weights())
    let changed = 0
    for (const { name } of original.weights()) {
      const [before, after] = [await original.native.weight(name).read(), await loaded.native.weight(name).read()]
      const wanted = Float32Array.from(before.data as Float32Array, rounded[dtype])
      expect(Buffer.from((after.data as Float32Array).buffer).equals(Buffer.from(wanted.buffer)), name).toBe(true)
      changed += wanted.some((value, i) => value !== before.data[i]) ? 1 : 0
    }
    expect(changed).toBeGreaterThan(stored.length / 2)
  })
})

test('a pipeline of them evaluates as near to fp32 as its weights are', async () => {
  const io = readTensors('vin-hybrid', 'io.safetensors')
  const inputs = { latents: named(io, 'latents'), timestep: named(io, 'timestep').data[0] as number, promptEmbeds: named(io, 'prompt_embeds') }
  // Relative rounding of a weight: 2⁻⁹ in bf16, 2⁻¹² in fp16. Errors of independent weights add up like noise over two blocks and the VIN.
  for (const [dtype, tolerance] of [['bfloat16', 2 ** -9 * 8], ['float16', 2 ** -12 * 8]] as const) {
    const place = join(folder, dtype)
    await cp(fixture('vin-hybrid'), place, { recursive: true })
    await mkdir(join(place, 'transformer'), { recursive: true })
    await intoShards(join(place, 'transformer'), 'diffusion_pytorch_model.safetensors', dtype)
    await using pipeline = await VideoPipeline.fromPretrained(place, { device: 'cpu' })
    const { difference, magnitude } = compare(await pipeline.denoise(inputs), named(io, 'eps_fused'))
    expect(difference).toBeLessThan(tolerance * magnitude)
    expect(difference).toBeGreaterThan(1e-6 * magnitude)
  }
})
