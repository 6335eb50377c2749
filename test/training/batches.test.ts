// Videos of one shape are evaluated as one batch (csrc/models/trainer.cpp): losses and gradients are those of the videos one by one.
import { describe, expect, test } from 'vitest'
import type { BackwardRequest, NativeEngine, NativeTensor } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { disturb } from '../support/gradients.js'
import { tinyTextEncoder, tinyTransformer } from '../support/models.js'

const binding = loadBinding()

/** A transformer whose every part matters to the loss, with a text encoder that trains along. */
async function open(layout: string, threads = 2) {
  const engine = binding.createEngine({ device: 'cpu', threads })
  const transformer = await engine.create('transformer', { ...tinyTransformer, attention_layout: layout }, 5n)
  const encoder = await engine.create('t5', tinyTextEncoder, 6n)
  for (const { name } of transformer.weights()) {
    if (!/(cross_attn\.proj|final_layer\.linear|y_proj\.fc[12]|text_proj)\.weight$/.test(name)) continue
    for (let times = 0; times < 4; times++) await disturb(engine, transformer.weight(name))
  }
  const names = transformer.weights().map(({ name }) => name).filter((name) => name !== 'rope.freqs')
  const trainer = engine.createTrainer([transformer, encoder], [names, encoder.weights().map(({ name }) => name)])
  return { engine, trainer }
}

function randn(engine: NativeEngine, stream: number, shape: number[]): NativeTensor {
  return engine.op('randn', { y: { shape }, seed_low: 1, seed_high: 0, stream, frame_major: 0 })['y']!
}

const chunksOf = (frames: number) => (frames <= 6 ? [{ first: 0, start: 0, end: frames }] : [{ first: 0, start: 0, end: 6 }, { first: 4, start: 6, end: frames }])

/** Videos that differ in all that may differ within a batch, and some that belong to no batch of the others: other texts, no global tokens, another size. */
function requestsOf(engine: NativeEngine, frames: number): BackwardRequest[] {
  const video = (index: number, rest: Partial<BackwardRequest>, size = 4, length = frames): BackwardRequest => ({
    latents: randn(engine, 2 * index, [4, length, size, size]),
    target: randn(engine, 2 * index + 1, [4, length, size, size]),
    timestep: 150 + 90 * index,
    fps: 8 + index,
    height: 8 * size,
    width: 8 * size,
    chunks: chunksOf(length),
    keyframes: length > 5 ? [0, 5] : [0],
    contextLossWeight: 0.5,
    lossScale: 0.1 + 0.02 * index,
    ...rest
  })
  const front = Array.from({ length: frames }, (_, frame) => (frame < 2 && frames > 2 ? 0 : 1))
  // The second chunk owns conditioning frames alone, so it is not evaluated for this video.
  const back = Array.from({ length: frames }, (_, frame) => (frame >= 6 ? 0 : 1))
  return [
    video(0, { ids: [3, 4, 6, 8, 1] }),
    video(1, { ids: [3, 5, 7, 9, 1], frameMask: front }),
    video(2, { ids: [3, 4, 1] }),
    video(3, { nullText: 5 }),
    video(4, { ids: [2, 2, 6, 8, 1], frameMask: back, contextLossWeight: 1 }),
    video(5, { text: randn(engine, 99, [5, 32]) }),
    video(6, { nullText: 5, frameMask: front }),
    video(7, { text: randn(engine, 98, [5, 32]) }),
    { ...video(8, { ids: [3, 4, 6, 8, 1] }), keyframes: undefined as never },
    { ...video(9, { ids: [3, 9, 6, 8, 1] }), keyframes: undefined as never },
    video(10, { ids: [3, 4, 7, 8, 1] }, 2),
    video(11, { ids: [3, 4, 7, 8, 1] }, 4, frames + 1)
  ].map(({ keyframes, ...rest }) => (keyframes === undefined ? rest : { ...rest, keyframes }))
}

type Opened = Awaited<ReturnType<typeof open>>

async function run({ trainer }: Opened, calls: BackwardRequest[][], gradientCheckpointing = false) {
  trainer.zeroGradients()
  const losses: number[] = []
  for (const requests of calls) losses.push(...((await trainer.backward(requests, { gradientCheckpointing }).read()).data as Float64Array))
  const gradients = new Map<string, Float32Array>()
  for (const name of trainer.names()) gradients.set(name, (await trainer.gradient(name).read()).data as Float32Array)
  return { losses, gradients }
}

const largest = (values: Float32Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
const bits = ({ losses, gradients }: Awaited<ReturnType<typeof run>>): string[] => [losses.join(), ...[...gradients.values()].map((data) => Buffer.from(data.buffer).toString('base64'))]

describe.each(['full', 'hybrid', 'factorised'])('attention layout %s', (layout) => {
  test.each([['images', 1], ['videos of two chunks', 10]])('a batch of %s has the losses and gradients of its members', async (_name, frames) => {
    const opened = await open(layout)
    const requests = requestsOf(opened.engine, frames)
    const alone = await run(opened, requests.map((request) => [request]))
    const together = await run(opened, [requests])
    // Sums of fp32 products in another order: 1e-6 of the largest term is some ten roundings. A gradient that is 0 but for rounding is held to the largest of all.
    together.losses.forEach((loss, i) => expect(Math.abs(loss - alone.losses[i]!), `loss ${i}`).toBeLessThanOrEqual(1e-6 * alone.losses[i]!))
    const scale = Math.max(...[...alone.gradients.values()].map(largest))
    for (const [name, gradient] of together.gradients) {
      const one = alone.gradients.get(name)!
      const error = largest(gradient.map((value, i) => value - one[i]!))
      expect(error, name).toBeLessThanOrEqual(Math.max(1e-5 * largest(one), 1e-7 * scale))
    }
    expect(largest(together.gradients.get('vin.global_tokens')!)).toBeGreaterThan(0)
    expect(largest(together.gradients.get('text_encoder.shared.weight')!)).toBeGreaterThan(0)
    // What a batch leaves out of its loss would be missed above only if it were left out alone, too.
    expect(together.losses.every((loss) => loss > 0)).toBe(true)
    await opened.engine.dispose()
  })
})

test('bits depend neither on threads nor on recomputation', async () => {
  const seen: string[][] = []
  for (const [threads, checkpointing] of [[2, false], [1, false], [3, true]] as const) {
    const opened = await open('full', threads)
    seen.push(bits(await run(opened, [requestsOf(opened.engine, 10)], checkpointing)))
    await opened.engine.dispose()
  }
  expect(seen[1]).toEqual(seen[0])
  expect(seen[2]).toEqual(seen[0])
})
