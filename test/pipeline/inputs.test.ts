// Inputs are taken at the call: what the caller does with them afterwards is not seen, however long the run waits.
import { encode } from 'fast-png'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Tensor, generate, randn } from '../../lib/index.js'
import type { GenerateOptions, TensorData, VideoPipeline } from '../../lib/index.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let noise: TensorData
let embeds: TensorData
const options = { numFrames: 32, seed: 3, numInferenceSteps: 1, outputType: 'latents' } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
  noise = await randn({ seed: 8, shape: [4, 10, 4, 4] })
  embeds = await randn({ seed: 4, shape: [5, 32] })
})
afterAll(() => pipeline.dispose())

const run = async (given: GenerateOptions): Promise<Buffer> => bits((await pipeline.generate({ ...options, promptEmbeds: copy(embeds), ...given })).latents)
const copy = ({ data, shape }: TensorData): TensorData => ({ data: data.slice(), shape: [...shape] })
const half = (from: TensorData): TensorData => ({ data: from.data.slice(0, from.data.length / 2), shape: [4, 5, 4, 4] })
const picture = () => ({ data: Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => i % 251), width: 32, height: 32 })

/** Options with an input of their own, and what the caller does to it right after the call. */
const cases: [string, () => [GenerateOptions, () => void]][] = [
  ['latents are filled', () => { const latents = copy(noise); return [{ latents }, () => latents.data.fill(0)] }],
  ['the shape of latents is changed', () => { const latents = copy(noise); return [{ latents }, () => void latents.shape.reverse()] }],
  ['the buffer of latents is transferred', () => { const latents = copy(noise); return [{ latents }, () => void structuredClone(latents.data.buffer, { transfer: [latents.data.buffer as ArrayBuffer] })] }],
  ['promptEmbeds are filled', () => { const promptEmbeds = copy(embeds); return [{ promptEmbeds }, () => promptEmbeds.data.fill(9)] }],
  ['negativePromptEmbeds are filled', () => { const negativePromptEmbeds = copy(embeds); return [{ negativePromptEmbeds }, () => negativePromptEmbeds.data.fill(9)] }],
  ['a handle is disposed of', () => { const latents = Tensor.from(noise, pipeline.engine); return [{ latents }, () => latents.dispose()] }],
  ['the pixels of image are filled', () => { const image = picture(); return [{ image }, () => image.data.fill(0)] }],
  ['image is given another size', () => { const image = picture(); return [{ image }, () => void (image.width = 1)] }],
  ['the bytes of image are filled', () => { const image = Buffer.from(encode({ ...picture(), channels: 3, depth: 8 })); return [{ image }, () => image.fill(0)] }],
  ['the pixels of lastImage are filled', () => { const lastImage = picture(); return [{ lastImage }, () => lastImage.data.fill(0)] }],
  ['latents of video are filled', () => { const latents = half(noise); return [{ video: { latents } }, () => latents.data.fill(0)] }],
  ['a timeline is changed', () => { const prompt = [{ at: 0, prompt: 'a red circle' }, { at: { frame: 16 }, prompt: 'a blue square' }]; return [{ prompt, promptEmbeds: undefined }, () => { prompt[1]!.prompt = 'a'; prompt.pop() }] }]
]

describe.each(cases)('%s', (_name, make) => {
  test('after the call, and after the run has waited for its turn: nothing changes', async () => {
    const wanted = await run(make()[0])
    const [given, change] = make()
    const before = pipeline.generate(options)
    const changed = run(given)
    change()
    await before
    expect(await changed).toEqual(wanted)
    // It was an input that matters.
    const [other, early] = make()
    early()
    expect(await run(other).catch(() => undefined)).not.toEqual(wanted)
  })
})

test('a Video to go on from is the one it was', async () => {
  const video = await pipeline.generate({ ...options, prompt: 'a red circle', outputType: 'video', numFrames: 16 })
  const wanted = await run({ video })
  const before = pipeline.generate(options)
  const changed = run({ video })
  video.latents.data.fill(0)
  await before
  expect(await changed).toEqual(wanted)
})

test('the text encoder is the one of the call', async () => {
  const given = { ...options, prompt: 'a red circle' }
  const wanted = bits((await pipeline.generate(given)).latents)
  const { textEncoder } = pipeline
  const before = pipeline.generate(given)
  const job = pipeline.generate(given)
  pipeline.textEncoder = { encode: () => Promise.reject(new Error('another one')) }
  try {
    await before
    expect(bits((await job).latents)).toEqual(wanted)
  } finally {
    pipeline.textEncoder = textEncoder
  }
})

test('denoise, forward, encode, decode, step and addNoise take theirs at the call too', async () => {
  const { transformer, vae, scheduler } = pipeline
  scheduler.setTimesteps(4)
  const timestep = scheduler.timesteps[1]!
  const pixels = { data: new Float32Array(3 * 16 * 32 * 32).fill(0.3), shape: [3, 16, 32, 32] }
  const calls: [string, (a: TensorData, b: TensorData, c: TensorData) => Promise<TensorData>, TensorData[]][] = [
    ['denoise', (latents, promptEmbeds, negativePromptEmbeds) => pipeline.denoise({ latents, promptEmbeds, negativePromptEmbeds, timestep: 500, guidanceScale: 2 }), [noise, embeds, embeds]],
    ['forward', (latents, promptEmbeds) => transformer.forward({ latents, promptEmbeds, timestep: 500, fps: 16, height: 32, width: 32 }), [noise, embeds]],
    ['encode', (x) => vae.encode(x), [pixels]],
    ['decode', (x) => vae.decode(x), [noise]],
    ['step', (output, sample) => scheduler.step(output, timestep, sample), [noise, noise]],
    ['addNoise', (x0, epsilon) => scheduler.addNoise(x0, epsilon, timestep), [noise, noise]]
  ]
  for (const [name, call, inputs] of calls) {
    const wanted = bits(await call(...(inputs.map(copy) as [TensorData, TensorData, TensorData])))
    const given = inputs.map(copy) as [TensorData, TensorData, TensorData]
    const result = call(...given)
    for (const { data } of given) data.fill(0)
    expect(bits(await result), name).toEqual(wanted)
  }
})

test('numbers in a SharedArrayBuffer are copied, wherever they are given', async () => {
  const share = ({ data, shape }: TensorData): TensorData => {
    const shared = new Float32Array(new SharedArrayBuffer(data.byteLength))
    shared.set(data)
    return { data: shared as Float32Array<ArrayBufferLike> as Float32Array, shape: [...shape] }
  }
  expect(await run({ latents: share(noise), promptEmbeds: share(embeds) })).toEqual(await run({ latents: noise, promptEmbeds: embeds }))
  expect(bits(await Tensor.from(share(noise)).read())).toEqual(bits(noise))
  const ask = (on: (value: TensorData) => TensorData) => pipeline.denoise({ latents: on(noise), promptEmbeds: on(embeds), timestep: 500 })
  expect(bits(await ask(share))).toEqual(bits(await ask(copy)))
  expect(await run({ onStep: ({ step }) => (step === 0 ? share(noise) : undefined) })).toEqual(bits(noise))
})

test('generate() keeps what it was called with while its model loads', async () => {
  const given = { prompt: 'a red circle', numFrames: 16, numInferenceSteps: 1, seed: 1, threads: 1, outputType: 'latents' } as const
  const latents = await randn({ seed: 8, shape: [4, 5, 8, 8] })
  const prompt = [{ at: 0, prompt: 'a red circle' }]
  const fusion = { from: 1, until: 0.4 }
  const early = { latents: copy(latents), prompt: structuredClone(prompt), fusion: { ...fusion } }
  const job = generate({ ...given, ...early })
  early.latents.data.fill(0)
  early.prompt[0]!.prompt = 'a blue square'
  early.fusion.from = 0.2
  const wanted = await generate({ ...given, latents, prompt, fusion })
  const video = await job
  expect(bits(video.latents)).toEqual(bits(wanted.latents))
  expect(video.options['fusion']).toEqual(fusion)
})
