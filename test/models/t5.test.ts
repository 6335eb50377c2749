// The T5 encoder beyond its fixture's output (components.test.ts): every weight is used, distances beyond the fixture's length, gradients.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TextEncoder } from '../../lib/index.js'
import type { TensorData } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { devices, openEngine } from '../support/devices.js'
import { bits, compare, expectEvaluation, fixture, named, readJson, readTensors } from '../support/fixtures.js'
import { directional, disturb } from '../support/gradients.js'
import { tinyTextEncoder, tinyTransformer } from '../support/models.js'

const binding = loadBinding()

describe('fixture weights', () => {
  const io = readTensors('t5', 'io.safetensors')
  const ids = [...named(io, 'input_ids').data.slice(0, 41)]
  const wanted = { data: named(io, 'last_hidden_state').data.slice(0, 41 * 32), shape: [41, 32] }
  let encoder: TextEncoder
  beforeAll(async () => {
    encoder = await TextEncoder.fromPretrained(fixture('t5'), { device: 'cpu' })
  })
  afterAll(() => encoder.dispose())

  test('any weight tensor disturbed turns the comparison red', async () => {
    const red = async (): Promise<boolean> => {
      const { difference, magnitude } = compare((await encoder.encode({ ids })).embeds, wanted)
      return !(difference <= 2e-5 * Math.max(1, magnitude))
    }
    expect(await red()).toBe(false)
    const unseen: string[] = []
    for (const { name } of encoder.weights()) {
      const restore = await disturb(encoder.engine.native, encoder.native.weight(name))
      if (!(await red())) unseen.push(name)
      restore()
    }
    expect(unseen).toEqual([])
    expect(await red()).toBe(false)
  })

  test('the word embedding under its other name, and a whole T5 with its decoder', async () => {
    const { tensors } = binding.readSafetensors(fixture('t5', 'model.safetensors'))
    const { 'shared.weight': shared, ...rest } = Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, { data: data!, shape }]))
    const folder = await mkdtemp(join(tmpdir(), 'vin-t5-'))
    try {
      await writeFile(join(folder, 'config.json'), JSON.stringify(readJson('t5', 'config.json')))
      const unused = { 'decoder.final_layer_norm.weight': { data: new Float32Array(32), shape: [32] } }
      binding.writeSafetensors(join(folder, 'model.safetensors'), { ...rest, ...unused, 'encoder.embed_tokens.weight': shared! })
      await using other = await TextEncoder.fromPretrained(folder, { device: 'cpu' })
      expect(bits((await other.encode({ ids })).embeds).equals(bits((await encoder.encode({ ids })).embeds))).toBe(true)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test('every number of threads gives the same bits', async () => {
    const results = []
    for (const threads of [1, 2, 3]) {
      await using one = await TextEncoder.fromPretrained(fixture('t5'), { device: 'cpu', threads })
      results.push(bits((await one.encode({ ids })).embeds).toString('base64'))
    }
    expect(results[1]).toBe(results[0])
    expect(results[2]).toBe(results[0])
  })
})

/** Upper ends of the buckets of distances, opensora.md §4.2: 0 … 7 alone, then 8–11, 12–15, 16–22, …, 91 and more. */
const bucketEnds = [0, 1, 2, 3, 4, 5, 6, 7, 11, 15, 22, 31, 45, 63, 90, Infinity]
const bucketOf = (distance: number): number => bucketEnds.findIndex((end) => Math.abs(distance) <= end) + (distance > 0 ? 16 : 0)

test.each(devices)('140 tokens against the formulas in float64 on %s', async (device) => {
  const config = { vocab_size: 50, d_model: 12, d_kv: 4, d_ff: 20, num_layers: 2, num_heads: 3 }
  await using encoder = await TextEncoder.fromConfig(config, { device, seed: 4 })
  // The bias decides: values of about 2 instead of 0.02.
  const bias = encoder.native.weight('encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight')
  encoder.engine.native.op('linear_combination', { y: bias, a: bias, fa: 100, fb: 0, fc: 0, fd: 0 })
  const weights: Record<string, TensorData> = {}
  for (const { name, shape } of encoder.weights()) weights[name] = { data: (await encoder.native.weight(name).read()).data as Float32Array, shape }

  type Rows = number[][]
  const w = (name: string): Float32Array => named(weights, `${name}.weight`).data
  const project = (x: Rows, name: string, out: number): Rows => {
    const matrix = w(name)
    return x.map((row) => Array.from({ length: out }, (_, o) => row.reduce((sum, value, i) => sum + value * matrix[o * row.length + i]!, 0)))
  }
  const norm = (x: Rows, name: string): Rows =>
    x.map((row) => {
      const rms = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / row.length + 1e-6)
      return row.map((value, i) => (value / rms) * w(name)[i]!)
    })
  const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
  const plus = (a: Rows, b: Rows): Rows => a.map((row, r) => row.map((value, i) => value + b[r]![i]!))
  const ids = Array.from({ length: 140 }, (_, i) => (i * i + 3 * i) % 50)
  const table = w('encoder.block.0.layer.0.SelfAttention.relative_attention_bias')
  let x: Rows = ids.map((id) => [...w('shared').slice(12 * id, 12 * id + 12)])
  for (let block = 0; block < 2; block++) {
    const [attention, dense] = [`encoder.block.${block}.layer.0`, `encoder.block.${block}.layer.1`]
    const n = norm(x, `${attention}.layer_norm`)
    const [q, k, v] = ['q', 'k', 'v'].map((name) => project(n, `${attention}.SelfAttention.${name}`, 12)) as [Rows, Rows, Rows]
    const mixed = q.map((query, i) => {
      const row: number[] = []
      for (let head = 0; head < 3; head++) {
        const channels = [0, 1, 2, 3].map((c) => 4 * head + c)
        const scores = k.map((key, j) => channels.reduce((sum, c) => sum + query[c]! * key[c]!, table[bucketOf(j - i) * 3 + head]!))
        const most = Math.max(...scores)
        const powers = scores.map((score) => Math.exp(score - most))
        const total = powers.reduce((a, b) => a + b)
        for (const c of channels) row.push(powers.reduce((sum, power, j) => sum + power * v[j]![c]!, 0) / total)
      }
      return row
    })
    x = plus(x, project(mixed, `${attention}.SelfAttention.o`, 12))
    const m = norm(x, `${dense}.layer_norm`)
    const [gate, up] = ['wi_0', 'wi_1'].map((name) => project(m, `${dense}.DenseReluDense.${name}`, 20)) as [Rows, Rows]
    x = plus(x, project(gate.map((row, r) => row.map((value, i) => gelu(value) * up[r]![i]!)), `${dense}.DenseReluDense.wo`, 12))
  }
  const expected = norm(x, 'encoder.final_layer_norm')
  expectEvaluation((await encoder.encode({ ids })).embeds, { data: Float32Array.from(expected.flat()), shape: [140, 12] })
})

test.each(devices)('gradients through the transformer against finite differences on %s, with and without recomputation', async (device) => {
  const engine = openEngine(device)
  const transformer = await engine.create('transformer', tinyTransformer, 5n)
  const encoder = await engine.create('t5', tinyTextEncoder, 6n)
  // Untrained models hardly read the text and predict 0.
  for (const { name } of transformer.weights()) {
    if (!/(cross_attn\.proj|final_layer\.linear|y_proj\.fc[12]|text_proj)\.weight$/.test(name)) continue
    for (let times = 0; times < 8; times++) await disturb(engine, transformer.weight(name))
  }
  const names = encoder.weights().map(({ name }) => name)
  const trainer = engine.createTrainer([transformer, encoder], [[], names])
  const randn = (stream: number) => engine.op('randn', { y: { shape: [4, 10, 4, 4] }, seed_low: 1, seed_high: 0, stream, frame_major: 1 })['y']!
  const request = {
    latents: randn(1), target: randn(2), timestep: 400, ids: [3, 4, 6, 8, 3, 5, 7, 1], fps: 16, height: 32, width: 32,
    chunks: [{ first: 0, start: 0, end: 10 }], keyframes: [0, 5], contextLossWeight: 1, lossScale: 1
  }
  const loss = async (gradientCheckpointing: boolean): Promise<number> => (await trainer.backward([request], { gradientCheckpointing }).read()).data[0]!
  const gradients = async (gradientCheckpointing: boolean): Promise<string[]> => {
    trainer.zeroGradients()
    await loss(gradientCheckpointing)
    return Promise.all(trainer.names().map(async (name) => Buffer.from((await trainer.gradient(name).read()).data.buffer).toString('base64')))
  }
  expect(await gradients(true)).toEqual(await gradients(false))
  const { predicted, found } = await directional(engine, trainer, (name) => encoder.weight(name.replace(/^text_encoder\./, '')), () => loss(false))
  expect(predicted).toBeGreaterThan(0)
  expect(Math.abs(found - predicted)).toBeLessThanOrEqual(5e-3 * predicted)
  await engine.dispose()
})
