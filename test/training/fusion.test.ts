// Training of the weights with which overlaps are blended.
import { describe, expect, test } from 'vitest'
import { Trainer } from '../../lib/index.js'
import type { TrainingExample } from '../../lib/index.js'
import type { BackwardRequest } from '../../lib/native/binding.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices, openEngine } from '../support/devices.js'
import { bits, layouts } from '../support/fixtures.js'
import { directional } from '../support/gradients.js'
import { stirredTransformer, tinyPipeline } from '../support/models.js'

describe.each(onDevices(layouts))('layout %s on %s', async (layout, device) => {
  const config = { attention_layout: layout, depth: 1, hidden_size: 16, num_heads: 2, in_channels: 4, caption_channels: 8, model_max_length: 8, mlp_ratio: 2, pred_sigma: false, input_sq_size: 64, chunk_frames: 4, context_frames: 3, latent_fps: 5, max_latent_frames: 40, fusion: true }
  const chunks = [{ first: 0, start: 0, end: 4 }, { first: 1, start: 4, end: 8 }, { first: 5, start: 8, end: 12 }]
  const engine = openEngine(device)
  const model = await stirredTransformer(engine, config, 3n)
  const random = new PhiloxRandom(6, 1)
  const draw = (...shape: number[]) => engine.upload(random.normals(shape.reduce((a, b) => a * b, 1)), shape)
  const video = (frameMask?: number[]): BackwardRequest => ({ latents: draw(4, 12, 4, 4), target: draw(4, 12, 4, 4), text: draw(3, 8), timestep: 400, fps: 16, height: 32, width: 32, chunks, fuse: false, frameMask, contextLossWeight: 1, lossScale: 1 })
  // Two that are evaluated together, one with conditioning frames inside an overlap, and one whose middle chunk is clean: it has no overlap that is blended.
  const clean = Array.from({ length: 12 }, (_, frame) => (frame >= 4 && frame < 8 ? 0 : 1))
  const videos = [video(), video(), video(Array.from({ length: 12 }, (_, frame) => (frame === 2 ? 0 : 1))), video(clean)]

  test('gradients are the differences of the loss', async () => {
    const trainer = engine.createTrainer([model], [['fusion.offsets']])
    const loss = async (): Promise<number> => Array.from((await trainer.backward(videos, { gradientCheckpointing: false }).read()).data).reduce((a, b) => a + b, 0)
    const { predicted, found } = await directional(engine, trainer, (name) => model.weight(name), loss)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(2e-3 * predicted)
    trainer.dispose()
  })

  test('the loss is that of the chunks and of the blended overlaps', async () => {
    const lossOf = async (names: string[], request: BackwardRequest): Promise<number> => {
      const trainer = engine.createTrainer([model], [names])
      const [loss = NaN] = (await trainer.backward([request], { gradientCheckpointing: false }).read()).data
      trainer.dispose()
      return Number(loss)
    }
    const [first, , masked, apart] = videos as [BackwardRequest, BackwardRequest, BackwardRequest, BackwardRequest]
    for (const [request, live] of [[first, 48], [masked, 44]] as const) {
      const { output } = model.trace({ ...request, fuse: true, fusionWeights: 'learned' })
      const [eps, target] = [(await output.read()).data as Float32Array, (await request.target.read()).data as Float32Array]
      let wanted = 0
      for (let c = 0; c < 4; c++) for (const frame of [1, 2, 3, 5, 6, 7]) for (let i = 0; i < 16; i++) if (request.frameMask?.[frame] !== 0) wanted += (eps[(c * 12 + frame) * 16 + i]! - target[(c * 12 + frame) * 16 + i]!) ** 2
      wanted /= 16 * live
      expect(wanted).toBeGreaterThan(0.01)
      const added = (await lossOf(['fusion.offsets'], request)) - (await lossOf(['final_layer.linear.bias'], request))
      expect(Math.abs(added - wanted)).toBeLessThanOrEqual(1e-5 * wanted)
    }
    expect(await lossOf(['fusion.offsets'], apart)).toBe(await lossOf(['final_layer.linear.bias'], apart))
  })

  test('every other gradient is what it is without them', async () => {
    const names = model.weights().map(({ name }) => name).filter((name) => name !== 'rope.freqs' && name !== 'fusion.offsets' && name !== 'y_embedder.y_embedding')
    const gradients = async (trained: string[]): Promise<Buffer[]> => {
      const trainer = engine.createTrainer([model], [trained])
      await trainer.backward(videos, { gradientCheckpointing: true }).ready()
      const all = await Promise.all(names.map(async (name) => bits((await trainer.gradient(name).read()) as { data: Float32Array; shape: number[] })))
      trainer.dispose()
      return all
    }
    expect(await gradients([...names, 'fusion.offsets'])).toEqual(await gradients(names))
  })
})

test("trainable 'fusion' lowers the error of blended overlaps, and changes nothing else", async () => {
  await using pipeline = await tinyPipeline({ addParts: ['fusion'] })
  const { transformer } = pipeline
  const others = transformer.weights().map(({ name }) => name).filter((name) => name !== 'fusion.offsets')
  const before = await Promise.all(others.map(async (name) => bits(await transformer.readWeight(name))))
  const trainer = new Trainer(pipeline, { trainable: 'fusion', lengths: [20], learningRate: 0.02, textDropout: 0, seed: 2, maxGradNorm: 0 })
  expect(trainer.trainableNames).toEqual(['fusion.offsets'])
  const examples = [0, 1, 2].map((index): TrainingExample => ({ prompt: 'a red circle moves', latents: { data: new PhiloxRandom(21, 0x10000, index).normals(4 * 20 * 16), shape: [4, 20, 4, 4] } }))
  const first = await trainer.heldOutLoss(examples)
  for (let step = 0; step < 12; step++) await trainer.step(examples)
  expect(await trainer.heldOutLoss(examples)).toBeLessThan(first)
  expect((await transformer.readWeight('fusion.offsets')).data.some((value) => Math.abs(value) > 0.01)).toBe(true)
  expect(await Promise.all(others.map(async (name) => bits(await transformer.readWeight(name))))).toEqual(before)
  trainer.dispose()
})
