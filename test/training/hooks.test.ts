// onGradients and onStep. The order of a step is: gradients → onGradients → norm → clip → AdamW → average; what follows from it is asked for in bits wherever a factor of the
// gradients can be undone by the clip.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Trainer } from '../../lib/index.js'
import type { NamedGradients, StepReport, TrainingExample, VideoPipeline } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

const options = { learningRate: 1e-3, lengths: [5], textDropout: 0, emaDecay: 0.9, seed: 3 }
const ZEROED = 'blocks.0.attn.qkv.weight'
const example = (index: number): TrainingExample => ({
  prompt: ['a red circle bounces', 'a blue square moves'][index % 2]!,
  latents: { data: new PhiloxRandom(8, 0x10000, index).normals(4 * 5 * 16), shape: [4, 5, 4, 4] }
})
const batch = [example(0), example(1)]

let folder: string
const open: (Trainer | VideoPipeline)[] = []
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'hooks-'))))
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.dispose()
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function start(extra: object = {}): Promise<Trainer> {
  const pipeline = await tinyPipeline()
  const trainer = new Trainer(pipeline, { ...options, ...extra })
  open.push(pipeline, trainer)
  return trainer
}

type State = Record<string, Float32Array>

/** `weights/…`, `first_moments/…`, `second_moments/…`, `averages/…` as a checkpoint holds them. */
async function stateOf(trainer: Trainer): Promise<State> {
  await trainer.save(join(folder, 'run'))
  const { tensors } = loadBinding().readSafetensors(join(folder, 'run', 'training', 'state.safetensors'))
  return Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data as Float32Array]))
}

interface Ran {
  report: StepReport
  state: State
}

async function run(maxGradNorm: number, onGradients?: (gradients: NamedGradients) => void | Promise<void>): Promise<Ran> {
  const trainer = await start({ maxGradNorm })
  const report = await trainer.step(batch, onGradients === undefined ? {} : { onGradients })
  return { report, state: await stateOf(trainer) }
}

const sameBits = (a: Float32Array, b: Float32Array) => bits({ data: a, shape: [] }).equals(bits({ data: b, shape: [] }))
const differing = (a: State, b: State) => Object.keys(a).filter((name) => !sameBits(a[name]!, b[name]!))
const squares = (data: Float32Array) => data.reduce((sum, value) => sum + value * value, 0)

describe('a gradient scaled to 0', () => {
  let plain: Ran
  let initial: State
  let normWithout: number
  const zero = (gradients: NamedGradients) => gradients.get(ZEROED)!.scale(0)
  beforeAll(async () => {
    initial = await stateOf(await start())
    let all = 0
    let zeroed = 0
    plain = await run(0, async (gradients) => {
      for (const [name, gradient] of gradients) {
        const sum = squares((await gradient.read()).data)
        all += sum
        if (name === ZEROED) zeroed = sum
      }
    })
    expect(Math.abs(plain.report.gradNorm - Math.sqrt(all))).toBeLessThan(1e-6 * plain.report.gradNorm)
    normWithout = Math.sqrt(all - zeroed)
    expect(normWithout).toBeLessThan(0.999 * plain.report.gradNorm)
  })

  test('leaves its weight where it was, and without clipping nothing else changes', async () => {
    const { report, state } = await run(0, zero)
    expect(Math.abs(report.gradNorm - normWithout)).toBeLessThan(1e-6 * normWithout)
    expect(differing(state, plain.state).sort()).toEqual(['averages', 'first_moments', 'second_moments', 'weights'].map((part) => `${part}/${ZEROED}`))
    for (const part of ['weights', 'averages']) expect(sameBits(state[`${part}/${ZEROED}`]!, initial[`${part}/${ZEROED}`]!)).toBe(true)
    for (const part of ['first_moments', 'second_moments']) expect(state[`${part}/${ZEROED}`]!.every((value) => value === 0)).toBe(true)
  })

  test('with clipping, the others are clipped by the norm that is left', async () => {
    // Everything goes in with the factor M/(norm + 1e-6): the same factor on the larger norm is another M.
    const maximum = 0.5 * normWithout
    const { report, state } = await run(maximum, zero)
    const sameFactor = await run((maximum / (report.gradNorm + 1e-6)) * (plain.report.gradNorm + 1e-6))
    expect(differing(state, sameFactor.state).every((name) => name.endsWith(`/${ZEROED}`))).toBe(true)
    // With the same M the factor is larger than in a run that keeps the gradient, and first moments show it: m = (1 − β₁) · factor · g.
    const sameMaximum = await run(maximum)
    const ratio = (plain.report.gradNorm + 1e-6) / (report.gradNorm + 1e-6)
    const moved = differing(state, sameMaximum.state)
    for (const name of Object.keys(state).filter((key) => key.startsWith('first_moments/') && !key.endsWith(ZEROED))) {
      const [found, kept] = [state[name]!, sameMaximum.state[name]!]
      if (squares(kept) > 0) expect(moved).toContain(name)
      // Two roundings of a factor, two of a product.
      expect(found.every((value, i) => Math.abs(value - ratio * kept[i]!) <= 4 * 2 ** -24 * Math.abs(value) + 1e-40), name).toBe(true)
    }
  })
})

test('gradients scaled by ½ have half the norm; without clipping moments are ½ and ¼, with it the factor is what keeps M', async () => {
  const halve = (gradients: NamedGradients) => {
    for (const gradient of gradients.values()) gradient.scale(0.5)
  }
  const whole = await run(0)
  const half = await run(0, halve)
  expect(half.report.gradNorm).toBe(whole.report.gradNorm / 2)
  expect(half.report.loss).toBe(whole.report.loss)
  const names = Object.keys(half.state).filter((name) => name.startsWith('first_moments/'))
  for (const name of names) {
    const second = name.replace('first', 'second')
    expect(sameBits(half.state[name]!, whole.state[name]!.map((value) => value / 2)), name).toBe(true)
    // Subnormal squares lose bits.
    expect(half.state[second]!.every((value, i) => Math.abs(value - whole.state[second]![i]! / 4) <= 1e-44), second).toBe(true)
  }
  const maximum = 0.2 * whole.report.gradNorm
  const clipped = await run(maximum, halve)
  expect(clipped.report.gradNorm).toBe(half.report.gradNorm)
  const sameFactor = await run((maximum / (half.report.gradNorm + 1e-6) / 2) * (whole.report.gradNorm + 1e-6))
  expect(differing(clipped.state, sameFactor.state)).toEqual([])
})

test('a scale that is no number is refused, and a hook that throws ends the step before the update', async () => {
  const trainer = await start()
  const before = await stateOf(trainer)
  const reason = new Error('enough')
  await expect(trainer.step(batch, { onGradients: (gradients) => gradients.get(ZEROED)!.scale(NaN) })).rejects.toThrow(/factor/)
  await expect(trainer.step(batch, { onGradients: () => Promise.reject(reason) })).rejects.toBe(reason)
  expect(trainer.globalStep).toBe(0)
  expect(differing(await stateOf(trainer), before)).toEqual([])
  // What the hook had scaled is forgotten.
  const { report, state } = await run(1)
  expect(await trainer.step(batch)).toMatchObject({ loss: report.loss, gradNorm: report.gradNorm })
  expect(differing(await stateOf(trainer), state)).toEqual([])
})

test('onStep hears every step once, in order, with the values of step()', async () => {
  const steps = 5
  const schedule = { batchSize: 2, warmupSteps: 2, totalSteps: 6, decayFrom: 0.5 }
  const dataset = {
    async *[Symbol.asyncIterator]() {
      yield* batch
    }
  }
  const fitted = await start(schedule)
  const reports: StepReport[] = []
  const at: number[] = []
  const pause = 40
  const started = performance.now()
  await fitted.fit(dataset, {
    steps,
    onGradients: () => new Promise((resolve) => setTimeout(resolve, pause)),
    onStep: (report) => {
      reports.push(report)
      at.push(performance.now())
      // A step's report comes after its update and before the next one.
      expect(fitted.globalStep).toBe(report.step + 1)
    }
  })
  const stepped = await start(schedule)
  for (let step = 0; step < steps; step++) {
    const { samplesPerSecond: _, ...wanted } = await stepped.step(batch)
    expect(reports[step]).toMatchObject(wanted)
  }
  expect(reports.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4])
  expect(reports.map(({ learningRate }) => learningRate / options.learningRate)).toEqual([0.5, 1, 1, 1, 2 / 3].map((share) => expect.closeTo(share, 12)))
  for (const { loss, gradNorm } of reports) expect(loss > 0 && gradNorm > 0 && Number.isFinite(loss + gradNorm)).toBe(true)
  // Two videos in a time that holds the hook's pause and lies between two reports. Timers may come 1 ms early.
  reports.forEach(({ samplesPerSecond }, step) => {
    expect(samplesPerSecond).toBeLessThanOrEqual(2000 / (pause - 1))
    expect(samplesPerSecond).toBeGreaterThanOrEqual(2000 / (at[step]! - (at[step - 1] ?? started)))
  })
})
