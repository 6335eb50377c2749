// Step caching: decisions and runs that TeaCache's published code made, and what holds of every run.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Transformer, fitStepCache } from '../../lib/index.js'
import type { GenerateOptions, MethodName, StepEvent, TensorData, VideoPipeline } from '../../lib/index.js'
import { commonEngine } from '../../lib/native/engine.js'
import { filled, linearCombination, relativeChange } from '../../lib/native/ops.js'
import { readNative } from '../../lib/native/tensor.js'
import { StepCache } from '../../lib/pipeline/step-cache.js'
import { ChangeCounter, fitPolynomial, openSoraPolynomial, polynomialAt } from '../../lib/plan/step-cache.js'
import { devices } from '../support/devices.js'
import { bits, expectEvaluation, fixture, named, readJson, readTensors } from '../support/fixtures.js'
import { shake, tinyPipeline } from '../support/models.js'

interface Decisions {
  name: string
  threshold: number
  computed: boolean[]
  accumulated_after_step: number[]
  relative_change_from_second_step: number[]
}
interface GoldenRun extends Omit<Decisions, 'relative_change_from_second_step' | 'accumulated_after_step'> {
  timesteps: number[]
  guidance: number
  fps: number
  height: number
  width: number
}
const golden = readJson('methods', 'teacache.json') as unknown as { coefficients_highest_power_first: number[]; polynomial: [number, number][]; decisions: Decisions[]; runs: GoldenRun[] }
const tensors = readTensors('methods', 'teacache.safetensors')

describe('published decisions', () => {
  test('the polynomial', () => {
    expect(openSoraPolynomial).toEqual(golden.coefficients_highest_power_first)
    for (const [x, y] of golden.polynomial) expect(polynomialAt(openSoraPolynomial, x)).toBeCloseTo(y, 9)
  })

  test.each(golden.decisions.map((decisions) => [decisions.name, decisions] as const))('%s', async (name, { threshold, computed, accumulated_after_step: accumulated, relative_change_from_second_step: changes }) => {
    const engine = commonEngine().native
    const { data, shape: [steps = 0, R = 0, C = 0] } = named(tensors, `${name}.modulated`)
    const inputs = Array.from({ length: steps }, (_, step) => engine.upload(data.slice(step * R * C, (step + 1) * R * C), [R, C]))
    const counter = new ChangeCounter(threshold, openSoraPolynomial)
    for (const [step, input] of inputs.entries()) {
      const change = step === 0 ? undefined : await relativeChange(engine, input, inputs[step - 1]!)
      // The published code looks at no change of the last step.
      const said = step === steps - 1 ? undefined : changes[step - 1]
      if (change !== undefined && said !== undefined) expect(Math.abs(change - said)).toBeLessThanOrEqual(1e-6 * said)
      expect([step, counter.next(change, step === steps - 1)]).toEqual([step, computed[step]])
      expect(counter.accumulated).toBeCloseTo(accumulated[step]!, 6)
    }
    for (const input of inputs) input.dispose()
  })
})

describe.each(devices)('published runs on %s', (device) => {
  let transformer: Transformer
  beforeAll(async () => {
    transformer = await Transformer.fromPretrained(fixture('stdit3'), { device })
  })
  afterAll(() => transformer.dispose())

  test.each(golden.runs.map((run) => [run.name, run] as const))('%s', async (name, { threshold, timesteps, guidance, fps, height, width, computed }) => {
    const engine = transformer.engine.native
    const upload = ({ data, shape }: TensorData) => engine.upload(data, shape)
    const text = upload(named(tensors, `${name}.prompt_embeds`))
    const empty = transformer.native.weight('y_embedder.y_embedding')
    const negativeText = engine.slice(empty, 0, 0, text.shape[0]!)
    let latents = upload(named(tensors, `${name}.start`))
    const frames = latents.shape[1]!
    const guided = named(tensors, `${name}.guided`)
    const each = guided.data.length / timesteps.length
    const cache = new StepCache(engine, transformer, new ChangeCounter(threshold, openSoraPolynomial))
    const reused: boolean[] = []
    for (const [step, timestep] of timesteps.entries()) {
      const request = await cache.apply({ latents, timestep, text, negativeText, guidanceScale: guidance, fps, height, width, chunks: [{ first: 0, start: 0, end: frames }] }, step === timesteps.length - 1)
      reused.push(request.reuseResiduals === true)
      const prediction = transformer.native.denoise(request)
      expectEvaluation(await readNative(prediction), { data: guided.data.slice(step * each, (step + 1) * each), shape: guided.shape.slice(1) })
      latents = linearCombination(engine, [{ factor: 1, tensor: latents }, { factor: 0.001, tensor: prediction }])
    }
    expect(reused).toEqual(computed.map((value) => !value))
    expectEvaluation(await readNative(latents), named(tensors, `${name}.final`))
    cache.dispose()
  })
})

describe.each(devices)('runs on %s', (device) => {
  const onCpu = test.runIf(device === 'cpu')
  let pipeline: VideoPipeline
  const folders: string[] = []
  beforeAll(async () => {
    pipeline = await tinyPipeline({ device })
    shake(pipeline)
  })
  afterAll(async () => {
    await pipeline.dispose()
    for (const folder of folders) await rm(folder, { recursive: true })
  })
  const options = { prompt: 'a red circle bounces', numFrames: 80, numInferenceSteps: 8, seed: 3, outputType: 'latents' } as const
  const run = async (more: GenerateOptions): Promise<{ computed: boolean[]; latents: TensorData; skippedSteps: number }> => {
    const computed: boolean[] = []
    const video = await pipeline.generate({ ...options, ...more, onStep: (event: StepEvent) => void computed.push(event.computed) })
    return { computed, latents: video.latents, skippedSteps: video.skippedSteps }
  }

  const cached: readonly MethodName[] = device === 'cpu' ? ['vin', 'independent', 'full', 'autoregressive', 'freenoise', 'spectral-blend'] : ['vin', 'autoregressive']
  const numFrames = device === 'cpu' ? 80 : 48
  test.each(cached)('%s: threshold 0 gives the bits of a run without a cache; 100 computes the first and the last step of each pass', async (method) => {
    const plain = await run({ method, numFrames })
    const none = await run({ method, numFrames, stepCache: 0 })
    expect(bits(none.latents)).toEqual(bits(plain.latents))
    expect(none.skippedSteps).toBe(0)
    const { computed, latents, skippedSteps } = await run({ method, numFrames, stepCache: 100 })
    expect(computed).toEqual(plain.computed.map((_, step) => step % 8 === 0 || step % 8 === 7))
    expect(skippedSteps).toBe(computed.filter((value) => !value).length)
    expect(bits(latents)).not.toEqual(bits(plain.latents))
  })

  test('with the same decisions whatever is in flight, with guidance or without, beside given frames', async () => {
    const image = { data: Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => i % 251), width: 64, height: 64 }
    for (const guidanceScale of [1, 3]) {
      const one = await run({ stepCache: 0.4, guidanceScale, image, chunksInFlight: 1 })
      const many = await run({ stepCache: 0.4, guidanceScale, image, chunksInFlight: 8 })
      expect(one.computed).toContain(false)
      expect(many.computed).toEqual(one.computed)
      expect(bits(many.latents)).toEqual(bits(one.latents))
    }
  })

  test('a run that goes on makes the decisions and the bits of one that was not stopped', async () => {
    const whole = await run({ stepCache: 0.4, scheduler: 'DPMSolverMultistepScheduler' })
    for (const stop of whole.computed.keys()) {
      if (stop === 7 || (device !== 'cpu' && stop !== 4)) continue
      const resume = await mkdtemp(join(tmpdir(), 'vin-step-cache-'))
      folders.push(resume)
      const stopped = pipeline.generate({ ...options, stepCache: 0.4, scheduler: 'DPMSolverMultistepScheduler', resume, onStep: ({ step }) => { if (step === stop + 1) throw new Error('stopped') } })
      await expect(stopped).rejects.toThrow('stopped')
      const rest = await run({ stepCache: 0.4, scheduler: 'DPMSolverMultistepScheduler', resume })
      expect(rest.computed).toEqual(whole.computed.slice(stop + 1))
      expect(bits(rest.latents)).toEqual(bits(whole.latents))
    }
  })

  test('nothing is kept after a run, and the plan counts what is held', async () => {
    const { engine } = pipeline.transformer
    await run({ stepCache: 'fast' })
    const before = engine.native.stats().handles
    await run({ stepCache: 'fast' })
    await expect(pipeline.generate({ ...options, stepCache: 0, onStep: () => { throw new Error('stopped') } })).rejects.toThrow('stopped')
    expect(engine.native.stats().handles).toBe(before)
    const [off, slow] = (['off', 'slow'] as const).map((stepCache) => pipeline.plan({ ...options, stepCache }).memory.peak)
    // 25 latent frames of 2 × 2 tokens and the context of two chunks again, in two branches; and three inputs.
    expect(slow! - off!).toBe(4 * 48 * 4 * (2 * (25 + 8) + 3 * 25))
  })

  onCpu('fitStepCache: a polynomial near the changes of its runs, by which the runs skip what changes little', async () => {
    const done: number[] = []
    const { polynomial, changes, error } = await fitStepCache({ pipeline, runs: [{ ...options, numInferenceSteps: 12 }, { ...options, seed: 4, method: 'independent' }], onProgress: ({ done: runs }) => done.push(runs) })
    expect(done).toEqual([1, 2])
    // Pairs of steps that follow one another, but the last.
    expect(changes).toHaveLength(12 - 2 + 8 - 2)
    const squares = changes.map(([input, added]) => (polynomialAt(polynomial, input) - added) ** 2)
    expect(error).toBeCloseTo(Math.sqrt(squares.reduce((a, b) => a + b, 0) / squares.length), 9)
    const mean = changes.reduce((sum, [, added]) => sum + added, 0) / changes.length
    expect(error).toBeLessThanOrEqual(Math.sqrt(changes.reduce((sum, [, added]) => sum + (added - mean) ** 2, 0) / changes.length))
    // Too few changes, and a wrong run after a right one, are told before the first run.
    const onProgress = (): void => void done.push(0)
    await expect(fitStepCache({ pipeline, onProgress, runs: [options, { ...options, method: 'vim' as never }] })).rejects.toThrow('for method but received "vim"')
    await expect(fitStepCache({ pipeline, onProgress, runs: [{ ...options, numInferenceSteps: 6 }] })).rejects.toThrow('Expected runs with at least 5 different changes from step to step but they have 4; give more runs, or more steps')
    expect(done).toEqual([1, 2])
    await expect(fitStepCache({ pipeline, runs: [] })).rejects.toThrow('Expected a list of at least one run for runs')
    await expect(fitStepCache({ pipeline, runs: [options], signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })

  onCpu('the polynomial of the checkpoint is read, kept and checked', async () => {
    const config = { ...pipeline.transformer.config, step_cache_polynomial: [0, 0, 0, 0, 1] }
    const own = await Transformer.fromConfig(config)
    expect(own.config.step_cache_polynomial).toEqual([0, 0, 0, 0, 1])
    await own.dispose()
    await expect(Transformer.fromConfig({ ...config, step_cache_polynomial: [1, 2] })).rejects.toThrow('step_cache_polynomial')
  })

  onCpu.each([['sometimes', `Expected 'off', 'slow', 'fast' or a number from 0 to 100 for stepCache but received "sometimes"`], [-1, 'Expected a number from 0 to 100 for stepCache but received -1'], [true, "Expected 'off', 'slow', 'fast' or a number from 0 to 100 for stepCache but received true"],
    [NaN, 'Expected a number from 0 to 100 for stepCache but received NaN']])('%s is refused', async (stepCache, text) => {
    await expect(async () => pipeline.generate({ ...options, stepCache: stepCache as never })).rejects.toThrow(text)
  })
})

test('fitPolynomial finds the polynomial that points lie on, and the nearest one to others', () => {
  const cubic = [0, 3, -2, 0.5, 7]
  const { polynomial, error } = fitPolynomial([0.01, 0.05, 0.1, 0.2, 0.25, 0.4, 0.6].map((x) => [x, polynomialAt(cubic, x)]), 4)
  for (const [i, coefficient] of polynomial.entries()) expect(coefficient).toBeCloseTo(cubic[i]!, 6)
  expect(error).toBeLessThan(1e-12)
  // A line through (0, 1), (1, 3), (2, 2): 1.5 + 0.5 x, which leaves −.5, 1, −.5.
  const line = fitPolynomial([[0, 1], [1, 3], [2, 2]], 1)
  expect(line.polynomial[0]).toBeCloseTo(0.5, 12)
  expect(line.polynomial[1]).toBeCloseTo(1.5, 12)
  expect(line.error).toBeCloseTo(Math.sqrt(1.5 / 3), 12)
})

test('threshold 0 computes every step, whatever the polynomial', () => {
  const [all, some] = [0, 0.01].map((threshold) => new ChangeCounter(threshold, [0, 0, 0, 1, -0.1]))
  const steps = [undefined, 0.05, 0.02, 0.05, 0.5, 0.01]
  expect(steps.map((change) => all!.next(change, false))).toEqual(steps.map(() => true))
  expect(steps.map((change) => some!.next(change, false))).toEqual([true, false, false, false, true, false])
})

test('a change of nothing is no number, and computes', async () => {
  const engine = commonEngine().native
  const nothing = filled(engine, [2, 3], 0)
  const change = await relativeChange(engine, nothing, nothing)
  expect(change).toBeNaN()
  expect(new ChangeCounter(100, openSoraPolynomial).next(change, false)).toBe(true)
  nothing.dispose()
})
