// Training of the VIN's memory: what its gradients are, when a video has one, and that a checkpoint keeps it.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import type { TrainingExample } from '../../lib/index.js'
import type { BackwardRequest } from '../../lib/native/binding.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices, openEngine } from '../support/devices.js'
import { bits, layouts } from '../support/fixtures.js'
import { directional } from '../support/gradients.js'
import { stirredTransformer, tinyPipeline } from '../support/models.js'

const names = ['vin.memory.fc1.weight', 'vin.memory.fc1.bias', 'vin.memory.fc2.weight', 'vin.memory.fc2.bias', 'vin.memory.norm.weight', 'vin.memory.norm.bias']

describe.each(onDevices(layouts))('gradients of layout %s on %s', async (layout, device) => {
  const config = { attention_layout: layout, depth: 1, hidden_size: 16, num_heads: 2, in_channels: 4, caption_channels: 8, model_max_length: 8, mlp_ratio: 2, pred_sigma: false, input_sq_size: 64, chunk_frames: 4, context_frames: 2, latent_fps: 5, max_latent_frames: 40, vin: { num_global_tokens: 4, dim: 16, num_heads: 2, num_blocks: 1, keyframe_interval: 0.4, memory: true } }
  const engine = openEngine(device)
  const model = await stirredTransformer(engine, config, 3n)
  const random = new PhiloxRandom(6, 1)
  const draw = (...shape: number[]) => engine.upload(random.normals(shape.reduce((a, b) => a * b, 1)), shape)
  for (const name of ['vin.memory.norm.weight', 'vin.memory.norm.bias']) engine.op('copy', { y: model.weight(name), x: draw(16) })
  const chunks = [{ first: 0, start: 0, end: 4 }, { first: 2, start: 4, end: 8 }]
  const video = (extra: Partial<BackwardRequest>): BackwardRequest => ({ latents: draw(4, 8, 4, 4), target: draw(4, 8, 4, 4), text: draw(3, 8), timestep: 400, fps: 16, height: 32, width: 32, chunks, keyframes: [0, 2, 4, 6], fuse: false, contextLossWeight: 1, lossScale: 1, ...extra })
  const plain = video({})
  // Two that are evaluated together, one with a mask, one without a memory.
  const videos = [video({ remembersItself: true }), video({ remembersItself: true }), video({ remembersItself: true, frameMask: [0, 1, 1, 1, 1, 1, 1, 1] }), plain]

  test('are the differences of the loss', async () => {
    const trainer = engine.createTrainer([model], [names])
    const loss = async (): Promise<number> => Array.from((await trainer.backward(videos, { gradientCheckpointing: false }).read()).data).reduce((a, b) => a + b, 0)
    const { predicted, found } = await directional(engine, trainer, (name) => model.weight(name), loss)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(5e-3 * predicted)
    trainer.zeroGradients()
    await loss()
    for (const name of names) expect((await trainer.gradient(name).read()).data.some((value) => value !== 0), name).toBe(true)
    trainer.dispose()
  })

  test('checkpoints change no bit, and without a memory there is no gradient', async () => {
    const gradients = async (requests: BackwardRequest[], gradientCheckpointing: boolean): Promise<Buffer[]> => {
      const trainer = engine.createTrainer([model], [names])
      await trainer.backward(requests, { gradientCheckpointing }).ready()
      const all = await Promise.all(names.map(async (name) => bits((await trainer.gradient(name).read()) as { data: Float32Array; shape: number[] })))
      trainer.dispose()
      return all
    }
    expect(await gradients(videos, true)).toEqual(await gradients(videos, false))
    for (const gradient of await gradients([plain], false)) expect(gradient.every((byte) => byte === 0)).toBe(true)
  })

  test('the loss is that of the second reading', async () => {
    const trainer = engine.createTrainer([model], [names])
    const { target, contextLossWeight, lossScale, remembersItself, ...request } = videos[0]!
    const [loss = NaN] = (await trainer.backward([videos[0]!], { gradientCheckpointing: false }).read()).data
    trainer.dispose()
    const memory = engine.upload(new Float32Array(64), [1, 4, 16])
    await model.denoise({ ...request, memory }).ready()
    const { chunks: predictions } = model.trace({ ...request, memory, readsMemory: true })
    const wanted = (await target.read()).data as Float32Array
    let sum = 0
    for (const [i, { first, end }] of chunks.entries()) {
      const data = (await predictions![i]!.read()).data as Float32Array
      for (let c = 0; c < 4; c++) for (let f = first; f < end; f++) for (let at = 0; at < 16; at++) sum += (data[(c * (end - first) + f - first) * 16 + at]! - wanted[(c * 8 + f) * 16 + at]!) ** 2
    }
    expect(Math.abs(Number(loss) - sum / 512)).toBeLessThanOrEqual(1e-5 * (sum / 512))
  })
})

describe('a trainer', () => {
  const example = (index: number): TrainingExample => ({ prompt: 'a red circle moves', latents: { data: new PhiloxRandom(21, 0x10000, index).normals(4 * 20 * 16), shape: [4, 20, 4, 4] } })

  test('trains it with the VIN, in its share of the videos, and a checkpoint goes on with the same bits', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vin-memory-'))
    await using pipeline = await tinyPipeline({ addParts: ['memory'] })
    const trainer = new Trainer(pipeline, { trainable: 'vin', lengths: [20], learningRate: 1e-3, textDropout: 0, globalTokenMemory: 0.5, seed: 2 })
    expect(trainer.trainableNames).toEqual(expect.arrayContaining(names))
    for (let step = 0; step < 4; step++) await trainer.step([example(step), example(step + 1)])
    expect((await pipeline.transformer.readWeight('vin.memory.norm.weight')).data.some((value) => value !== 0)).toBe(true)
    await trainer.save(folder)
    const losses = async (own: Trainer): Promise<number[]> => [(await own.step([example(7), example(8)])).loss, (await own.step([example(9), example(3)])).loss]
    const wanted = await losses(trainer)
    const resumed = await Trainer.resume(folder, {}, { device: 'cpu' })
    expect(resumed.options.globalTokenMemory).toBe(0.5)
    expect(await losses(resumed)).toEqual(wanted)
    for (const each of [trainer, resumed]) each.dispose()
    await resumed.pipeline.dispose()
    await using opened = await VideoPipeline.fromPretrained(folder, { device: 'cpu' })
    expect(opened.transformer.config.vin?.memory).toBe(true)
    await rm(folder, { recursive: true })
  })

  test('none of it, and the same bits, where no video has one', async () => {
    const losses = async (addParts: ['memory'] | [], globalTokenMemory: number): Promise<number[]> => {
      await using pipeline = await tinyPipeline({ addParts })
      const trainer = new Trainer(pipeline, { lengths: [20], learningRate: 1e-3, globalTokenMemory, seed: 2 })
      const all: number[] = []
      for (let step = 0; step < 3; step++) all.push((await trainer.step([example(step), example(step + 1)])).loss)
      trainer.dispose()
      return all
    }
    const plain = await losses([], 0)
    expect(await losses(['memory'], 0)).toEqual(plain)
    const remembering = await losses(['memory'], 1)
    // Untrained, the first step is the same.
    expect(remembering[0]).toBe(plain[0])
    expect(remembering[2]).not.toBe(plain[2])
  })

  test('a checkpoint without the weights says how to get them', async () => {
    await using pipeline = await tinyPipeline()
    expect(() => new Trainer(pipeline, { globalTokenMemory: 0.9 })).toThrow(expect.objectContaining({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringMatching(/^Expected the weights vin\.memory\.\* for globalTokenMemory but .*addParts: \['memory'\]/) as string }))
  })
})
