// What a checkpoint keeps of options is what the caller said. Defaults are worked out when training goes on, under what has changed.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Trainer, VAE, VAETrainer, VideoPipeline, VinError } from '../../lib/index.js'
import type { TrainerOptions, TrainingExample } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { tinyPipeline, tinyVAE } from '../support/models.js'

let folder: string
const open: { dispose(): void | Promise<void> }[] = []
const keep = <T extends { dispose(): void | Promise<void> }>(value: T): T => {
  open.push(value)
  return value
}
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'resume-options-'))))
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.dispose()
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const failure = (work: Promise<unknown>): Promise<VinError | undefined> => work.then(() => undefined, (error: unknown) => error as VinError)
const example: TrainingExample = { prompt: 'a red circle', latents: { data: new PhiloxRandom(8, 0x10000, 0).normals(4 * 5 * 16), shape: [4, 5, 4, 4] } }

async function checkpoint(name: string, options: TrainerOptions): Promise<string> {
  const trainer = keep(new Trainer(keep(await tinyPipeline()), { lengths: [5], textDropout: 0, ...options }))
  await trainer.step([example])
  await trainer.save(join(folder, name))
  return join(folder, name)
}

async function resume(path: string, changes: TrainerOptions = {}): Promise<Trainer> {
  const trainer = await Trainer.resume(path, changes, { device: 'cpu' })
  keep(trainer.pipeline)
  return keep(trainer)
}

/** How far each weight has moved on average, by name. */
async function moved(trainer: Trainer, step: () => Promise<unknown>): Promise<Map<string, number>> {
  const weights = async () => {
    const path = join(folder, 'moved')
    await trainer.save(path)
    return loadBinding().readSafetensors(join(path, 'training', 'state.safetensors')).tensors
  }
  const before = await weights()
  await step()
  const after = await weights()
  const names = Object.keys(before).filter((name) => name.startsWith('weights/'))
  return new Map(
    names.map((name) => {
      const [from, to] = [before[name]!.data as Float32Array, after[name]!.data as Float32Array]
      return [name.slice('weights/'.length), to.reduce((sum, value, i) => sum + Math.abs(value - from[i]!), 0) / from.length]
    })
  )
}

test('a learning rate that changes on resume changes for every weight', async () => {
  const path = await checkpoint('rate', { learningRate: 1e-4 })
  const [slow, fast] = [await resume(path), await resume(path, { learningRate: 1e-2 })]
  const [little, much] = [await moved(slow, () => slow.step([example])), await moved(fast, () => fast.step([example]))]
  const names = [...little].filter(([, distance]) => distance > 0).map(([name]) => name)
  expect(names.some((name) => name.startsWith('vin.'))).toBe(true)
  expect(names.some((name) => name.startsWith('blocks.'))).toBe(true)
  expect(names.some((name) => name.startsWith('text_encoder.'))).toBe(true)
  // AdamW's step is the rate times what moments say, which are the same; a step of 1e-4 at weights near 1 is rounded to 2⁻²⁴.
  for (const name of names) expect(much.get(name)! / little.get(name)!, name).toBeCloseTo(100, -1)
})

test('what was said stays, what was not said is a default, and undefined takes back', async () => {
  const said = { learningRate: 2e-3, backboneLearningRate: 1e-3, batchSize: 3, seed: 12n, trainable: /^(vin|blocks)\./, totalSteps: 100, decayFrom: 0.5 }
  const path = await checkpoint('said', said)
  const { options } = JSON.parse(await readFile(join(path, 'training', 'state.json'), 'utf8')) as { options: Record<string, unknown> }
  expect(Object.keys(options).sort()).toEqual(['backboneLearningRate', 'batchSize', 'decayFrom', 'learningRate', 'lengths', 'seed', 'textDropout', 'totalSteps', 'trainable'])
  expect((await resume(path)).options).toMatchObject({ ...said, emaDecay: { max: 0.9999, ramp: true } })
  expect((await resume(path, { learningRate: 5e-3 })).options).toMatchObject({ learningRate: 5e-3, backboneLearningRate: 1e-3 })
  expect((await resume(path, { backboneLearningRate: undefined, learningRate: 5e-3 })).options).toMatchObject({ learningRate: 5e-3, backboneLearningRate: 5e-3 })
  // One size of batches takes the other's place.
  expect((await resume(path, { latentFramesPerStep: 20 })).options).toMatchObject({ latentFramesPerStep: 20, batchSize: 1 })
  expect((await resume(path, { totalSteps: undefined, decayFrom: undefined })).options).toMatchObject({ totalSteps: undefined, decayFrom: 0 })
})

test('an option that is said as it would be anyway is none', async () => {
  const path = await checkpoint('anyway', { lengths: [5, 10], textDropout: 0.1 })
  const plain = await resume(path)
  const defaults = Object.entries(plain.options).filter(([, value]) => value !== undefined)
  expect(defaults.map(([name]) => name)).toEqual(expect.arrayContaining(['staggerRatio', 'globalTokenMemory', 'decayFrom', 'maskRatios', 'emaDecay', 'trainable', 'seed', 'batchSize', 'backboneLearningRate']))
  for (const [name, value] of defaults) expect((await resume(path, { [name]: value as never })).options, name).toEqual(plain.options)
  const all = Object.fromEntries(defaults) as TrainerOptions
  expect((await resume(path, all)).options).toEqual(plain.options)
  // And the other way round.
  const said = await checkpoint('said-anyway', { ...all, scheduler: 'FlowMatchEulerDiscreteScheduler', dtype: 'auto' })
  expect((await resume(said)).trainableNames).toEqual(plain.trainableNames)
  expect((await resume(said, { trainable: '*' })).options).toMatchObject({ lengths: [5, 10], trainable: '*' })
})

test('a polynomial that was fitted to a checkpoint does not make it another model', async () => {
  const path = await checkpoint('fitted', {})
  const file = join(path, 'transformer', 'config.json')
  await writeFile(file, JSON.stringify({ ...(JSON.parse(await readFile(file, 'utf8')) as object), step_cache_polynomial: [0, 0, 0, 2, 0] }))
  await rm(join(path, 'transformer', 'SHA256SUMS'), { force: true })
  const trainer = await resume(path)
  expect([trainer.globalStep, trainer.pipeline.transformer.config.step_cache_polynomial]).toEqual([1, [0, 0, 0, 2, 0]])
})

test('other weights to train are ERR_VIN_RESUME_MISMATCH in one sentence', async () => {
  const path = await checkpoint('weights', { trainable: 'vin' })
  const error = await failure(resume(path, { trainable: 'all' }))
  expect(error).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'trainable', expected: "'vin'", found: "'all'" } })
  expect(error!.message).toMatch(/^Expected trainable 'vin', with which the checkpoint .* was trained, but received 'all', which trains other weights; leave it out, or [^.\n]*$/)
  // Another way to say the same weights is none.
  expect((await resume(path, { trainable: /^vin\./ })).trainableNames).toEqual((await resume(path)).trainableNames)
  const whole = await checkpoint('dropout', { trainable: 'all' })
  expect(await failure(resume(whole, { textDropout: 0.5 }))).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'textDropout', expected: '0', found: '0.5' } })
})

test('what a falling rate left behind can be taken back, though it does not hold by itself', async () => {
  const trainer = keep(new Trainer(keep(await tinyPipeline()), { lengths: [5], textDropout: 0, warmupSteps: 100 }))
  trainer.fallingRate(0, 15)
  await trainer.save(join(folder, 'falling'))
  expect((await resume(join(folder, 'falling'), { totalSteps: undefined, decayFrom: undefined })).options).toMatchObject({ warmupSteps: 100, totalSteps: undefined })
  expect(await failure(resume(join(folder, 'falling')))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
})

test('a batch that waited is trained on when batches become smaller', async () => {
  const dataset = {
    async *[Symbol.asyncIterator]() {
      for (let index = 0; index < 4; index++) {
        const frames = index === 1 ? 10 : 5
        yield { prompt: 'a red circle', latents: { data: new PhiloxRandom(8, 0x10000, index).normals(4 * frames * 16), shape: [4, frames, 4, 4] as [number, number, number, number] } }
      }
    }
  }
  // Videos 0 and 2 make the first batch; 1, which is longer, waits.
  const first = keep(new Trainer(keep(await tinyPipeline()), { lengths: [5, 10], batchSize: 2, textDropout: 0 }))
  await first.fit(dataset, { steps: 1, checkpoint: join(folder, 'waiting') })
  const second = await resume(join(folder, 'waiting'), { batchSize: 1 })
  await second.fit(dataset, { steps: 1, checkpoint: join(folder, 'waiting') })
  const { position, buckets } = JSON.parse(await readFile(join(folder, 'waiting', 'training', 'state.json'), 'utf8')) as { position: unknown; buckets: unknown }
  // The one that waited came first: nothing more was read.
  expect({ position, buckets }).toEqual({ position: { epoch: 0, taken: 3 }, buckets: [] })
})

test('a VAE goes on likewise; another stage is refused', async () => {
  const vae = keep(await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 }))
  const trainer = keep(new VAETrainer(vae, { stage: 'spatial', learningRate: 1e-3 }))
  const path = join(folder, 'vae')
  await trainer.save(path)
  const { options } = JSON.parse(await readFile(join(path, 'training', 'state.json'), 'utf8')) as { options: unknown }
  expect(options).toEqual({ stage: 'spatial', learningRate: 1e-3 })
  const resumed = keep(await VAETrainer.resume(path, { learningRate: 2e-3 }, { device: 'cpu' }))
  keep(resumed.vae)
  keep(keep(await VAETrainer.resume(path, { stage: undefined } as never, { device: 'cpu' })).vae)
  expect(resumed.options).toMatchObject({ learningRate: 2e-3, batchSize: 16, emaDecay: { max: 0.99, ramp: true } })
  expect(await failure(VAETrainer.resume(path, { stage: 'all' }, { device: 'cpu' }))).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'stage', expected: 'spatial', found: 'all' } })
})

test('the averages of a short run with default options hold most of its movement', async () => {
  const pipeline = keep(await tinyPipeline())
  const trainer = keep(new Trainer(pipeline, { lengths: [5], textDropout: 0, learningRate: 1e-3 }))
  const name = 'blocks.0.mlp.fc1.weight'
  const raw = async () => (await pipeline.transformer.native.weight(name).read()).data as Float32Array
  const first = (await raw()).slice()
  for (let step = 0; step < 30; step++) await trainer.step([example])
  await trainer.save(join(folder, 'averages'))
  const opened = keep(await VideoPipeline.fromPretrained(join(folder, 'averages'), { device: 'cpu' }))
  const [last, average] = [await raw(), (await opened.transformer.native.weight(name).read()).data as Float32Array]
  const distance = (from: Float32Array, to: Float32Array) => from.reduce((sum, value, i) => sum + Math.abs(to[i]! - value), 0)
  // A decay of 0.9999 from the start would hold 0.3 % of it.
  expect(distance(first, average)).toBeGreaterThan(0.5 * distance(first, last))
})
