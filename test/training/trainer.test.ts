import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Trainer, VideoPipeline, VinError, demoWorld, randn, videoFolder } from '../../lib/index.js'
import type { TensorData, TrainerOptions, TrainingExample } from '../../lib/index.js'
import type { StepReport } from '../../lib/training/fit.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices } from '../support/devices.js'
import { compare, fixture, layouts, named, readTensors } from '../support/fixtures.js'
import { tinyPipeline, tinyVAE } from '../support/models.js'

const GRADIENT_TOLERANCE = 1e-4

/** max|a−b| ≤ 1e-4 · max|b|, the contract's tolerance of gradients. */
function expectGradient(name: string, actual: TensorData | undefined, wanted: TensorData): void {
  expect(actual, name).toBeDefined()
  const { difference, magnitude } = compare({ data: actual!.data, shape: wanted.shape }, wanted)
  expect(difference, name).toBeLessThanOrEqual(GRADIENT_TOLERANCE * magnitude)
}

describe.each(onDevices(layouts))('losses and gradients of layout %s on %s are the fixtures’', (layout, device) => {
  const io = readTensors(`vin-${layout}`, 'io.safetensors')
  const clean = readTensors(`vin-${layout}`, 'clean.safetensors')
  let pipeline: VideoPipeline
  beforeAll(async () => void (pipeline = await VideoPipeline.fromPretrained(fixture(`vin-${layout}`), { device })))
  afterAll(() => pipeline.dispose())
  const inputs = () => ({ latents: named(io, 'train_x0'), noise: named(io, 'train_noise'), promptEmbeds: named(io, 'prompt_embeds') })

  test.each([1, 0])('noise prediction, context weight %d', async (lambda) => {
    const trainer = new Trainer(pipeline, { contextLossWeight: lambda })
    const { loss, gradients } = await trainer.lossAndGradients({ ...inputs(), timestep: named(io, 'train_timestep').data[0]! })
    const wanted = named(io, `loss_lambda${lambda}`).data[0]!
    expect(Math.abs(loss - wanted)).toBeLessThanOrEqual(2e-5 * Math.max(1, wanted))
    const prefix = `grad_lambda${lambda}.`
    const names = Object.keys(io).filter((name) => name.startsWith(prefix))
    expect(names.length).toBeGreaterThan(4)
    for (const name of names) expectGradient(name, gradients.get(name.slice(prefix.length)), io[name]!)
    if (lambda === 1) expect([...gradients.keys()].sort()).toEqual(names.map((name) => name.slice(prefix.length)).sort())
    trainer.dispose()
  })

  test.runIf(device !== 'cuda-emu')('gradient checkpointing gives the same bits', async () => {
    const run = async (gradientCheckpointing: boolean) => {
      const trainer = new Trainer(pipeline, { gradientCheckpointing })
      const { loss, gradients } = await trainer.lossAndGradients({ ...inputs(), timestep: 500 })
      trainer.dispose()
      return [loss, ...[...gradients].map(([name, { data }]) => `${name} ${Buffer.from(data.buffer).toString('base64')}`)]
    }
    expect(await run(true)).toEqual(await run(false))
  })

  // One frame mask is enough for the emulator, to which a gradient is seconds of work; what recomputes for it is in test/models/t5.test.ts.
  test.each(device === 'cuda-emu' ? ['middle'] : ['none', 'lead', 'middle'])('flow match with frame mask %s', async (mask) => {
    const trainer = new Trainer(pipeline, { scheduler: 'FlowMatchEulerDiscreteScheduler' })
    const { loss, gradients } = await trainer.lossAndGradients({
      ...inputs(),
      timestep: 1000 * named(clean, 'flow_sigma').data[0]!,
      ...(mask === 'none' ? {} : { frameMask: named(clean, `frame_mask_${mask}`).data })
    })
    const wanted = named(clean, `flow_loss_${mask}`).data[0]!
    expect(Math.abs(loss - wanted)).toBeLessThanOrEqual(2e-5 * Math.max(1, wanted))
    const names = Object.keys(clean).filter((name) => name.startsWith(`flow_grad_${mask}.`))
    expect(names.length).toBeGreaterThan(4)
    for (const name of names) expectGradient(name, gradients.get(name.slice(`flow_grad_${mask}.`.length)), clean[name]!)
    trainer.dispose()
  })
})

describe('training', () => {
  let folder: string
  const open: { dispose(): void | Promise<void> }[] = []
  const keep = <T extends { dispose(): void | Promise<void> }>(value: T): T => {
    open.push(value)
    return value
  }
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'trainer-'))))
  afterEach(async () => {
    for (const one of open.splice(0).reverse()) await one.dispose()
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const options: TrainerOptions = {
    learningRate: 3e-3,
    lengths: [5, 10],
    latentFramesPerStep: 20,
    emaDecay: { max: 0.99, ramp: true },
    maskRatios: { chunks: 0.3, imageHead: 0.2, random: 0.2 },
    globalTokenDropout: 0.2,
    timestepSampling: { mean: 0, std: 1 },
    scheduler: 'FlowMatchEulerDiscreteScheduler',
    seed: 5
  }
  const prompts = ['a red circle bounces', 'a blue square moves']
  const example = (index: number): TrainingExample => {
    const frames = index % 3 === 0 ? 10 : 5
    return { prompt: prompts[index % 2]!, latents: { data: new PhiloxRandom(21, 0x10000, index % 4).normals(4 * frames * 16).map((value) => 0.1 * value + (index % 2 ? 1 : -1)), shape: [4, frames, 4, 4] } }
  }
  const dataset = {
    async *[Symbol.asyncIterator]() {
      for (let index = 0; index < 17; index++) yield example(index)
    }
  }
  const fit = async (trainer: Trainer, steps: number) => {
    const reports: StepReport[] = []
    await trainer.fit(dataset, { steps, onStep: (report) => void reports.push(report) })
    return reports.map(({ step, loss, gradNorm, learningRate }) => ({ step, loss, gradNorm, learningRate }))
  }

  test('the loss falls', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), { ...options, warmupSteps: 5 }))
    const losses = (await fit(trainer, 60)).map(({ loss }) => loss)
    const mean = (part: number[]) => part.reduce((sum, value) => sum + value, 0) / part.length
    expect(mean(losses.slice(-15))).toBeLessThan(0.7 * mean(losses.slice(0, 15)))
  })

  test('saved and resumed, losses continue with the same bits, in the middle of a pass and with waiting buckets', async () => {
    const whole = await fit(keep(new Trainer(keep(await tinyPipeline()), options)), 14)
    const first = keep(new Trainer(keep(await tinyPipeline()), options))
    const before = await fit(first, 6)
    await first.save(join(folder, 'run'))
    const resumed = keep(await Trainer.resume(join(folder, 'run')))
    keep(resumed.pipeline)
    expect(resumed.globalStep).toBe(6)
    expect([...before, ...(await fit(resumed, 8))]).toEqual(whole)
  })

  test('a checkpoint is a model folder with the averaged weights', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), options))
    await fit(trainer, 3)
    await trainer.save(join(folder, 'model'))
    const opened = keep(await VideoPipeline.fromPretrained(join(folder, 'model'), { device: 'cpu' }))
    const name = 'final_layer.linear.weight'
    const [raw, average] = [await trainer.pipeline.transformer.native.weight(name).read(), await opened.transformer.native.weight(name).read()]
    expect(average.data).not.toEqual(raw.data)
    expect(average.data.every((value) => Number.isFinite(value))).toBe(true)
    expect(opened.scheduler.className).toBe('FlowMatchEulerDiscreteScheduler')
    const video = await opened.generate({ prompt: 'a red circle moves', numFrames: 16, seed: 1, outputType: 'latents' })
    expect(video.latents.shape).toEqual([4, 5, 4, 4])
  })

  test('state of another model is refused by the name of the field', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), options))
    await trainer.save(join(folder, 'other'))
    const file = join(folder, 'other', 'training', 'state.json')
    const state = JSON.parse(await readFile(file, 'utf8')) as { transformer: { depth: number } }
    state.transformer.depth = 3
    await writeFile(file, JSON.stringify(state))
    const error = await Trainer.resume(join(folder, 'other')).then(() => undefined, (reason: unknown) => reason as VinError)
    expect(error).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'depth', expected: 2, found: 3 } })
  })

  test('gradients of a hook are those of the step, and scaling them to 0 leaves the weights', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), { ...options, weightDecay: 0 }))
    const engine = trainer.pipeline.engine.native
    const name = 'blocks.0.attn.qkv.weight'
    const before = await trainer.pipeline.transformer.native.weight(name).read()
    let seen = 0
    const { gradNorm } = await trainer.step([example(0)], {
      onGradients: async (gradients) => {
        expect([...gradients.keys()]).toEqual(trainer.trainableNames)
        expect([...gradients.keys()].some((key) => key.startsWith('text_encoder.'))).toBe(true)
        for (const gradient of gradients.values()) {
          seen += (await gradient.read()).data.reduce((sum, value) => sum + value * value, 0)
          engine.op('fill', { y: gradient.native, value: 0 })
        }
      }
    })
    expect(seen).toBeGreaterThan(0)
    expect(gradNorm).toBe(0)
    expect((await trainer.pipeline.transformer.native.weight(name).read()).data).toEqual(before.data)
  })

  test('accumulated batches are one batch', async () => {
    const run = async (extra: TrainerOptions) => {
      const trainer = keep(new Trainer(keep(await tinyPipeline()), { ...options, latentFramesPerStep: undefined, ...extra }))
      return trainer.step([example(1), example(2), example(4), example(5)])
    }
    const [whole, split] = [await run({ batchSize: 4 }), await run({ batchSize: 2, gradientAccumulationSteps: 2 })]
    // Four videos are evaluated together, or two by two, so sums differ in order: fp32 rounding, of which a loss averages thousands.
    expect(Math.abs(split.loss - whole.loss)).toBeLessThan(1e-7 * whole.loss)
    expect(Math.abs(split.gradNorm - whole.gradNorm)).toBeLessThan(1e-5 * whole.gradNorm)
  })

  test("trainable 'vin' changes vin.* and nothing else; a pattern changes what it matches", async () => {
    for (const [trainable, matches] of [['vin', /^vin\./], ['blocks.*.mlp.*', /^blocks\.\d+\.mlp\./]] as const) {
      const pipeline = keep(await tinyPipeline())
      const read = async () => {
        const values: Record<string, string> = {}
        for (const { name } of pipeline.transformer.weights()) values[name] = Buffer.from((await pipeline.transformer.native.weight(name).read()).data.buffer).toString('base64')
        return values
      }
      const before = await read()
      const trainer = keep(new Trainer(pipeline, { ...options, trainable, globalTokenDropout: 0, maskRatios: {}, textDropout: 0 }))
      await trainer.step([example(0)])
      const after = await read()
      const changed = Object.keys(after).filter((name) => after[name] !== before[name])
      expect(changed.length).toBeGreaterThan(0)
      expect(changed.every((name) => matches.test(name))).toBe(true)
      expect(trainer.trainableNames.every((name) => matches.test(name))).toBe(true)
    }
  })

  test('frames are encoded by the VAE of the pipeline', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), options))
    expect(tinyVAE.micro_frame_size).toBe(16)
    const { loss } = await trainer.step([{ prompt: prompts[0]!, frames: { data: new Uint8Array(16 * 32 * 32 * 3).fill(90), shape: [16, 32, 32, 3] } }])
    expect(Number.isFinite(loss)).toBe(true)
  })

  test('a loss that is not finite is an error that names the step, and weights stay', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), options))
    const bad = example(0)
    bad.latents!.data = bad.latents!.data.map(() => Infinity)
    const name = 'final_layer.linear.weight'
    const before = await trainer.pipeline.transformer.native.weight(name).read()
    const error = await trainer.step([bad]).then(() => undefined, (reason: unknown) => reason as VinError)
    expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 0 } })
    expect((await trainer.pipeline.transformer.native.weight(name).read()).data).toEqual(before.data)
  })

  test('a cancelled fit rejects with the reason and can go on', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), options))
    const controller = new AbortController()
    const reason = new Error('enough')
    await expect(trainer.fit(dataset, { steps: 50, signal: controller.signal, onStep: ({ step }) => (step === 1 ? controller.abort(reason) : undefined) })).rejects.toBe(reason)
    expect(trainer.globalStep).toBe(2)
    expect(await fit(trainer, 1)).toHaveLength(1)
  })

  test('checkpoints are written every so many steps and at the end', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), options))
    const steps: number[] = []
    await trainer.fit(dataset, { steps: 5, checkpoint: join(folder, 'every'), checkpointEvery: 2, onCheckpoint: (_, step) => void steps.push(step) })
    expect(steps).toEqual([2, 4, 5])
    expect(existsSync(join(folder, 'every', 'training', 'state.safetensors'))).toBe(true)
  })

  test('wrong options are refused in a sentence', async () => {
    const pipeline = keep(await tinyPipeline())
    const refuse = (wrong: object, type: ErrorConstructor, text: RegExp) => {
      expect(() => new Trainer(pipeline, wrong as TrainerOptions)).toThrow(type)
      expect(() => new Trainer(pipeline, wrong as TrainerOptions)).toThrow(text)
    }
    refuse({ learningrate: 1 }, TypeError, /'learningRate'/)
    refuse({ learningRate: 'fast' }, TypeError, /for learningRate/)
    refuse({ textDropout: 1.5 }, RangeError, /from 0 to 1 for textDropout/)
    refuse({ batchSize: 2, latentFramesPerStep: 40 }, TypeError, /both/)
    refuse({ betas: [0.9] }, TypeError, /betas/)
    refuse({ lengths: [] }, TypeError, /lengths/)
    refuse({ maskRatios: { chunks: 0.9, random: 0.2 } }, RangeError, /maskRatios/)
    refuse({ trainable: 'nothing.*' }, RangeError, /trainable/)
    refuse({ trainable: 'foo' }, RangeError, /^Expected 'all', 'vin', 'cam', 'apm', 'fusion' or a pattern of weights' names, as 'blocks\.\*', for trainable but "foo" names no weight of the model, which has .*\bblocks\.\*, .*vin\.\*/)
    refuse({ emaDecay: true }, TypeError, /^Expected a number from 0 to 1 or \{ max, ramp: true \} for emaDecay but received true$/)
    refuse({ timestepSampling: 1 }, TypeError, /^Expected 'uniform' or \{ mean, std \} for timestepSampling but received 1$/)
    refuse({ decayFrom: 0.5 }, TypeError, /totalSteps/)
    // null is no way to leave one out.
    const resolved = Object.keys(keep(new Trainer(pipeline, options)).options)
    expect(resolved.length).toBeGreaterThan(20)
    for (const name of resolved) refuse({ [name]: null }, TypeError, new RegExp(`(for|of) ${name} .*received null`))
    expect(() => new Trainer(pipeline, { maskRatios: { random: undefined } as never }).dispose()).not.toThrow()
    const loss = { latents: await randn({ seed: 1, shape: [4, 10, 4, 4] }), noise: await randn({ seed: 2, shape: [4, 10, 4, 4] }), timestep: 500, promptEmbeds: await randn({ seed: 3, shape: [5, 32] }) }
    for (const name of ['fps', 'chunkFrames', 'contextFrames', 'keyframeInterval']) await expect(keep(new Trainer(pipeline, options)).lossAndGradients({ ...loss, [name]: null })).rejects.toThrow(new RegExp(`for ${name} but received null`))
    for (const name of ['fps', 'maxFrames', 'heldOut', 'seed']) expect(() => videoFolder('clips', { width: 64, height: 64, [name]: null })).toThrow(new RegExp(`for ${name} but received null`))
    expect(() => demoWorld({ seed: 1, count: null as never })).toThrow(/for count but received null/)
    await expect(new Trainer(pipeline, options).fit(dataset, {})).rejects.toThrow(/steps or minutes/)
    await expect(new Trainer(pipeline, options).fit({ async *[Symbol.asyncIterator]() {} }, { steps: 1 })).rejects.toThrow(/at least one example/)
  })
})
