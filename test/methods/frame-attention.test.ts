// Attention of FreeNoise and of spectral blending: the float64 reference against what the published code computed, and every layout of the model against the reference.
import { beforeAll, describe, expect, test } from 'vitest'
import type { EvaluationRequest, NativeEngine, NativeTransformer } from '../../lib/native/binding.js'
import type { FrameAttention } from '../../lib/plan/attention.js'
import { neighbourhoods, windowsOf } from '../../lib/plan/attention.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices, openEngine } from '../support/devices.js'
import { layouts, named, readTensors } from '../support/fixtures.js'
import { nearbyAttention, spectralBlend, wholeAttention, windowAttention, type Heads, type Rows } from '../support/reference/frame-attention.js'
import type { TensorData } from '../../lib/index.js'

const largest = (rows: Rows): number => Math.max(...rows.map((row) => row.reduce((most, value) => Math.max(most, Math.abs(value)), 0)))
function expectRows(actual: Rows, wanted: Rows, tolerance: number): void {
  let difference = 0
  for (const [i, row] of wanted.entries()) for (const [c, value] of row.entries()) if (!(Math.abs(actual[i]![c]! - value) <= difference)) difference = Math.abs(actual[i]![c]! - value)
  expect(difference).toBeLessThanOrEqual(tolerance * largest(wanted))
}

describe('the reference is what the published code computes', () => {
  const golden = readTensors('methods', 'attention.safetensors')
  /** [B, N, C], B sequences: rows frame · B + sequence. */
  const rowsOf = ({ data, shape: [B = 0, N = 0, C = 0] }: TensorData): Rows => Array.from({ length: N * B }, (_, row) => Float64Array.from(data.subarray(((row % B) * N + Math.floor(row / B)) * C, ((row % B) * N + Math.floor(row / B) + 1) * C)))
  const times = (x: Rows, { data, shape: [O = 0, I = 0] }: TensorData): Rows => x.map((row) => Float64Array.from({ length: O }, (_, o) => row.reduce((sum, value, i) => sum + value * data[o * I + i]!, 0)))
  const headsOf = (name: string): Heads => {
    const x = rowsOf(named(golden, `${name}.x`))
    const [q, k, v] = ['q', 'k', 'v'].map((part) => times(x, named(golden, `${name}.to_${part}`))) as [Rows, Rows, Rows]
    return { q, k, v, heads: 2 }
  }

  test.each([['f2', 27, 16, 4], ['f7', 16, 7, 3], ['f9', 22, 9, 9]] as const)('windows %s: %i frames, %i in a window, one every %i', (name, frames, window, stride) => {
    expectRows(windowAttention(headsOf(name), frames, window, stride, true), rowsOf(named(golden, `${name}.fused`)), 2e-6)
  })

  test('nearby and all frames, blended', () => {
    const heads = headsOf('a2')
    const bias = named(golden, 'a2.to_out.bias').data
    const projected = (rows: Rows): Rows => times(rows, named(golden, 'a2.to_out.weight')).map((row) => row.map((value, c) => value + bias[c]!))
    const [global, local] = [projected(wholeAttention(heads, 15, true)), projected(nearbyAttention(heads, 15, 6, true))]
    // A batch of two pictures of 2 × 3 tokens.
    const wanted = rowsOf(named(golden, 'a2.blend'))
    for (const video of [0, 1]) {
      const own = (rows: Rows): Rows => rows.filter((_, row) => Math.floor((row % 12) / 6) === video)
      expectRows(spectralBlend(own(global), own(local), [15, 2, 3], 0.25, 0.25), own(wanted), 2e-6)
    }
  })

  test.each([['b1', 8, 4, 4], ['b5', 9, 3, 5]] as const)('blend %s of %i × %i × %i', (name, T, h, w) => {
    const rows = (part: string): Rows => {
      const { data } = named(golden, `${name}.${part}`)
      return Array.from({ length: T * h * w }, (_, i) => Float64Array.of(data[i]!, data[T * h * w + i]!))
    }
    expectRows(spectralBlend(rows('global'), rows('local'), [T, h, w], 0.25, 0.25), rows('blend'), 2e-6)
  })

  test('the example of methods.md', () => {
    const rows = (value: (i: number) => number): Rows => Array.from({ length: 16 }, (_, i) => Float64Array.of(value(i)))
    const wanted = [-0.272012, 6.728169, 13.728477, 4.728658, 11.459148, 2.459511, 9.459819, 0.460183, 8.269329, 15.269147, 6.270181, 13.269999, 4.542194, 11.54183, 2.542864, 9.542502]
    expectRows(spectralBlend(rows((i) => i), rows((i) => (7 * i) % 16), [4, 2, 2], 0.25, 0.25), wanted.map((value) => Float64Array.of(value)), 1e-6)
  })
})

test('windows and neighbourhoods as methods.md lists them', () => {
  expect(windowsOf({ frames: 10, stride: 2 }, 25)).toEqual([[0, 10], [2, 12], [4, 14], [6, 16], [8, 18], [10, 20], [12, 22], [14, 24], [15, 25]])
  const of = (window: number, length: number) => (row: number) => neighbourhoods(window, length)[row]
  expect([0, 1, 7, 8, 64, 118, 119, 120, 127].map(of(16, 128))).toEqual([[0, 16], [0, 16], [0, 16], [0, 17], [56, 73], [110, 127], [111, 128], [112, 128], [112, 128]])
  expect([0, 9, 10, 40, 69, 70, 79].map(of(20, 80))).toEqual([[0, 20], [0, 20], [0, 21], [30, 51], [59, 80], [60, 80], [60, 80]])
})

describe.each(onDevices(layouts))('layout %s on %s', (layout, device) => {
  const C = 24
  const heads = 2
  const d = C / heads
  let engine: NativeEngine
  let model: NativeTransformer
  const weights = new Map<string, Float64Array>()
  const random = new PhiloxRandom(11, 1)

  /** A model whose blocks add their attention to the tokens and do nothing else. */
  beforeAll(async () => {
    engine = openEngine(device)
    model = await engine.create('transformer', { attention_layout: layout, depth: 1, hidden_size: C, num_heads: heads, in_channels: 4, caption_channels: 8, model_max_length: 8, mlp_ratio: 2, pred_sigma: false, input_sq_size: 64, chunk_frames: 10, context_frames: 0, latent_fps: 5, max_latent_frames: 40 }, 3n)
    const attends = layout === 'full' ? 'blocks.0' : 'temporal_blocks.0'
    for (const { name, shape } of model.weights()) {
      const count = shape.reduce((a, b) => a * b, 1)
      let values: Float32Array | undefined
      if (/^(t_embedder|fps_embedder|t_block|time_embedder)|cross_attn\.proj|scale_shift_table/.test(name)) values = new Float32Array(count)
      else if (name.endsWith('attn.proj.weight')) values = Float32Array.from({ length: count }, (_, i) => (i % C === Math.floor(i / C) ? 1 : 0))
      else if (name.endsWith('attn.proj.bias')) values = new Float32Array(count)
      else if (/attn\.(qkv|[qk]_norm)|final_layer\.linear/.test(name)) values = random.normals(count).map((value) => (name.includes('norm') ? 1 + 0.3 * value : 0.4 * value))
      if (values === undefined) continue
      // The gate of the attention alone is open.
      if (name === `${attends}.scale_shift_table`) values.fill(1, 2 * C, 3 * C)
      engine.op('copy', { y: model.weight(name), x: engine.upload(values, shape) })
      weights.set(name.replace(`${attends}.`, ''), Float64Array.from(values))
    }
  })

  const norm = (row: Float64Array): Float64Array => {
    const mean = row.reduce((a, b) => a + b, 0) / C
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / C
    return row.map((value) => (value - mean) / Math.sqrt(variance + 1e-6))
  }
  const linear = (row: Float64Array, weight: Float64Array, bias: Float64Array): Float64Array => bias.map((add, o) => row.reduce((sum, value, i) => sum + value * weight[o * C + i]!, add))

  /** Norm of q and k per head, then turned by the frame's position. */
  function turned(row: Float64Array, weight: Float64Array | undefined, frame: number, freqs: Float32Array): Float64Array {
    const out = new Float64Array(C)
    for (let head = 0; head < heads; head++) {
      const part = row.slice(head * d, (head + 1) * d)
      const rms = Math.sqrt(part.reduce((sum, value) => sum + value * value, 0) / d + 1e-6)
      const normed = part.map((value, c) => (value / rms) * weight![c]!)
      for (let pair = 0; pair < d / 2; pair++) {
        const [cos, sin] = [Math.cos(frame * freqs[pair]!), Math.sin(frame * freqs[pair]!)]
        const [a, b] = [normed[2 * pair]!, normed[2 * pair + 1]!]
        out[head * d + 2 * pair] = a * cos - b * sin
        out[head * d + 2 * pair + 1] = a * sin + b * cos
      }
    }
    return out
  }

  async function both(frames: number, height: number, width: number, attention: FrameAttention | undefined): Promise<{ actual: Rows; wanted: Rows }> {
    const shape = [4, frames, height, width]
    const latents = engine.upload(random.normals(shape.reduce((a, b) => a * b, 1)), shape)
    const text = engine.upload(random.normals(24), [3, 8])
    const request: EvaluationRequest = { latents, text, timestep: 500, fps: 16, height: 8 * height, width: 8 * width, chunks: [{ first: 0, start: 0, end: frames }], attention }
    const { output, video_tokens } = model.trace(request)
    const tokensData = await video_tokens!.read()
    const freqs = (await model.weight('rope.freqs').read()).data as Float32Array
    const [h, w] = [height / 2, width / 2]
    const S = h * w
    const tokens: Rows = Array.from({ length: frames * S }, (_, row) => Float64Array.from((tokensData.data as Float32Array).subarray(row * C, (row + 1) * C)))
    const qkv = tokens.map((row) => linear(norm(row), weights.get('attn.qkv.weight')!, weights.get('attn.qkv.bias')!))
    const part = (at: number): Rows => qkv.map((row) => row.slice(at * C, (at + 1) * C))
    const inputs: Heads = {
      q: part(0).map((row, i) => turned(row, weights.get('attn.q_norm.weight'), Math.floor(i / S), freqs)),
      k: part(1).map((row, i) => turned(row, weights.get('attn.k_norm.weight'), Math.floor(i / S), freqs)),
      v: part(2),
      heads
    }
    const across = layout === 'factorised'
    const local = attention?.kind === 'frequencies' ? nearbyAttention(inputs, frames, attention.frames, across) : []
    const result =
      attention === undefined
        ? wholeAttention(inputs, frames, across)
        : attention.kind === 'windows'
          ? windowAttention(inputs, frames, attention.frames, attention.stride, across)
          : attention.blend
            ? spectralBlend(wholeAttention(inputs, frames, across), local, [frames, h, w], attention.cutoffTime, attention.cutoffSpace)
            : local
    const wanted = tokens.map((row, i) => linear(norm(row.map((value, c) => value + result[i]![c]!)), weights.get('final_layer.linear.weight')!, weights.get('final_layer.linear.bias')!))
    // [C, N, H, W] back into rows of (dy, dx, channel).
    const { data } = (await output.read()) as TensorData
    const actual = wanted.map((_, row) => {
      const [frame, y, x] = [Math.floor(row / S), Math.floor((row % S) / w), row % w]
      return Float64Array.from({ length: 16 }, (_, i) => data[(((i % 4) * frames + frame) * height + 2 * y + Math.floor(i / 8)) * width + 2 * x + (Math.floor(i / 4) % 2)]!)
    })
    return { actual, wanted }
  }

  const kinds: [string, number, number, number, FrameAttention | undefined][] = [
    ['every frame', 6, 4, 4, undefined],
    ['windows with a remainder', 11, 4, 6, { kind: 'windows', frames: 5, stride: 2 }],
    ['windows, stride 1', 9, 2, 2, { kind: 'windows', frames: 4, stride: 1 }],
    ['windows side by side', 12, 4, 2, { kind: 'windows', frames: 4, stride: 4 }],
    ['blended, odd sizes', 9, 6, 10, { kind: 'frequencies', frames: 4, cutoffTime: 0.25, cutoffSpace: 0.25, blend: true }],
    ['blended, even sizes, other cut-offs', 8, 4, 8, { kind: 'frequencies', frames: 3, cutoffTime: 0.5, cutoffSpace: 0.8, blend: true }],
    ['no low frequencies', 7, 4, 4, { kind: 'frequencies', frames: 4, cutoffTime: 0, cutoffSpace: 0.25, blend: true }],
    ['nearby frames alone', 10, 4, 4, { kind: 'frequencies', frames: 4, cutoffTime: 0.25, cutoffSpace: 0.25, blend: false }]
  ]
  test.each(kinds)('%s', async (_, frames, height, width, attention) => {
    const { actual, wanted } = await both(frames, height, width, attention)
    expectRows(actual, wanted, 1e-5)
  })

  test('one window of all frames, and neighbours that are all frames, are plain attention', async () => {
    const shape = [4, 6, 4, 4]
    const request = { latents: engine.upload(random.normals(384), shape), text: engine.upload(random.normals(24), [3, 8]), timestep: 500, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 6 }] }
    const run = async (attention?: FrameAttention) => (await model.denoise({ ...request, attention }).read()).data
    const plain = await run()
    expect(await run({ kind: 'frequencies', frames: 6, cutoffTime: 0.25, cutoffSpace: 0.25, blend: false })).toEqual(plain)
    for (const attention of [{ kind: 'windows', frames: 6, stride: 3 }, { kind: 'frequencies', frames: 6, cutoffTime: 0.25, cutoffSpace: 0.25, blend: true }] as const) {
      const blended = (await run(attention)) as Float32Array
      blended.forEach((value, i) => expect(Math.abs(value - (plain as Float32Array)[i]!)).toBeLessThanOrEqual(1e-6))
    }
  })

  test('what is no such attention is refused', () => {
    const request = { latents: engine.upload(new Float32Array(384), [4, 6, 4, 4]), text: engine.upload(new Float32Array(24), [3, 8]), timestep: 500, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 6 }] }
    const refused = (attention: unknown, more: object = {}) => expect(() => model.denoise({ ...request, ...more, attention: attention as FrameAttention }))
    refused({ kind: 'windows', frames: 7, stride: 2 }).toThrow(/an integer from 1 to 6 for attention\.frames/)
    refused({ kind: 'windows', frames: 4, stride: 5 }).toThrow(/an integer from 1 to 4 for attention\.stride/)
    refused({ kind: 'rows', frames: 4 }).toThrow(/'windows' or 'frequencies'/)
    refused({ kind: 'windows', frames: 4, stride: 2 }, { chunks: [{ first: 0, start: 0, end: 3 }, { first: 3, start: 3, end: 6 }] }).toThrow(/one chunk of all latent frames/)
  })
})
