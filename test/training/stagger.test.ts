// Training with chunks at noise levels of their own.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Trainer } from '../../lib/index.js'
import type { TrainerOptions, TrainingExample, VideoPipeline } from '../../lib/index.js'
import type { BackwardRequest } from '../../lib/native/binding.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices, openEngine } from '../support/devices.js'
import { layouts } from '../support/fixtures.js'
import { directional } from '../support/gradients.js'
import { stirredTransformer, tinyPipeline } from '../support/models.js'

describe.each(onDevices(layouts))('gradients of layout %s on %s', async (layout, device) => {
  const config = { attention_layout: layout, depth: 1, hidden_size: 16, num_heads: 2, in_channels: 4, caption_channels: 8, model_max_length: 8, mlp_ratio: 2, pred_sigma: false, input_sq_size: 64, chunk_frames: 3, context_frames: 0, latent_fps: 5, max_latent_frames: 40, vin: { num_global_tokens: 4, dim: 16, num_heads: 2, num_blocks: 1, keyframe_interval: 0.4 } }
  const engine = openEngine(device)
  const model = await stirredTransformer(engine, config, 3n)
  const random = new PhiloxRandom(6, 1)
  const draw = (...shape: number[]) => engine.upload(random.normals(shape.reduce((a, b) => a * b, 1)), shape)
  // Context's keys have no gradient, which differences of the loss do not see: isolated chunks.
  const chunks = [0, 3, 6].map((start) => ({ first: start, start, end: start + 3 }))
  const times = (...own: number[]): number[] => own.flatMap((time) => [time, time, time])
  const video = (extra: Partial<BackwardRequest>): BackwardRequest => ({ latents: draw(4, 9, 4, 4), target: draw(4, 9, 4, 4), text: draw(3, 8), timestep: 900, fps: 16, height: 32, width: 32, chunks, keyframes: [0, 2, 4, 6, 8], fuse: false, contextLossWeight: 1, lossScale: 1, ...extra })
  // Evaluated together: with three times, two, and one; and one with a mask.
  const videos = [video({ frameTimesteps: times(100, 900, 400) }), video({ frameTimesteps: times(900, 900, 30) }), video({}), video({ frameTimesteps: times(5, 600, 900), frameMask: [0, 1, 1, 1, 1, 1, 1, 1, 0] })]
  const names = model.weights().map(({ name }) => name).filter((name) => name !== 'rope.freqs' && name !== 'y_embedder.y_embedding')

  test('are the differences of the loss', async () => {
    const trainer = engine.createTrainer([model], [names])
    const loss = async (): Promise<number> => Array.from((await trainer.backward(videos, { gradientCheckpointing: false }).read()).data).reduce((a, b) => a + b, 0)
    const { predicted, found } = await directional(engine, trainer, (name) => model.weight(name), loss)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(5e-3 * predicted)
    trainer.dispose()
  })

  test('the loss of each video is that of its evaluation', async () => {
    const trainer = engine.createTrainer([model], [names])
    const losses = Array.from((await trainer.backward(videos, { gradientCheckpointing: true }).read()).data)
    trainer.dispose()
    for (const [v, { target, contextLossWeight, lossScale, ...request }] of videos.entries()) {
      const [eps, wanted] = [(await model.denoise(request).read()).data as Float32Array, (await target.read()).data as Float32Array]
      const live = Array.from({ length: 9 }, (_, frame) => request.frameMask?.[frame] ?? 1)
      let sum = 0
      for (let c = 0; c < 4; c++) for (let f = 0; f < 9; f++) for (let i = 0; i < 16; i++) if (live[f] === 1) sum += (eps[(c * 9 + f) * 16 + i]! - wanted[(c * 9 + f) * 16 + i]!) ** 2
      const mean = sum / (64 * live.filter((value) => value === 1).length)
      expect(Math.abs(Number(losses[v]) - mean)).toBeLessThanOrEqual(1e-5 * mean)
    }
  })
})

describe('a trainer', () => {
  let pipeline: VideoPipeline
  beforeAll(async () => {
    pipeline = await tinyPipeline()
  })
  afterAll(() => pipeline.dispose())
  const example: TrainingExample = { prompt: 'a red circle moves', latents: { data: new PhiloxRandom(21, 0x10000).normals(4 * 30 * 16), shape: [4, 30, 4, 4] } }

  /** What a step's videos are evaluated on. */
  async function requests(options: TrainerOptions, videos = 1): Promise<{ latents: Float32Array; request: BackwardRequest }[]> {
    const engine = pipeline.engine.native
    const { createTrainer } = engine
    const seen: Promise<{ latents: Float32Array; request: BackwardRequest }>[] = []
    const watching = (...given: Parameters<typeof createTrainer>): ReturnType<typeof createTrainer> => {
      const native = createTrainer.apply(engine, given)
      const { backward } = native
      Object.defineProperty(native, 'backward', {
        value: (batch: BackwardRequest[], how: Parameters<typeof backward>[1]) => {
          for (const request of batch) seen.push(request.latents.read().then(({ data }) => ({ latents: data as Float32Array, request })))
          return backward.call(native, batch, how)
        }
      })
      return native
    }
    Object.defineProperty(engine, 'createTrainer', { value: watching, configurable: true })
    const trainer = new Trainer(pipeline, { lengths: [30], learningRate: 0, textDropout: 0, seed: 2, ...options })
    try {
      await trainer.step(Array<TrainingExample>(videos).fill(example))
      return await Promise.all(seen)
    } finally {
      trainer.dispose()
      Reflect.deleteProperty(engine, 'createTrainer')
    }
  }

  test('each chunk is noised at its own time, global tokens are told the noisiest, conditioning frames are clean', async () => {
    for (const maskRatios of [{}, { quarterHead: 1 }]) {
      const [{ latents, request }] = (await requests({ staggerRatio: 1, maskRatios })) as [{ latents: Float32Array; request: BackwardRequest }]
      const times = request.frameTimesteps!
      expect(times).toHaveLength(30)
      const own = [0, 10, 20].map((frame) => times[frame]!)
      expect(new Set(own).size).toBe(3)
      for (let frame = 0; frame < 30; frame++) expect(times[frame]).toBe(own[Math.floor(frame / 10)])
      const mask = request.frameMask ?? Array<number>(30).fill(1)
      expect(request.timestep).toBe(Math.max(...times.filter((_, frame) => mask[frame] === 1)))
      // Flow match: x_t = (1 − σ) x_0 + σ ε, with the ε of the run without.
      const [plain] = (await requests({ maskRatios })) as [{ latents: Float32Array; request: BackwardRequest }]
      expect(plain.request.frameTimesteps).toBeUndefined()
      const [x0, sigma] = [(example.latents as { data: Float32Array }).data, plain.request.timestep / 1000]
      for (let c = 0; c < 4; c++) {
        for (let frame = 0; frame < 30; frame++) {
          for (let i = 0; i < 16; i++) {
            const at = (c * 30 + frame) * 16 + i
            if (mask[frame] === 0) {
              expect(latents[at]).toBe(x0[at])
              continue
            }
            const epsilon = (plain.latents[at]! - (1 - sigma) * x0[at]!) / sigma
            const level = times[frame]! / 1000
            expect(Math.abs(latents[at]! - ((1 - level) * x0[at]! + level * epsilon))).toBeLessThan(1e-5 / sigma)
          }
        }
      }
    }
  })

  test('its share of the videos, drawn by the seed', async () => {
    const staggered = (await requests({ staggerRatio: 0.5 }, 8)).map(({ request }) => request.frameTimesteps !== undefined)
    expect(new Set(staggered).size).toBe(2)
    expect((await requests({ staggerRatio: 0.5 }, 8)).map(({ request }) => request.frameTimesteps !== undefined)).toEqual(staggered)
  })

  test('logit-normal levels lie in different strata, and ε models get integers', async () => {
    const [{ request }] = (await requests({ staggerRatio: 1, timestepSampling: { mean: 0, std: 1 } })) as [{ latents: Float32Array; request: BackwardRequest }]
    const strata = [0, 10, 20].map((frame) => request.frameTimesteps![frame]! / 1000).sort((a, b) => a - b)
    // Thirds of the logistic normal: Φ⁻¹(1/3) = −0.4307.
    expect(strata[0]).toBeLessThan(0.394)
    expect(strata[1]).toBeGreaterThan(0.394)
    expect(strata[1]).toBeLessThan(0.606)
    expect(strata[2]).toBeGreaterThan(0.606)
    const [discrete] = (await requests({ staggerRatio: 1, scheduler: 'DDIMScheduler' })) as [{ latents: Float32Array; request: BackwardRequest }]
    expect(discrete.request.frameTimesteps!.every(Number.isInteger)).toBe(true)
  })

  test('what cannot go together is refused', async () => {
    await using own = await tinyPipeline({ addParts: ['cam', 'apm'] })
    expect(() => new Trainer(own, { trainable: 'cam', lengths: [20], staggerRatio: 0.5 })).toThrow(/Expected no staggerRatio to train cam/)
    expect(() => new Trainer(pipeline, { staggerRatio: 2 })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', message: 'Expected a number from 0 to 1 for staggerRatio but received 2' }))
  })
})
