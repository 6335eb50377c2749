// Training of CAM and APM: gradients, what trains and on what, and checkpoints.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import type { TrainerOptions, TrainingExample } from '../../lib/index.js'
import type { BackwardRequest } from '../../lib/native/binding.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices, openEngine } from '../support/devices.js'
import { bits, layouts } from '../support/fixtures.js'
import { directional } from '../support/gradients.js'
import { tinyPipeline } from '../support/models.js'

describe.each(onDevices(layouts))('gradients of layout %s on %s', async (layout, device) => {
  const config = { attention_layout: layout, depth: 2, hidden_size: 16, num_heads: 2, in_channels: 4, caption_channels: 8, model_max_length: 8, mlp_ratio: 2, pred_sigma: false, input_sq_size: 64, chunk_frames: 3, context_frames: 2, latent_fps: 5, max_latent_frames: 40, cam: true, apm: true }
  const chunks = [{ first: 0, start: 0, end: 3 }, { first: 1, start: 3, end: 6 }, { first: 4, start: 6, end: 9 }]
  const masks = [[0, 0, 0, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1, 1]]
  const engine = openEngine(device)
  const model = await engine.create('transformer', config, 3n)
  const random = new PhiloxRandom(6, 1)
  for (const { name, shape } of model.weights()) {
    if (!/proj\.weight$|final_layer\.linear|apm\.alpha/.test(name)) continue
    engine.op('copy', { y: model.weight(name), x: engine.upload(random.normals(shape.reduce((a, b) => a * b, 1)).map((value) => 0.3 * value), shape) })
  }
  const draw = (...shape: number[]) => engine.upload(random.normals(shape.reduce((a, b) => a * b, 1)), shape)
  // Two that are evaluated together, one of them with the null anchor, and one of another chunk.
  const videos = [[0, {}], [0, { anchor: 0 }], [1, { anchor: 2 }]].map(
    ([turn, streaming]): BackwardRequest => ({ latents: draw(4, 9, 4, 4), target: draw(4, 9, 4, 4), text: draw(3, 8), timestep: 400, fps: 16, height: 32, width: 32, chunks, fuse: false, frameMask: masks[turn as number]!, streaming: streaming as object, contextLossWeight: 1, lossScale: 1 })
  )
  const names = model.weights().map(({ name }) => name).filter((name) => /^(cam|apm)\./.test(name))

  test('are the differences of the loss', async () => {
    const trainer = engine.createTrainer([model], [names])
    const loss = async (): Promise<number> => Array.from((await trainer.backward(videos, { gradientCheckpointing: false }).read()).data).reduce((a, b) => a + b, 0)
    const { predicted, found } = await directional(engine, trainer, (name) => model.weight(name), loss)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(5e-3 * predicted)
    trainer.zeroGradients()
    await loss()
    // Every weight has one: none is left out.
    for (const name of names) expect((await trainer.gradient(name).read()).data.some((value) => value !== 0), name).toBe(true)
    trainer.dispose()
  })

  test('alone and together, with and without checkpoints, they are the same', async () => {
    const trainer = engine.createTrainer([model], [names])
    const gradients = async (requests: BackwardRequest[][], gradientCheckpointing: boolean): Promise<Float32Array[]> => {
      trainer.zeroGradients()
      for (const request of requests) await trainer.backward(request, { gradientCheckpointing }).ready()
      return Promise.all(names.map(async (name) => (await trainer.gradient(name).read()).data as Float32Array))
    }
    const together = await gradients([videos], false)
    expect(await gradients([videos], true)).toEqual(together)
    const alone = await gradients(videos.map((video) => [video]), false)
    together.forEach((wanted, i) => {
      const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      wanted.forEach((value, k) => expect(Math.abs(alone[i]![k]! - value)).toBeLessThanOrEqual(1e-4 * largest + 1e-9))
    })
    trainer.dispose()
  })
})

describe('training', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vin-streaming-training-'))
    await using plain = await tinyPipeline()
    await plain.save(join(folder, 'plain'))
  })
  afterAll(() => rm(folder, { recursive: true }))
  const open = () => VideoPipeline.fromPretrained(join(folder, 'plain'), { device: 'cpu', addParts: ['cam', 'apm'] })
  const options: TrainerOptions = { trainable: 'cam', lengths: [20, 30], learningRate: 3e-3, seed: 2 }
  // What a later chunk holds stands in its context alone.
  const example = (index: number): TrainingExample => {
    const frames = index % 3 === 0 ? 30 : 20
    return { prompt: 'a red circle moves', latents: { data: new PhiloxRandom(21, 0x10000, index % 4).normals(4 * frames * 16).map((value) => 0.1 * value + (index % 2 ? 1 : -1)), shape: [4, frames, 4, 4] } }
  }

  test.each(['cam', 'apm'] as const)("trainable '%s' changes its own weights, and the loss falls", async (trainable) => {
    await using pipeline = await open()
    const read = async () => new Map(await Promise.all(pipeline.transformer.weights().map(async ({ name }) => [name, bits(await pipeline.transformer.readWeight(name))] as const)))
    const before = await read()
    const trainer = new Trainer(pipeline, { ...options, trainable, textDropout: 0 })
    expect(trainer.trainableNames.every((name) => name.startsWith(`${trainable}.`))).toBe(true)
    const held = [example(0), example(1)]
    const first = await trainer.heldOutLoss(held)
    for (let step = 0; step < 12; step++) await trainer.step([example(step), example(step + 1)])
    expect(await trainer.heldOutLoss(held)).toBeLessThan(first)
    const after = await read()
    const changed = [...after.keys()].filter((name) => !after.get(name)!.equals(before.get(name)!))
    expect(changed.length).toBeGreaterThan(trainer.trainableNames.length / 2)
    expect(changed.every((name) => name.startsWith(`${trainable}.`))).toBe(true)
    trainer.dispose()
  })

  test('a checkpoint is a folder that streams, and goes on with the same bits', async () => {
    const steps = async (trainer: Trainer, from: number, to: number): Promise<number[]> => {
      const losses: number[] = []
      for (let step = from; step < to; step++) losses.push((await trainer.step([example(step)])).loss)
      return losses
    }
    await using pipeline = await open()
    const trainer = new Trainer(pipeline, { ...options, trainable: /^(cam|apm)\./ })
    await steps(trainer, 0, 3)
    await trainer.save(join(folder, 'run'))
    const wanted = await steps(trainer, 3, 6)
    const resumed = await Trainer.resume(join(folder, 'run'), {}, { device: 'cpu' })
    expect(await steps(resumed, 3, 6)).toEqual(wanted)
    await using opened = await VideoPipeline.fromPretrained(join(folder, 'run'), { device: 'cpu' })
    const run = async (method: 'streaming-t2v' | 'autoregressive') => bits((await opened.generate({ method, prompt: 'a red circle', numFrames: 64, seed: 1, outputType: 'latents' })).latents)
    expect((await run('streaming-t2v')).equals(await run('autoregressive'))).toBe(false)
    await resumed.pipeline.dispose()
  })

  test("trainable 'all' leaves them alone", async () => {
    await using pipeline = await open()
    const trainer = new Trainer(pipeline, { lengths: [10], trainable: 'all' })
    expect(trainer.trainableNames.some((name) => /^(cam|apm)\./.test(name))).toBe(false)
    trainer.dispose()
  })

  test('what cannot be is said in one sentence', async () => {
    await using pipeline = await open()
    expect(() => new Trainer(pipeline, { ...options, lengths: [10, 20] })).toThrow(/^Expected lengths above 10, a chunk's latent frames, to train cam\.\* or apm\.\* but received 10;/)
    expect(() => new Trainer(pipeline, { ...options, maskRatios: { random: 0.5 } })).toThrow(/no maskRatios/)
    expect(() => new Trainer(pipeline, { ...options, trainable: /^(vin|cam)\./ })).toThrow(/names both/)
    await using plain = await VideoPipeline.fromPretrained(join(folder, 'plain'), { device: 'cpu' })
    expect(() => new Trainer(plain, options)).toThrow(/^Expected the weights cam\.\* and apm\.\* for trainable: 'cam' but/)
  })
})
