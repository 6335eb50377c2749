// Ten steps of the Trainer against the same ten in float64. Every decision, sum and update is restated (philox.ts, decisions.ts, adamw.ts); gradients of single videos come from
// lossAndGradients, which the fixtures prove, on two other models: one with the restated weights, and one without vin.* for videos that see no global tokens. Where it has
// no answer, for the text, they are derived from those it has (t5.ts). Those two are on the CPU, whatever device the Trainer is on.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import type { TrainerOptions, TrainingExample } from '../../lib/index.js'
import type { NativeEngine, NativeModel } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import type { StepReport } from '../../lib/training/fit.js'
import { onDevices } from '../support/devices.js'
import type { Layout } from '../support/fixtures.js'
import { tinyTokenizer } from '../support/models.js'
import { Optimum } from './adamw.js'
import type { Recipe } from './adamw.js'
import { chunkStarts, decide, noiseLevels } from './decisions.js'
import type { Decision, Sampling, Shares } from './decisions.js'
import { Draws } from './philox.js'
import { addTextGradients, encodeText, inputGradient } from './t5.js'
import type { Weights } from './t5.js'

const binding = loadBinding()
const STEPS = 10
const TEXT = 'text_encoder.'
const transformer = {
  depth: 1,
  hidden_size: 24,
  num_heads: 2,
  mlp_ratio: 2,
  in_channels: 4,
  caption_channels: 8,
  model_max_length: 6,
  pred_sigma: false,
  input_sq_size: 64,
  chunk_frames: 4,
  context_frames: 2,
  latent_fps: 5,
  max_latent_frames: 8,
  vin: { num_global_tokens: 4, dim: 16, num_heads: 2, num_blocks: 1, keyframe_interval: 0.6 }
}
const textEncoder = { vocab_size: 10, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2 }

const recipe: Recipe = {
  learningRate: 2e-3, backboneLearningRate: 1e-3, weightDecay: 0.1, betas: [0.9, 0.98], maxGradNorm: 0.05, warmupSteps: 3, totalSteps: 12, decayFrom: 0.5, emaMax: 0.3
}
const shares: Shares = { textDropout: 0.3, globalTokenDropout: 0.3, maskRatios: [['random', 0.2], ['quarterHead', 0.1], ['imageHeadTail', 0.1], ['chunks', 0.2]] }
const lengths = [4, 8, 10]
const options: TrainerOptions = {
  ...shares, maskRatios: Object.fromEntries(shares.maskRatios), lengths, gradientAccumulationSteps: 2,
  learningRate: recipe.learningRate, backboneLearningRate: recipe.backboneLearningRate, weightDecay: recipe.weightDecay, betas: recipe.betas, maxGradNorm: recipe.maxGradNorm,
  warmupSteps: recipe.warmupSteps, totalSteps: recipe.totalSteps, decayFrom: recipe.decayFrom, emaDecay: { max: recipe.emaMax, ramp: true }
}

const prompts = ['a red circle', 'blue square moves', 'circle', 'a blue circle bounces', 'red moves']
/** Videos of 4 to 11 latent frames; the Trainer cuts them to 4, 8 or 10. */
function example(index: number): TrainingExample {
  const frames = [4, 8, 5, 11, 9, 6, 10][index % 7]!
  const data = Float32Array.from(new Draws(77n, 0, index).normals(4 * frames * 16))
  return { prompt: prompts[index % prompts.length]!, latents: { data, shape: [4, frames, 4, 4] }, ...(index % 3 === 1 ? { fps: 24 } : {}) }
}
/** Words, then the end of the sequence (opensora.md §4.1). */
const idsOf = (prompt: string) => [...prompt.split(' '), '</s>'].map((word) => tinyTokenizer.model.vocab[word]!)

async function readWeights(model: NativeModel, prefix = ''): Promise<Weights> {
  const found: Weights = new Map()
  for (const { name } of model.weights()) found.set(prefix + name, Float64Array.from((await model.weight(name).read()).data))
  return found
}

function writeWeights(engine: NativeEngine, model: NativeModel, weights: Weights): void {
  for (const { name, shape } of model.weights()) {
    const x = engine.upload(Float32Array.from(weights.get(name)!), shape)
    engine.op('copy', { y: model.weight(name), x })
    x.dispose()
  }
}

/** Untrained models predict 0 and hardly read their text: every weight moves by a tenth of a normal. */
function shake(engine: NativeEngine, model: NativeModel, seed: number): void {
  model.weights().forEach(({ name, shape }, index) => {
    if (name === 'rope.freqs') return
    const noise = engine.op('randn', { y: { shape }, seed_low: seed, seed_high: 0, stream: index, frame_major: 0 })['y']!
    engine.op('linear_combination', { y: model.weight(name), a: model.weight(name), b: noise, fa: 1, fb: 0.1, fc: 0, fd: 0 })
    noise.dispose()
  })
}

interface Restated {
  loss: number
  gradNorm: number
  learningRate: number
  decisions: Decision[]
}

/** The float64 run beside the Trainer. */
class Restatement {
  readonly optimum: Optimum
  readonly #names: string[]
  readonly #seed: bigint
  readonly #sampling: Sampling
  readonly #complete: { pipeline: VideoPipeline; trainer: Trainer }
  readonly #plain: { pipeline: VideoPipeline; trainer: Trainer }
  #step = 0

  constructor(optimum: Optimum, names: string[], seed: bigint, sampling: Sampling, complete: VideoPipeline, plain: VideoPipeline, scheduler: Case['scheduler']) {
    this.optimum = optimum
    this.#names = names
    this.#seed = seed
    this.#sampling = sampling
    const of = (pipeline: VideoPipeline) => ({ pipeline, trainer: new Trainer(pipeline, { scheduler }) })
    this.#complete = of(complete)
    this.#plain = of(plain)
  }

  #text(name: string): Float64Array {
    return this.optimum.weights.get(name)!
  }

  /** One step on videos that were cut to their length already. */
  async step(videos: readonly TrainingExample[]): Promise<Restated> {
    const { weights } = this.optimum
    const gradients: Weights = new Map(this.#names.map((name) => [name, new Float64Array(weights.get(name)!.length)]))
    const encoder: Weights = new Map([...weights].filter(([name]) => name.startsWith(TEXT)).map(([name, values]) => [name.slice(TEXT.length), values]))
    const encoderGradients: Weights = new Map([...encoder.keys()].map((name) => [name, gradients.get(TEXT + name)!]))
    for (const { pipeline } of [this.#complete, this.#plain]) writeWeights(pipeline.engine.native, pipeline.transformer.native, weights)
    const levels = noiseLevels(this.#seed, this.#step, videos.length, this.#sampling)
    const D = transformer.caption_channels
    const decisions: Decision[] = []
    let loss = 0
    for (const [video, { prompt, latents, fps }] of videos.entries()) {
      const { shape } = latents!
      const starts = chunkStarts(shape[1], transformer.chunk_frames, transformer.context_frames)
      const decision = decide(this.#seed, this.#step, video, levels[video]!, shape, starts, this.#sampling, shares)
      decisions.push(decision)
      const ids = idsOf(prompt)
      const L = ids.length
      const text = decision.textDropped ? this.#text('y_embedder.y_embedding').slice(0, L * D) : encodeText(encoder, textEncoder, ids)
      const result = await (decision.tokensDropped ? this.#plain : this.#complete).trainer.lossAndGradients({
        latents: latents!,
        noise: { data: decision.noise, shape: [...shape] },
        timestep: decision.timestep,
        promptEmbeds: { data: Float32Array.from(text), shape: [L, D] },
        ...(fps === undefined ? {} : { fps }),
        ...(decision.frameMask === undefined ? {} : { frameMask: decision.frameMask })
      })
      loss += result.loss / videos.length
      const add = (name: string, values: ArrayLike<number>) => {
        const sum = gradients.get(name)!
        for (let i = 0; i < values.length; i++) sum[i]! += values[i]! / videos.length
      }
      for (const [name, { data }] of result.gradients) add(name, data)
      // Text is read by y_proj, and by the VIN.
      const readers = ['y_embedder.y_proj.fc1.weight', ...(decision.tokensDropped ? [] : ['vin.text_proj.weight'])]
      const dText = new Float64Array(L * D)
      for (const name of readers) inputGradient(text, result.gradients.get(name)!.data, weights.get(name)!, L, D).forEach((value, i) => void (dText[i]! += value))
      if (decision.textDropped) add('y_embedder.y_embedding', dText)
      else addTextGradients(encoderGradients, encoder, textEncoder, ids, dText, 1 / videos.length)
    }
    this.#step += 1
    return { loss, decisions, ...this.optimum.update(gradients) }
  }
}

/** Batches of ⌊latentFramesPerStep / N⌋ videos of one length, in the order in which their buckets fill; two batches a step. */
function* bucketed(latentFramesPerStep: number, count: number): Generator<TrainingExample[]> {
  const waiting = new Map<number, TrainingExample[]>()
  let step: TrainingExample[] = []
  let batches = 0
  for (let index = 0; ; index++) {
    const cut = cutToLength(example(index % count))
    const [, length] = cut.latents!.shape
    const batch = [...(waiting.get(length) ?? []), cut]
    waiting.set(length, batch)
    if (batch.length < Math.floor(latentFramesPerStep / length)) continue
    waiting.delete(length)
    step.push(...batch)
    if (++batches % 2 !== 0) continue
    yield step
    step = []
  }
}

function cutToLength(one: TrainingExample): TrainingExample {
  const { data, shape } = one.latents!
  const [C, frames, H, W] = shape
  const length = Math.max(...lengths.filter((candidate) => candidate <= frames))
  const kept = data.filter((_, i) => Math.floor(i / (H * W)) % frames < length)
  return { ...one, latents: { data: kept, shape: [C, length, H, W] } }
}

/** max|a − b| / max|b|; NaN stays NaN. */
function error(actual: ArrayLike<number>, wanted: Float64Array): number {
  let [difference, magnitude] = [0, 0]
  for (let i = 0; i < wanted.length; i++) {
    const d = Math.abs(actual[i]! - wanted[i]!)
    if (!(d <= difference)) difference = d
    magnitude = Math.max(magnitude, Math.abs(wanted[i]!))
  }
  return difference / magnitude
}

interface Case {
  layout: Layout
  scheduler: 'FlowMatchEulerDiscreteScheduler' | 'DDIMScheduler' | 'RFlowScheduler'
  sampling: Sampling
  through: 'step' | 'fit'
  seed: bigint
}

const cases: Case[] = [
  { layout: 'full', scheduler: 'FlowMatchEulerDiscreteScheduler', through: 'step', sampling: { logitNormal: { mean: 0.6, std: 1.4 }, discrete: false, transform: false }, seed: 5n },
  { layout: 'hybrid', scheduler: 'DDIMScheduler', through: 'fit', sampling: { logitNormal: { mean: 0, std: 1 }, discrete: true, transform: false }, seed: (1n << 40n) + 6n },
  { layout: 'factorised', scheduler: 'RFlowScheduler', through: 'step', sampling: { discrete: false, transform: true }, seed: 7n }
]

describe.each(onDevices(cases).map(([one, device]) => ({ ...one, device })))('ten steps in layout $layout on $device with $scheduler through $through()', ({ layout, scheduler, sampling, through, seed, device }) => {
  let folder: string
  let opened: { dispose(): void | Promise<void> }[] = []
  const keep = <T extends { dispose(): void | Promise<void> }>(value: T): T => {
    opened.push(value)
    return value
  }
  const reports: StepReport[] = []
  const restated: Restated[] = []
  let trainer: Trainer
  let initial: Weights
  let optimum: Optimum

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ten-steps-'))
    const config = { ...transformer, attention_layout: layout }
    const pipeline = keep(await VideoPipeline.fromConfig({ transformer: config, textEncoder, tokenizer: tinyTokenizer, scheduler }, { device, seed: 1 }))
    shake(pipeline.engine.native, pipeline.transformer.native, 3)
    shake(pipeline.engine.native, pipeline.textEncoder.native, 4)
    const complete = keep(await VideoPipeline.fromConfig({ transformer: config }, { device: 'cpu' }))
    initial = new Map([...(await readWeights(pipeline.transformer.native)), ...(await readWeights(pipeline.textEncoder.native, TEXT))])
    // The same backbone as a checkpoint without vin.*.
    await mkdir(join(folder, 'plain', 'transformer'), { recursive: true })
    await writeFile(join(folder, 'plain', 'transformer', 'config.json'), JSON.stringify(config))
    const shapes = new Map([...pipeline.transformer.weights(), ...pipeline.textEncoder.weights().map(({ name, shape }) => ({ name: TEXT + name, shape }))].map(({ name, shape }) => [name, shape]))
    const backbone = [...initial].filter(([name]) => !name.startsWith('vin.') && !name.startsWith(TEXT))
    binding.writeSafetensors(
      join(folder, 'plain', 'transformer', 'diffusion_pytorch_model.safetensors'),
      Object.fromEntries(backbone.map(([name, values]) => [name, { data: Float32Array.from(values), shape: shapes.get(name)! }]))
    )
    const plain = keep(await VideoPipeline.fromPretrained(join(folder, 'plain'), { device: 'cpu' }))
    expect(plain.transformer.hasGlobalTokens).toBe(false)

    const { logitNormal } = sampling
    trainer = keep(new Trainer(pipeline, { ...options, seed, ...(logitNormal === undefined ? {} : { timestepSampling: logitNormal }), ...(through === 'fit' ? { latentFramesPerStep: 20 } : { batchSize: 2 }) }))
    const weights: Weights = new Map([...initial].map(([name, values]) => [name, values.slice()]))
    optimum = new Optimum(weights, new Map([...shapes].map(([name, shape]) => [name, shape.length])), recipe)
    const restatement = new Restatement(optimum, [...shapes.keys()], seed, sampling, complete, plain, scheduler)

    const count = 7
    const given: TrainingExample[][] = []
    if (through === 'fit') {
      const batches = bucketed(20, count)
      while (given.length < STEPS) given.push(batches.next().value as TrainingExample[])
      const dataset = {
        async *[Symbol.asyncIterator]() {
          for (let index = 0; index < count; index++) yield example(index)
        }
      }
      await trainer.fit(dataset, { steps: STEPS, onStep: (report) => void reports.push(report) })
    } else {
      for (let step = 0; step < STEPS; step++) {
        const batch = [0, 1, 2, 3].map((video) => example(4 * step + video))
        reports.push(await trainer.step(batch))
        given.push(batch.map(cutToLength))
      }
    }
    for (const videos of given) restated.push(await restatement.step(videos))
  }, 300_000)
  afterAll(async () => {
    for (const one of opened.reverse()) await one.dispose()
    opened = []
    await rm(folder, { recursive: true, force: true })
  })

  /**
  Every tensor within 1e-5 of its largest value. A bias of cross-attention's keys adds the same to all scores of a query, so its gradient is 0 and what AdamW sees of it is
  rounding: about 1e-10, a hundredth of eps. Of the way that ten steps can go these may differ by so much.
  */
  function expectEqual(found: Weights, wanted: Weights): void {
    expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort())
    const way = restated.reduce((sum, { learningRate }) => sum + (learningRate * recipe.backboneLearningRate) / recipe.learningRate, 0)
    for (const [name, values] of wanted) {
      const keys = name.endsWith('cross_attn.kv_linear.bias') ? values.length / 2 : 0
      expect(error(found.get(name)!.subarray(keys), values.subarray(keys)), name).toBeLessThanOrEqual(1e-5)
      for (let i = 0; i < keys; i++) expect(Math.abs(found.get(name)![i]! - values[i]!), name).toBeLessThanOrEqual(0.01 * way)
    }
  }

  test('every decision falls both ways within the ten steps, and every step is clipped', () => {
    const decisions = restated.flatMap((step) => step.decisions)
    for (const falls of [(one: Decision) => one.textDropped, (one: Decision) => one.tokensDropped, (one: Decision) => one.frameMask !== undefined]) {
      const count = decisions.filter(falls).length
      expect(count).toBeGreaterThan(2)
      expect(count).toBeLessThan(decisions.length - 2)
    }
    for (const { gradNorm } of restated) expect(gradNorm).toBeGreaterThan(2 * recipe.maxGradNorm)
  })

  test('losses, gradient norms and rates', () => {
    expect(reports).toHaveLength(STEPS)
    reports.forEach(({ step, loss, gradNorm, learningRate }, index) => {
      const wanted = restated[index]!
      expect(step).toBe(index)
      expect(Math.abs(loss - wanted.loss)).toBeLessThanOrEqual(1e-5 * wanted.loss)
      expect(Math.abs(gradNorm - wanted.gradNorm)).toBeLessThanOrEqual(1e-5 * wanted.gradNorm)
      expect(Math.abs(learningRate - wanted.learningRate)).toBeLessThanOrEqual(1e-15)
    })
  })

  test('weights', async () => {
    const { transformer: model, textEncoder: encoder } = trainer.pipeline
    const found = new Map([...(await readWeights(model.native)), ...(await readWeights(encoder.native, TEXT))])
    expectEqual(found, optimum.weights)
    // What the tolerance is worth: ten steps took every weight a hundred times as far.
    const still = [...optimum.weights].filter(([name, values]) => !(error(initial.get(name)!, values) > 1e-3)).map(([name]) => name)
    expect(still).toEqual(['rope.freqs'])
    expect(found.get('rope.freqs')).toEqual(initial.get('rope.freqs'))
  })

  test('averaged weights, as a checkpoint holds them', async () => {
    await trainer.save(join(folder, 'run'))
    const read = (...path: string[]) => binding.readSafetensors(join(folder, 'run', ...path)).tensors
    const found: Weights = new Map()
    for (const [name, { data }] of Object.entries(read('transformer', 'diffusion_pytorch_model.safetensors'))) found.set(name, Float64Array.from(data!))
    for (const [name, { data }] of Object.entries(read('text_encoder', 'model.safetensors'))) found.set(TEXT + name, Float64Array.from(data!))
    expectEqual(found, optimum.averages)
  })
})
