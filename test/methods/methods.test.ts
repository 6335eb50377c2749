// Laws that hold between methods.
import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FlowMatchEulerDiscreteScheduler, randn, VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, TensorData } from '../../lib/index.js'
import { methodByName, methodNames, methods } from '../../lib/methods/index.js'
import { rescheduledNoise } from '../../lib/plan/noise.js'
import { bits, compare, fixture } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let promptEmbeds: TensorData
const options = { numFrames: 128, seed: 3, outputType: 'latents' } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
  promptEmbeds = await randn({ seed: 4, shape: [5, 32] })
})
afterAll(() => pipeline.dispose())

const run = async (extra: GenerateOptions): Promise<TensorData> => (await pipeline.generate({ ...options, promptEmbeds, ...extra })).latents

/** What spectral blending evaluates in the second half of the steps: attention over nearby frames. */
async function nearbyAlone({ latents, timestep, guidanceScale }: { latents: TensorData; timestep: number; guidanceScale: number }): Promise<TensorData> {
  const { transformer } = pipeline
  const upload = ({ data, shape }: TensorData) => transformer.engine.native.upload(data, shape)
  const [C, N = 0, H = 0, W = 0] = latents.shape
  const table = await transformer.readWeight('y_embedder.y_embedding')
  const negativeText = upload({ data: table.data.slice(0, 5 * 32), shape: [5, 32] })
  const attention = { kind: 'frequencies', frames: 10, cutoffTime: 0.25, cutoffSpace: 0.25, blend: false } as const
  const output = transformer.native.denoise({ latents: upload(latents), text: upload(promptEmbeds), negativeText, guidanceScale, timestep, fps: 16, height: 8 * H, width: 8 * W, chunks: [{ first: 0, start: 0, end: N }], attention })
  return { data: (await output.read()).data as Float32Array, shape: [C!, N, H, W] }
}

test('one chunk is full attention', async () => {
  const one = await run({ method: 'independent', numFrames: 32 })
  expect(bits(one)).toEqual(bits(await run({ method: 'full', numFrames: 32 })))
  expect(bits(one)).toEqual(bits(await run({ method: 'autoregressive', numFrames: 32 })))
})

test('global tokens change the video, and change it through every chunk', async () => {
  const [vin, independent] = [await run({ method: 'vin' }), await run({ method: 'independent' })]
  for (const begin of [0, 10, 20, 30]) {
    const frame = (latents: TensorData): TensorData => ({ data: latents.data.slice(begin * 16, (begin + 10) * 16), shape: [1, 10, 4, 4] })
    expect(compare(frame(vin), frame(independent)).difference).toBeGreaterThan(1e-5)
  }
})

test('isolated chunks know nothing of each other', async () => {
  const noise = await randn({ seed: 8, shape: [4, 40, 4, 4] })
  const other = { data: noise.data.slice(), shape: noise.shape }
  // Another beginning: latent frames 0 … 9 of every channel.
  for (let c = 0; c < 4; c++) other.data.fill(0.5, c * 640, c * 640 + 160)
  const isolated = { method: 'independent', contextFrames: 0 } as const
  const [one, two] = [await run({ ...isolated, latents: noise }), await run({ ...isolated, latents: other })]
  for (let c = 0; c < 4; c++) expect(one.data.slice(c * 640 + 160, (c + 1) * 640)).toEqual(two.data.slice(c * 640 + 160, (c + 1) * 640))
  // The VIN carries the change to all of them.
  const [withTokens, changed] = [await run({ method: 'vin', contextFrames: 0, latents: noise }), await run({ method: 'vin', contextFrames: 0, latents: other })]
  expect(bits(withTokens)).not.toEqual(bits(changed))
  expect(withTokens.data.slice(480, 640)).not.toEqual(changed.data.slice(480, 640))
})

test('autoregressive is the loop written out: chunk after chunk behind its finished context', async () => {
  const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
  let latents = await randn({ seed: 3, shape: [4, 20, 4, 4] })
  for (const [start, end] of [[0, 10], [10, 20]] as const) {
    scheduler.setTimesteps(4)
    const frameMask = Array.from({ length: 20 }, (_, frame) => (frame >= start && frame < end ? 1 : 0))
    for (const timestep of scheduler.timesteps) {
      const eps = await pipeline.denoise({ latents, timestep, promptEmbeds, method: 'independent', fuse: false, frameMask, guidanceScale: 2 })
      const next = await scheduler.step(eps, timestep, latents)
      // The step leaves the other frames alone: their prediction is 0.
      latents = next
    }
  }
  expect(bits(latents)).toEqual(bits(await run({ method: 'autoregressive', numFrames: 64 })))
})

test.each(['freenoise', 'spectral-blend'] as const)('%s of no more frames than a chunk is full attention; of more it is something else', async (method) => {
  expect(bits(await run({ method, numFrames: 32 }))).toEqual(bits(await run({ method: 'full', numFrames: 32 })))
  const [full, own] = [await run({ method: 'full', numFrames: 64 }), await run({ method, numFrames: 64 })]
  expect(compare(own, full).difference).toBeGreaterThan(1e-3)
  expect(bits(await run({ method, numFrames: 64 }))).toEqual(bits(own))
})

test.each(['freenoise', 'spectral-blend'] as const)('%s is the loop written out, from shuffled noise', async (method) => {
  const noise = await randn({ seed: 3, shape: [4, 20, 4, 4] })
  const sources = rescheduledNoise(20, 10, 3)
  expect(new Set(sources.slice(10)).size).toBe(10)
  const data = noise.data.slice()
  for (const [frame, source] of sources.entries()) for (let c = 0; c < 4; c++) data.set(noise.data.subarray((c * 20 + source) * 16, (c * 20 + source + 1) * 16), (c * 20 + frame) * 16)
  let latents: TensorData = { data, shape: noise.shape }
  const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
  scheduler.setTimesteps(4)
  for (const [step, timestep] of scheduler.timesteps.entries()) {
    // Low frequencies of all frames in the first half of the steps.
    const local = method === 'spectral-blend' && step >= 2
    const request = { latents, timestep, promptEmbeds, guidanceScale: 2 }
    latents = await scheduler.step(local ? await nearbyAlone(request) : await pipeline.denoise({ ...request, method }), timestep, latents)
  }
  expect(bits(latents)).toEqual(bits(await run({ method, numFrames: 64 })))
})

test('chunks in flight change no bit of any method', async () => {
  for (const method of ['vin', 'independent', 'autoregressive', 'freenoise', 'spectral-blend'] as const) {
    expect(bits(await run({ method, chunksInFlight: 1 }))).toEqual(bits(await run({ method, chunksInFlight: 4 })))
  }
})

test('fusion windows change the result, except where there is one chunk', async () => {
  const [early, none] = [await run({ fusion: 'early' }), await run({ fusion: 'none' })]
  expect(bits(early)).not.toEqual(bits(none))
  expect(bits(await run({ fusion: { from: 1, until: 0.4 } }))).toEqual(bits(early))
  expect(bits(await run({ fusion: 'early', numFrames: 32 }))).toEqual(bits(await run({ fusion: 'none', numFrames: 32 })))
})

test('methods that need no training run on a plain Open-Sora backbone, as latents', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vin-backbone-'))
  await symlink(fixture('stdit3'), join(folder, 'transformer'))
  await using backbone = await VideoPipeline.fromPretrained(folder, { device: 'cpu' })
  const text = await randn({ seed: 4, shape: [5, backbone.transformer.config.caption_channels] })
  const request = { promptEmbeds: text, numFrames: 128, width: 32, height: 32, numInferenceSteps: 2, seed: 1, outputType: 'latents' } satisfies GenerateOptions
  const results = new Map<string, TensorData>()
  for (const method of ['full', 'independent', 'autoregressive', 'freenoise', 'spectral-blend'] as const) {
    const { latents } = await backbone.generate({ ...request, method })
    expect(latents.shape).toEqual([4, 40, 4, 4])
    expect(latents.data.every(Number.isFinite)).toBe(true)
    for (const [other, { data }] of results) expect(Buffer.from(data.buffer).equals(Buffer.from(latents.data.buffer)), `${method} and ${other}`).toBe(false)
    results.set(method, latents)
  }
  await expect(backbone.generate(request)).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  await rm(folder, { recursive: true })
})

describe('names', () => {
  test('each method has its own name', () => {
    for (const [name, method] of Object.entries(methods)) expect(method.name).toBe(name)
    for (const name of methodNames) expect(methodByName(name).name).toBe(name)
    expect(() => methodByName('vim')).toThrow(RangeError)
  })
})
