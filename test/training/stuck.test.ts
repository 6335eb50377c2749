// Callbacks and data sets that never answer: the signal ends fit() all the same.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { Trainer, VAETrainer } from '../../lib/index.js'
import type { Dataset, FitOptions, TensorData, TrainingExample, VideoPipeline } from '../../lib/index.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let folder: string
const open: { dispose(): unknown }[] = []
beforeAll(async () => {
  pipeline = await tinyPipeline()
  folder = await mkdtemp(join(tmpdir(), 'vin-stuck-'))
})
afterEach(async () => {
  for (const trainer of open.splice(0)) await trainer.dispose()
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true })
})

const normals = (stream: number): TensorData => ({ data: new PhiloxRandom(8, 0x10000, stream).normals(4 * 5 * 16), shape: [4, 5, 4, 4] })
const examples = async function* (): AsyncGenerator<TrainingExample> {
  for (let i = 0; ; i++) yield { prompt: 'a red circle', latents: normals(i % 4) as NonNullable<TrainingExample['latents']> }
}

const cases: [string, (never: () => Promise<never>) => [Dataset, Partial<FitOptions>]][] = [
  ['the data set', (never) => [{ [Symbol.asyncIterator]: () => ({ next: never, return: () => new Promise(() => {}) }) }, {}]],
  ['onStep', (never) => [examples(), { onStep: never }]],
  ['onGradients', (never) => [examples(), { onGradients: never }]],
  ['onEvaluate', (never) => [examples(), { onEvaluate: never, evalEvery: 1 }]],
  ['onCheckpoint', (never) => [examples(), { onCheckpoint: never, checkpoint: join(folder, 'run'), checkpointEvery: 1 }]]
]

test.each(cases)('%s', async (_name, make) => {
  const controller = new AbortController()
  const never = (): Promise<never> => {
    queueMicrotask(() => controller.abort('enough'))
    return new Promise(() => {})
  }
  const [dataset, options] = make(never)
  const trainer = new Trainer(pipeline, { lengths: [5], textDropout: 0 })
  open.push(trainer)
  await expect(trainer.fit(dataset, { steps: 3, ...options, signal: controller.signal })).rejects.toBe('enough')
})

test('onCheckpoint of the checkpoint that an abort leaves: it is waited for, but not for ever', async () => {
  const controller = new AbortController()
  const run = (onCheckpoint: () => Promise<void>): Promise<void> => {
    const trainer = new Trainer(pipeline, { lengths: [5], textDropout: 0 })
    open.push(trainer)
    return trainer.fit(examples(), { steps: 3, checkpoint: join(folder, 'left'), onStep: () => controller.abort('enough'), onCheckpoint, signal: controller.signal })
  }
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    let settled = false
    const called = new Promise<void>((resolve) => {
      void run(() => (resolve(), new Promise(() => {}))).catch((reason: unknown) => (settled = reason === 'enough'))
    })
    await called
    await vi.advanceTimersByTimeAsync(4900)
    expect(settled).toBe(false)
    await vi.advanceTimersByTimeAsync(200)
    await vi.waitFor(() => expect(settled).toBe(true))
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})

test('the data set of a VAE', async () => {
  const controller = new AbortController()
  const next = (): Promise<never> => (queueMicrotask(() => controller.abort('enough')), new Promise(() => {}))
  const trainer = new VAETrainer(pipeline.vae, { stage: 'spatial' })
  open.push(trainer)
  await expect(trainer.fit({ [Symbol.asyncIterator]: () => ({ next }) }, { steps: 1, signal: controller.signal })).rejects.toBe('enough')
})

test('examples of a data set that fills one array again and again are those that it showed', async () => {
  const losses = async (fresh: boolean): Promise<number[]> => {
    const dataset = async function* (): AsyncGenerator<TrainingExample> {
      const shared = normals(0)
      for (let i = 0; i < 4; i++) {
        const latents = fresh ? normals(i) : shared
        latents.data.set(normals(i).data)
        yield { prompt: 'a red circle', latents: latents as NonNullable<TrainingExample['latents']> }
      }
    }
    const own = await tinyPipeline()
    const trainer = new Trainer(own, { lengths: [5], textDropout: 0, batchSize: 4, seed: 3 })
    open.push(trainer, own)
    const seen: number[] = []
    await trainer.fit(dataset(), { steps: 1, onStep: ({ loss }) => void seen.push(loss) })
    return seen
  }
  expect(await losses(false)).toEqual(await losses(true))
})

test('lossAndGradients takes its inputs at the call', async () => {
  const trainer = new Trainer(pipeline, { lengths: [5], textDropout: 0 })
  open.push(trainer)
  const inputs = (): { latents: TensorData; noise: TensorData; promptEmbeds: TensorData } => ({ latents: normals(1), noise: normals(2), promptEmbeds: { data: new PhiloxRandom(8, 0x10000, 3).normals(64), shape: [2, 32] } })
  const wanted = await trainer.lossAndGradients({ ...inputs(), timestep: 500 })
  const given = inputs()
  const changed = trainer.lossAndGradients({ ...given, timestep: 500 })
  for (const { data } of Object.values(given)) data.fill(0)
  const { loss, gradients } = await changed
  expect(loss).toBe(wanted.loss)
  for (const [name, gradient] of gradients) expect(bits(gradient), name).toEqual(bits(wanted.gradients.get(name)!))
})
