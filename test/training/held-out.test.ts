import { afterAll, beforeAll, expect, test } from 'vitest'
import { Trainer } from '../../lib/index.js'
import type { TrainerOptions, TrainingExample, VideoPipeline } from '../../lib/index.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { latentNoise } from '../../lib/training/random.js'
import { tinyPipeline } from '../support/models.js'

const options: TrainerOptions = { lengths: [5], learningRate: 3e-3, textDropout: 0.5, globalTokenDropout: 0.5, maskRatios: { chunks: 0.5 }, seed: 6 }
const example = (index: number, frames = 5): TrainingExample => ({
  prompt: ['a red circle', 'a blue square moves'][index % 2]!,
  latents: { data: new PhiloxRandom(8, 0x10000, index).normals(4 * frames * 16), shape: [4, frames, 4, 4] }
})
const heldOut = [example(100), example(101, 7)]
const dataset = {
  async *[Symbol.asyncIterator]() {
    for (let index = 0; index < 4; index++) yield example(index)
  }
}

let pipeline: VideoPipeline
beforeAll(async () => void (pipeline = await tinyPipeline()))
afterAll(() => pipeline.dispose())

test('the held-out loss is the mean over videos and two noise levels, without dropouts and masks', async () => {
  const trainer = new Trainer(pipeline, options)
  const losses: number[] = []
  for (const [index, { prompt, latents }] of heldOut.entries()) {
    // The longer one is cut to the length that fits: 5 of 7 frames.
    const { data, shape } = latents!
    const cut = Float32Array.from({ length: 320 }, (_, i) => data[Math.floor(i / 80) * shape[1] * 16 + (i % 80)]!)
    const ids = pipeline.tokenizer.encode(prompt, { maxLength: 12 })
    const { embeds } = await pipeline.textEncoder.encode(ids)
    for (const [k, level] of [0.25, 0.75].entries()) {
      const noise = { data: latentNoise(new PhiloxRandom(6, 0x10007, 2 * index + k), [4, 5, 4, 4]), shape: [4, 5, 4, 4] }
      const timestep = 1000 * trainer.scheduler.trainingNoiseLevel(level, { height: 32, width: 32, latentFrames: 5 })
      losses.push((await trainer.lossAndGradients({ latents: { data: cut, shape: [4, 5, 4, 4] }, noise, timestep, promptEmbeds: embeds })).loss)
    }
  }
  const wanted = losses.reduce((sum, loss) => sum + loss, 0) / 4
  // The text encoder runs inside the trainer here, outside it there: fp32 rounding.
  expect(Math.abs((await trainer.heldOutLoss(heldOut)) - wanted)).toBeLessThan(1e-5 * wanted)
  expect(await trainer.heldOutLoss(heldOut)).toBe(await trainer.heldOutLoss(heldOut))
  await expect(trainer.heldOutLoss([])).rejects.toThrow(/at least one example/)
  await expect(trainer.heldOutLoss([example(0, 3)])).rejects.toThrow(/at least 5 latent frames/)
  trainer.dispose()
})

test('measuring changes nothing: losses of training keep their bits, and the held-out loss falls with it', async () => {
  const run = async (measured: boolean) => {
    const own = await tinyPipeline()
    const trainer = new Trainer(own, options)
    const [losses, apart]: [number[], number[]] = [[], []]
    await trainer.fit(dataset, {
      steps: 12,
      onStep: async ({ loss }) => {
        losses.push(loss)
        if (measured) apart.push(await trainer.heldOutLoss(heldOut))
      }
    })
    trainer.dispose()
    await own.dispose()
    return { losses, apart }
  }
  const [plain, measured] = [await run(false), await run(true)]
  expect(measured.losses).toEqual(plain.losses)
  expect(measured.apart.at(-1)!).toBeLessThan(measured.apart[0]!)
})
