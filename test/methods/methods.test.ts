// Laws that hold between methods.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FlowMatchEulerDiscreteScheduler, randn } from '../../lib/index.js'
import type { GenerateOptions, TensorData, VideoPipeline } from '../../lib/index.js'
import { methodByName, methodNames, methods } from '../../lib/methods/index.js'
import { bits, compare } from '../support/fixtures.js'
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

test('chunks in flight change no bit of any method', async () => {
  for (const method of ['vin', 'independent', 'autoregressive'] as const) {
    expect(bits(await run({ method, chunksInFlight: 1 }))).toEqual(bits(await run({ method, chunksInFlight: 4 })))
  }
})

test('fusion windows change the result, except where there is one chunk', async () => {
  const [early, none] = [await run({ fusion: 'early' }), await run({ fusion: 'none' })]
  expect(bits(early)).not.toEqual(bits(none))
  expect(bits(await run({ fusion: { from: 1, until: 0.4 } }))).toEqual(bits(early))
  expect(bits(await run({ fusion: 'early', numFrames: 32 }))).toEqual(bits(await run({ fusion: 'none', numFrames: 32 })))
})

describe('names', () => {
  test('each method has its own name, and the ones that are not here say so', () => {
    for (const [name, method] of Object.entries(methods)) expect(method.name).toBe(name)
    for (const name of methodNames) {
      if (Object.hasOwn(methods, name)) expect(methodByName(name).name).toBe(name)
      else expect(() => methodByName(name)).toThrow(expect.objectContaining({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining(name) }))
    }
    expect(() => methodByName('vim')).toThrow(RangeError)
  })
})
