// The flag that an aborted signal raises: native work that carries it stops before its next op, and nothing else does.
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NativeCancel, NativeEngine, NativeT5, NativeTensor, NativeTransformer, NativeVae } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { TextEncoder, Transformer, VAE } from '../../lib/index.js'
import { fixture, readJson } from '../support/fixtures.js'
import { tinyTextEncoder, tinyTransformer, tinyVAE } from '../support/models.js'

let engine: NativeEngine
let transformer: NativeTransformer
let vae: NativeVae
let encoder: NativeT5
let latents: NativeTensor
beforeAll(async () => {
  engine = loadBinding().createEngine({ device: 'cpu', threads: 1 })
  transformer = await engine.create('transformer', tinyTransformer, 1n)
  vae = await engine.create('vae', tinyVAE, 2n)
  encoder = await engine.create('t5', tinyTextEncoder, 3n)
  latents = engine.upload(new Float32Array(4 * 5 * 16), [4, 5, 4, 4])
})
afterAll(() => engine.dispose())

const request = (cancel: NativeCancel) => ({
  latents, timestep: 500, text: engine.upload(new Float32Array(3 * 32), [3, 32]), guidanceScale: 1, fps: 16, height: 32, width: 32,
  chunks: [{ first: 0, start: 0, end: 5 }], keyframes: [0], fuse: true, cancel
})

test.each<[string, (cancel: NativeCancel) => Promise<unknown>]>([
  ['an evaluation', (cancel) => transformer.denoise(request(cancel)).ready()],
  ['encoding pixels', (cancel) => vae.encode(engine.upload(new Float32Array(3 * 16 * 32 * 32), [3, 16, 32, 32]), { cancel }).ready()],
  ['decoding latents', (cancel) => vae.decode(latents, { numFrames: 16, cancel }).ready()],
  ['decoding frames', (cancel) => vae.decodePixels(latents, { begin: 0, end: 5, numFrames: 16, cancel }).ready()],
  ['encoding text', (cancel) => encoder.encode([3, 4, 1], { cancel }).ready()],
  ['loading weights', (cancel) =>
    engine.load('transformer', readJson('vin-full', 'transformer', 'config.json'), [fixture('vin-full', 'transformer', 'diffusion_pytorch_model.safetensors')], { cancel })]
])('%s goes through while the flag is down, and ends in an AbortError once it is raised', async (_, work) => {
  const cancel = engine.createCancel()
  await work(cancel)
  cancel.cancel()
  await expect(work(cancel)).rejects.toMatchObject({ name: 'AbortError' })
})

test('raised while evaluations wait, it stops those that carry it and no other', async () => {
  const [stopped, untouched] = [engine.createCancel(), engine.createCancel()]
  const waiting = Array.from({ length: 200 }, () => transformer.denoise(request(stopped)))
  const other = transformer.denoise(request(untouched))
  stopped.cancel()
  const results = await Promise.allSettled(waiting.map((eps) => eps.ready()))
  const first = results.findIndex(({ status }) => status === 'rejected')
  // Some may have run before the flag went up; none after it.
  expect(first).toBeGreaterThanOrEqual(0)
  for (const result of results.slice(first)) expect(result).toMatchObject({ status: 'rejected', reason: { name: 'AbortError' } })
  await expect(other.ready()).resolves.toBeUndefined()
})

test.each<[string, (signal: AbortSignal) => Promise<unknown>]>([
  ['an evaluation of the backbone', async (signal) => {
    await using model = await Transformer.fromConfig(tinyTransformer, { device: 'cpu', threads: 1 })
    return await model.forward({ latents: { data: new Float32Array(4 * 400 * 16), shape: [4, 400, 4, 4] }, timestep: 500, promptEmbeds: { data: new Float32Array(3 * 32), shape: [3, 32] }, fps: 16, height: 32, width: 32, signal })
  }],
  ['encoding pixels', async (signal) => {
    await using model = await VAE.fromConfig(tinyVAE, { device: 'cpu', threads: 1 })
    return await model.encode({ data: new Float32Array(3 * 320 * 32 * 32), shape: [3, 320, 32, 32] }, { signal })
  }],
  ['encoding text', async (signal) => {
    await using model = await TextEncoder.fromConfig(tinyTextEncoder, { device: 'cpu', threads: 1 })
    return await model.encode({ ids: Array.from({ length: 2000 }, () => 3) }, { signal })
  }]
])('%s by a model alone ends with the reason of the signal that stops it', async (_, work) => {
  const controller = new AbortController(), reason = { stopped: true }
  setTimeout(() => controller.abort(reason), 20)
  await expect(work(controller.signal)).rejects.toBe(reason)
})
