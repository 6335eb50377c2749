// onStep as a sampling hook: a run with one is the loop written out by hand, in bits.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, Tensor, randn } from '../../lib/index.js'
import type { GenerateOptions, StepEvent, TensorData, VideoPipeline } from '../../lib/index.js'
import { fuses } from '../../lib/plan/fusion.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let promptEmbeds: TensorData
let replacement: TensorData
let given: TensorData
const steps = 5
const options = { numFrames: 64, seed: 3, numInferenceSteps: steps, guidanceScale: 2, outputType: 'latents' } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
  promptEmbeds = await randn({ seed: 4, shape: [5, 32] })
  replacement = await randn({ seed: 9, shape: [4, 20, 4, 4] })
  given = await randn({ seed: 5, shape: [4, 5, 4, 4] })
})
afterAll(() => pipeline.dispose())

const run = async (extra: GenerateOptions): Promise<TensorData> => (await pipeline.generate({ ...options, promptEmbeds, ...extra })).latents
const half = ({ data, shape }: TensorData): TensorData => ({ data: data.map((value) => value / 2), shape: [...shape] })

/** The sampling loop, with `change` in the place of the hook. */
async function loop(scheduler: FlowMatchEulerDiscreteScheduler | DPMSolverMultistepScheduler, change: (step: number, latents: TensorData) => TensorData | undefined, frameMask?: number[]): Promise<TensorData> {
  scheduler.setTimesteps(steps)
  let latents = await randn({ seed: 3, shape: [4, 20, 4, 4] })
  if (frameMask !== undefined) for (let c = 0; c < 4; c++) latents.data.set(given.data.subarray(c * 80, (c + 1) * 80), c * 320)
  for (const [step, timestep] of scheduler.timesteps.entries()) {
    const output = await pipeline.denoise({ latents, timestep, promptEmbeds, guidanceScale: 2, fuse: fuses('early', step, steps), frameMask })
    const fixed = latents
    latents = await scheduler.step(output, timestep, latents)
    // The loop leaves conditioning frames as they are.
    if (frameMask !== undefined) for (let c = 0; c < 4; c++) latents.data.set(fixed.data.subarray(c * 320, c * 320 + 80), c * 320)
    latents = change(step, latents) ?? latents
  }
  return latents
}

describe.each([
  ['flow match', () => FlowMatchEulerDiscreteScheduler.fromConfig({})],
  ['DPM-Solver++, which carries the last x0', () => DPMSolverMultistepScheduler.fromConfig({})]
] as const)('%s', (_name, scheduler) => {
  test.each([0, 2, steps - 1])('latents returned at step %i are those of a loop that does the same', async (at) => {
    const replaced = await run({ scheduler: scheduler(), onStep: ({ step }) => (step === at ? replacement : undefined) })
    expect(bits(replaced)).toEqual(bits(await loop(scheduler(), (step) => (step === at ? replacement : undefined))))
    expect(bits(replaced)).not.toEqual(bits(await run({ scheduler: scheduler() })))
  })

  test('so is a hook that changes the latents of every step', async () => {
    const changed = await run({ scheduler: scheduler(), onStep: async ({ latents }) => half(await latents()) })
    expect(bits(changed)).toEqual(bits(await loop(scheduler(), (_, latents) => half(latents))))
  })

  test('with given frames in front', async () => {
    const frameMask = Array.from({ length: 20 }, (_, frame) => (frame < 5 ? 0 : 1))
    const changed = await run({ scheduler: scheduler(), video: { latents: given }, onStep: ({ step }) => (step === 2 ? replacement : undefined) })
    expect(bits(changed)).toEqual(bits(await loop(scheduler(), (step) => (step === 2 ? replacement : undefined), frameMask)))
  })
})

test.each<[string, (event: StepEvent) => unknown]>([
  ['undefined', () => undefined],
  ['a promise of undefined', async () => undefined],
  ['what the step made', ({ latents }) => latents()],
  ['a number, as push does', () => 3]
])('a hook that returns %s changes nothing', async (_name, onStep) => {
  expect(bits(await run({ onStep: onStep as never }))).toEqual(bits(await run({})))
})

test('a handle is copied and stays with its owner', async () => {
  const handle = Tensor.from(replacement, pipeline.engine)
  const later = half(replacement)
  const changed = await run({
    onStep: async ({ step }) => {
      if (step === 1) return handle
      if (step !== 2) return undefined
      // Written over while the run goes on with its copy.
      const other = pipeline.engine.native.upload(later.data, later.shape)
      pipeline.engine.native.op('copy', { y: handle.native, x: other })
      other.dispose()
      return undefined
    }
  })
  expect(bits(changed)).toEqual(bits(await run({ onStep: ({ step }) => (step === 1 ? replacement : undefined) })))
  expect(bits(await handle.read())).toEqual(bits(later))
  handle.dispose()
})

test('the event shows its step before the hook answers, and the latents only until then', async () => {
  const seen: TensorData[] = []
  const timesteps: number[] = []
  let kept: StepEvent | undefined
  await run({
    onStep: async (event) => {
      expect(event).toMatchObject({ type: 'step', step: seen.length, numInferenceSteps: steps })
      timesteps.push(event.timestep)
      seen.push(await event.latents())
      kept ??= event
      return half(seen.at(-1)!)
    }
  })
  const made: TensorData[] = []
  await loop(FlowMatchEulerDiscreteScheduler.fromConfig({}), (_, latents) => {
    made.push(latents)
    return half(latents)
  })
  expect(seen.map(bits)).toEqual(made.map(bits))
  const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
  scheduler.setTimesteps(steps)
  expect(timesteps).toEqual(scheduler.timesteps)
  await expect(kept!.latents()).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
})

test('etaMs is what the steps so far took times the steps to come, in hook and event alike', async () => {
  const hooked: number[] = []
  const took: number[] = []
  const events: number[] = []
  let last = performance.now()
  const onStep = async ({ etaMs }: StepEvent): Promise<void> => {
    hooked.push(etaMs)
    const now = performance.now()
    took.push(now - last)
    last = now
    await new Promise((resolve) => setTimeout(resolve, 40))
  }
  const job = pipeline.generate({ ...options, promptEmbeds, onStep })
  for await (const event of job) if (event.type === 'step') events.push(event.etaMs)
  expect(events).toEqual(hooked)
  expect(hooked.at(-1)).toBe(0)
  // From the second step on a step holds the wait of the hook before it. The median lies among the steps.
  for (const step of [2, 3]) {
    expect(hooked[step]).toBeGreaterThanOrEqual(38 * (steps - 1 - step))
    expect(hooked[step]).toBeLessThanOrEqual((Math.max(...took) + 20) * (steps - 1 - step))
  }
})

test.each<[string, (failure: Error) => GenerateOptions['onStep']]>([
  ['throws', (failure) => () => { throw failure }],
  ['rejects', (failure) => async () => Promise.reject(failure)],
  ['rejects late', (failure) => async ({ step }) => { await new Promise((resolve) => setTimeout(resolve, 20)); if (step === 3) throw failure }]
])('a hook that %s rejects the job with its error, the iterator too, and the pipeline is usable at once (A3)', async (_name, hook) => {
  const failure = new Error('from the hook')
  const wanted = bits(await run({}))
  const handles = pipeline.engine.native.stats().handles
  const job = pipeline.generate({ ...options, promptEmbeds, onStep: hook(failure) })
  const iterated = (async () => {
    for await (const event of job) expect(event.type).not.toBe('done')
  })()
  await expect(iterated).rejects.toBe(failure)
  await expect(job).rejects.toBe(failure)
  expect(bits(await run({}))).toEqual(wanted)
  await pipeline.engine.native.fence()
  expect(pipeline.engine.native.stats().handles).toBeLessThanOrEqual(handles)
})

test.each<[string, unknown, string]>([
  ['another shape', { data: new Float32Array(80), shape: [4, 5, 2, 2] }, 'ERR_OUT_OF_RANGE'],
  ['data that does not fill its shape', { data: new Float32Array(3), shape: [4, 20, 4, 4] }, 'ERR_OUT_OF_RANGE'],
  ['doubles', { data: new Float64Array(1280), shape: [4, 20, 4, 4] }, 'ERR_INVALID_ARG_TYPE']
])('%s is refused, and says where it came from', async (_name, answer, code) => {
  const job = run({ onStep: () => answer as never })
  await expect(job).rejects.toMatchObject({ code, message: expect.stringContaining('returned by onStep') })
})

test('a saved state holds what the hook left: a run that goes on needs it no more', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vin-hooks-'))
  try {
    const onStep = ({ step }: StepEvent): TensorData | undefined => (step === 1 ? replacement : undefined)
    const stopped = run({
      resume: folder,
      onStep: (event) => {
        if (event.step === 2) throw new Error('killed')
        return onStep(event)
      }
    })
    await expect(stopped).rejects.toThrow('killed')
    expect(bits(await run({ resume: folder }))).toEqual(bits(await run({ onStep })))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test.each([['numbers without a shape', new Float32Array(4)], ['latents in a wrapping', { latents: { data: new Float32Array(4), shape: [4] } }]])('onStep that returns %s is a TypeError, not a run that ignores it', async (_, answer) => {
  const options = { prompt: 'a red circle', numFrames: 5, numInferenceSteps: 2, seed: 1, outputType: 'latents' as const }
  await expect(pipeline.generate({ ...options, onStep: () => answer as never })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining('for what onStep returned') as string })
})
