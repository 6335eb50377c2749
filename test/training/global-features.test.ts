// What the global tokens are to tell of a whole video: the term of the loss against float64, its gradients, and a Trainer that is given it.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import type { TrainerOptions, TrainingExample } from '../../lib/index.js'
import type { BackwardRequest } from '../../lib/native/binding.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices, openEngine } from '../support/devices.js'
import { bits, layouts } from '../support/fixtures.js'
import { directional } from '../support/gradients.js'
import { stirredTransformer, tinyPipeline } from '../support/models.js'

const K = 5, G = 4, d = 16
const head = ['vin.global_features.weight', 'vin.global_features.bias']

describe.each(onDevices(layouts))('layout %s on %s', async (layout, device) => {
  const config = { attention_layout: layout, depth: 1, hidden_size: 16, num_heads: 2, in_channels: 4, caption_channels: 8, model_max_length: 8, mlp_ratio: 2, pred_sigma: false, input_sq_size: 64, chunk_frames: 4, context_frames: 2, latent_fps: 5, max_latent_frames: 40, vin: { num_global_tokens: G, dim: d, num_heads: 2, num_blocks: 1, keyframe_interval: 0.4, global_features: K } }
  const engine = openEngine(device)
  const model = await stirredTransformer(engine, config, 3n)
  const random = new PhiloxRandom(6, 1)
  const draw = (...shape: number[]) => engine.upload(random.normals(shape.reduce((a, b) => a * b, 1)), shape)
  engine.op('copy', { y: model.weight('vin.global_features.bias'), x: draw(K) })
  const chunks = [{ first: 0, start: 0, end: 4 }, { first: 2, start: 4, end: 8 }]
  const video = (extra: Partial<BackwardRequest>): BackwardRequest => ({ latents: draw(4, 8, 4, 4), target: draw(4, 8, 4, 4), text: draw(3, 8), timestep: 400, fps: 16, height: 32, width: 32, chunks, keyframes: [0, 2, 4, 6], fuse: false, contextLossWeight: 1, lossScale: 1, ...extra })
  const plain = video({})
  // Two that are evaluated together with one that tells nothing, and one with a mask.
  const told = [video({ globalFeatures: draw(K), globalFeatureWeight: 2 }), plain, video({ globalFeatures: draw(K), globalFeatureWeight: 0.5 }), video({ globalFeatures: draw(K), globalFeatureWeight: 1, frameMask: [0, 1, 1, 1, 1, 1, 1, 1] })]
  const losses = async (requests: BackwardRequest[], names: string[] = ['vin.out_proj.weight']): Promise<number[]> => {
    const trainer = engine.createTrainer([model], [names])
    const values = Array.from((await trainer.backward(requests, { gradientCheckpointing: false }).read()).data, Number)
    trainer.dispose()
    return values
  }

  test('the term is weight / K · Σ (f̂ − f)² of the normalised tokens', async () => {
    const [weight, bias] = await Promise.all(head.map(async (name) => (await model.weight(name).read()).data as Float32Array)) as [Float32Array, Float32Array]
    const alone = await losses(told.map(({ globalFeatures, globalFeatureWeight, ...rest }) => rest))
    for (const [i, value] of (await losses(told)).entries()) {
      const { globalFeatures, globalFeatureWeight = 0, target, contextLossWeight, lossScale, ...request } = told[i]!
      if (globalFeatures === undefined) {
        expect(value).toBe(alone[i])
        continue
      }
      const tokens = (await model.trace(request).global_tokens!.read()).data as Float32Array
      const wanted = (await globalFeatures.read()).data as Float32Array
      const normalised = Array.from({ length: G }, (_, g) => {
        const row = Array.from(tokens.subarray(g * d, g * d + d))
        const mean = row.reduce((a, b) => a + b, 0) / d, variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / d
        return row.map((x) => (x - mean) / Math.sqrt(variance + 1e-6))
      }).flat()
      let term = 0
      for (let k = 0; k < K; k++) term += (normalised.reduce((sum, x, at) => sum + x * weight[k * G * d + at]!, bias[k]!) - wanted[k]!) ** 2
      term *= globalFeatureWeight / K
      expect(term).toBeGreaterThan(0.01)
      expect(Math.abs(value - alone[i]! - term)).toBeLessThanOrEqual(2e-5 * Math.max(1, value))
    }
  })

  test('its gradients are the differences of the loss, of the head and of what makes the tokens', async () => {
    const names = [...head, 'vin.global_tokens', 'vin.encoder.kv_linear.weight', 'vin.blocks.0.mlp.fc2.weight']
    const trainer = engine.createTrainer([model], [names])
    const loss = async (): Promise<number> => Array.from((await trainer.backward(told, { gradientCheckpointing: false }).read()).data).reduce((a, b) => a + b, 0)
    const { predicted, found } = await directional(engine, trainer, (name) => model.weight(name), loss)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(5e-3 * predicted)
    trainer.dispose()
  })

  test('checkpoints change no bit, and the head of a video that tells nothing has no gradient', async () => {
    const names = [...head, 'vin.global_tokens']
    const gradients = async (requests: BackwardRequest[], gradientCheckpointing: boolean): Promise<Buffer[]> => {
      const trainer = engine.createTrainer([model], [names])
      await trainer.backward(requests, { gradientCheckpointing }).ready()
      const all = await Promise.all(names.map(async (name) => bits((await trainer.gradient(name).read()) as { data: Float32Array; shape: number[] })))
      trainer.dispose()
      return all
    }
    expect(await gradients(told, true)).toEqual(await gradients(told, false))
    for (const gradient of (await gradients([plain], false)).slice(0, 2)) expect(gradient.every((byte) => byte === 0)).toBe(true)
  })
})

describe('a trainer', () => {
  // What is told follows from the video: the mean of its first channel, as a sign.
  const example = (index: number): TrainingExample => {
    const data = new PhiloxRandom(21, 0x10000, index).normals(4 * 20 * 16)
    for (let i = 0; i < 320; i++) data[i]! += index % 2 === 0 ? 2 : -2
    return { prompt: 'a red circle moves', latents: { data, shape: [4, 20, 4, 4] }, globalFeatures: [index % 2, 1 - (index % 2)] }
  }
  const options: TrainerOptions = { trainable: 'vin', lengths: [20], learningRate: 3e-3, textDropout: 0, timestepSampling: { mean: -1, std: 0.1 }, globalFeatureWeight: 3, seed: 2 }

  test('teaches the tokens what it is told, and a checkpoint goes on with the same bits', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vin-features-'))
    await using pipeline = await tinyPipeline({ globalFeatures: 2 })
    const trainer = new Trainer(pipeline, options)
    expect(trainer.trainableNames).toEqual(expect.arrayContaining(head))
    const taken: number[] = []
    for (let step = 0; step < 40; step++) taken.push((await trainer.step([example(step), example(step + 1)])).loss)
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
    // Of 3 · ½ for a guess and 3 · ¼ for knowing nothing but the shares, little is left.
    expect(mean(taken.slice(-5))).toBeLessThan(mean(taken.slice(0, 5)) - 0.5)
    await trainer.save(folder)
    const next = async (own: Trainer): Promise<number[]> => [(await own.step([example(97), example(98)])).loss, (await own.step([example(99), example(93)])).loss]
    const wanted = await next(trainer)
    const resumed = await Trainer.resume(folder, {}, { device: 'cpu' })
    expect(resumed.options.globalFeatureWeight).toBe(3)
    expect(await next(resumed)).toEqual(wanted)
    for (const each of [trainer, resumed]) each.dispose()
    await resumed.pipeline.dispose()
    await using opened = await VideoPipeline.fromPretrained(folder, { device: 'cpu', globalFeatures: 2 })
    expect(opened.transformer.config.vin?.global_features).toBe(2)
    await expect(VideoPipeline.fromPretrained(folder, { device: 'cpu', globalFeatures: 3 })).rejects.toThrow(/^Expected 2 for globalFeatures, which the model's head has, but received 3/)
    await rm(folder, { recursive: true })
  })

  test('a head that nobody trains changes no loss and no video', async () => {
    const made = async (globalFeatures?: number) => {
      await using pipeline = await tinyPipeline(globalFeatures === undefined ? {} : { globalFeatures })
      const trainer = new Trainer(pipeline, { lengths: [20], learningRate: 1e-3, seed: 2 })
      const losses = [(await trainer.step([example(0), example(1)])).loss, (await trainer.step([example(2), example(3)])).loss]
      trainer.dispose()
      const { latents } = await pipeline.generate({ prompt: 'a red circle', numFrames: 16, seed: 1, outputType: 'latents' })
      return [losses, bits(latents)]
    }
    expect(await made(4)).toEqual(await made())
  })

  test('wrong numbers, and a checkpoint without a head, are one sentence', async () => {
    await using pipeline = await tinyPipeline({ globalFeatures: 2 })
    const trainer = new Trainer(pipeline, options)
    await expect(trainer.step([{ ...example(0), globalFeatures: [1] }])).rejects.toThrow(/^Expected 2 numbers for globalFeatures of an example, as the model's head has, but received 1/)
    await expect(trainer.step([{ ...example(0), globalFeatures: [1, NaN] }])).rejects.toThrow(/^Expected finite numbers for globalFeatures/)
    trainer.dispose()
    await using without = await tinyPipeline()
    expect(() => new Trainer(without, { globalFeatureWeight: 1 })).toThrow(expect.objectContaining({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringMatching(/^Expected the weights vin\.global_features\.\* for globalFeatureWeight but .*globalFeatures: K/) as string }))
    await expect(tinyPipeline({ globalFeatures: 0 })).rejects.toThrow(/for globalFeatures/)
  })
})
