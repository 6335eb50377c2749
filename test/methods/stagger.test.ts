// Chunks at different noise levels: what a run is, what it shows early, and what it keeps.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, randn, VideoPipeline } from '../../lib/index.js'
import type { Frame, GenerateOptions, GenerationEvent, TensorData } from '../../lib/index.js'
import type { EvaluationRequest } from '../../lib/native/binding.js'
import type { Device } from '../../lib/native/backends.js'
import { devices } from '../support/devices.js'
import { bits, compare, layouts } from '../support/fixtures.js'
import { shake, tinyPipeline, tinyTransformer } from '../support/models.js'

let pipeline: VideoPipeline
let promptEmbeds: TensorData
beforeAll(async () => {
  promptEmbeds = await randn({ seed: 4, shape: [5, 32] })
})
const open = (device: Device): void => {
  beforeAll(async () => {
    pipeline = await tinyPipeline({ device })
  })
  afterAll(() => pipeline.dispose())
}

const run = async (extra: GenerateOptions): Promise<TensorData> => (await pipeline.generate({ numFrames: 96, seed: 3, outputType: 'latents', promptEmbeds, ...extra })).latents

const frames = ({ data, shape: [C = 0, N = 0, H = 0, W = 0] }: TensorData, begin: number, end: number): TensorData => {
  const plane = H * W
  const out = new Float32Array(C * (end - begin) * plane)
  for (let c = 0; c < C; c++) out.set(data.subarray((c * N + begin) * plane, (c * N + end) * plane), c * (end - begin) * plane)
  return { data: out, shape: [C, end - begin, H, W] }
}

describe.each(devices)('one evaluation on %s', (device) => {
  open(device)

  test('chunks that know nothing of each other are each evaluated at their own time', async () => {
    const latents = await randn({ seed: 8, shape: [4, 20, 4, 4] })
    const alone = { method: 'independent', contextFrames: 0, promptEmbeds, guidanceScale: 2 } as const
    const frameTimesteps = Array.from({ length: 20 }, (_, frame) => (frame < 10 ? 300 : 800))
    const both = await pipeline.denoise({ ...alone, latents, timestep: 800, frameTimesteps })
    expect(bits(frames(both, 0, 10))).toEqual(bits(frames(await pipeline.denoise({ ...alone, latents, timestep: 300 }), 0, 10)))
    expect(bits(frames(both, 10, 20))).toEqual(bits(frames(await pipeline.denoise({ ...alone, latents, timestep: 800 }), 10, 20)))
  })

  test('frames at the time of the evaluation change nothing; others change what depends on them', async () => {
    const latents = await randn({ seed: 8, shape: [4, 25, 4, 4] })
    const plain = { latents, timestep: 600, promptEmbeds, guidanceScale: 2 }
    const eps = await pipeline.denoise(plain)
    expect(bits(await pipeline.denoise({ ...plain, frameTimesteps: Array<number>(25).fill(600) }))).toEqual(bits(eps))
    const frameMask = Array.from({ length: 25 }, (_, frame) => (frame < 3 ? 0 : 1))
    expect(bits(await pipeline.denoise({ ...plain, frameMask, frameTimesteps: Array<number>(25).fill(600) }))).toEqual(bits(await pipeline.denoise({ ...plain, frameMask })))
    // A frame of the middle chunk's context: the chunk that owns it and the one that reads it.
    const one = await pipeline.denoise({ ...plain, frameTimesteps: Array.from({ length: 25 }, (_, frame) => (frame === 8 ? 200 : 600)) })
    for (const [begin, end, changes] of [[0, 10, true], [10, 20, true], [20, 25, false]] as const) expect(compare(frames(one, begin, end), frames(eps, begin, end)).difference > 1e-5).toBe(changes)
  })

  test('what is no time of every frame is refused', async () => {
    const base = { latents: await randn({ seed: 8, shape: [4, 10, 4, 4] }), timestep: 600, promptEmbeds }
    await expect(pipeline.denoise({ ...base, frameTimesteps: [1, 2] })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('Expected 10 numbers, one for each latent frame, for frameTimesteps') as string })
    await expect(pipeline.denoise({ ...base, frameTimesteps: Array<number>(10).fill(-1) })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: 'Expected a number from 0 to 1e6 for frameTimesteps[0] but received -1' })
    await expect(pipeline.denoise({ ...base, frameTimesteps: 3 as never })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  })
})

describe.each(devices)('a run on %s', (device) => {
  open(device)
  const onCpu = test.runIf(device === 'cpu')

  test('no lag keeps every bit; a lag is another run; chunks in flight change none of it', async () => {
    const plain = await run({})
    expect(bits(await run({ stagger: 0 }))).toEqual(bits(plain))
    const lagging = await run({ stagger: 2, chunksInFlight: 1 })
    expect(compare(lagging, plain).difference).toBeGreaterThan(1e-4)
    expect(bits(await run({ stagger: 2, chunksInFlight: 3 }))).toEqual(bits(lagging))
    expect(bits(await run({ stagger: 3, numFrames: 32 }))).toEqual(bits(await run({ numFrames: 32 })))
  })

  test.each(layouts)('layout %s: a lag of all steps without global tokens is autoregressive', async (layout) => {
    await using own = await VideoPipeline.fromConfig({ transformer: { ...tinyTransformer, attention_layout: layout }, scheduler: 'FlowMatchEulerDiscreteScheduler' }, { device, seed: 11, defaults: { width: 32, height: 32, numInferenceSteps: 4, guidanceScale: 2 } })
    shake(own)
    const request = { numFrames: 96, seed: 3, outputType: 'latents', promptEmbeds } satisfies GenerateOptions
    const [lagging, inTurn] = [await own.generate({ ...request, method: 'independent', stagger: 4 }), await own.generate({ ...request, method: 'autoregressive' })]
    expect(bits(lagging.latents)).toEqual(bits(inTurn.latents))
  })

  test.each([
    ['flow match', () => FlowMatchEulerDiscreteScheduler.fromConfig({})],
    ['DPM-Solver++', () => DPMSolverMultistepScheduler.fromConfig({})]
  ])('%s: it is the loop written out', async (_name, scheduler) => {
    const [steps, stagger, N] = [5, 2, 20]
    const schedulers = [scheduler(), scheduler()]
    for (const own of schedulers) own.setTimesteps(steps)
    let latents = await randn({ seed: 3, shape: [4, N, 4, 4] })
    for (let step = 0; step < steps + stagger; step++) {
      const own = [step, step - stagger]
      const active = own.map((at) => at >= 0 && at < steps)
      const times = own.map((at, chunk) => (at < steps ? schedulers[chunk]!.timesteps[Math.max(0, at)]! : 0))
      const ofFrames = <T>(values: T[]): T[] => Array.from({ length: N }, (_, frame) => values[frame < 10 ? 0 : 1]!)
      const fuse = active.every(Boolean) && (steps - own[0]!) / steps > 0.4
      const eps = await pipeline.denoise({ latents, timestep: Math.max(...times), frameTimesteps: ofFrames(times), frameMask: ofFrames(active.map(Number)), promptEmbeds, guidanceScale: 2, fuse })
      const next = latents.data.slice()
      for (const [chunk, [begin, end]] of ([[0, 10], [10, 20]] as const).entries()) {
        if (!active[chunk]) continue
        const part = await schedulers[chunk]!.step(frames(eps, begin, end), times[chunk]!, frames(latents, begin, end))
        for (let c = 0; c < 4; c++) next.set(part.data.subarray(c * 160, (c + 1) * 160), (c * N + begin) * 16)
      }
      latents = { data: next, shape: latents.shape }
    }
    expect(bits(await run({ numFrames: 64, numInferenceSteps: steps, stagger, scheduler: scheduler() }))).toEqual(bits(latents))
  })

  onCpu.each([['vin', 1, 2], ['vin', 4, 2], ['vin', 2, 1], ['independent', 3, 2]] as const)('%s, %i steps behind: the plan counts the evaluations that it makes', async (method, stagger, guidanceScale) => {
    const native = pipeline.transformer.native
    const { denoise } = native
    let [evaluations, steps] = [0, 0]
    const counting = (request: EvaluationRequest): ReturnType<typeof denoise> => {
      steps++
      for (const { start, end } of request.chunks) if (request.frameMask!.slice(start, end).includes(1)) evaluations += request.negativeText === undefined ? 1 : 2
      return denoise.call(native, request)
    }
    Object.defineProperty(native, 'denoise', { value: counting, configurable: true })
    try {
      const reports: number[] = []
      const video = await pipeline.generate({ numFrames: 96, seed: 3, outputType: 'latents', promptEmbeds, method, stagger, guidanceScale, onStep: ({ step, numInferenceSteps }) => void reports.push(step, numInferenceSteps) })
      expect(video.plan.flops.evaluations).toBe(evaluations)
      expect(evaluations).toBe(3 * 4 * guidanceScale)
      expect(steps).toBe(4 + 2 * stagger)
      expect(reports).toEqual(Array.from({ length: steps }, (_, step) => [step, steps]).flat())
    } finally {
      Reflect.deleteProperty(native, 'denoise')
    }
    const [lagging, plain] = [stagger, 0].map((lag) => pipeline.plan({ numFrames: 96, method, stagger: lag, guidanceScale }).flops)
    expect(lagging!.evaluations).toBe(plain!.evaluations)
    // The VIN reads the video in every step.
    if (method === 'vin') expect(lagging!.total).toBeGreaterThan(plain!.total)
    else expect(lagging!.total).toBe(plain!.total)
  })

  test('a step cache computes the first and the last step of every chunk', async () => {
    const request = { stagger: 2, numInferenceSteps: 8, guidanceScale: 1 } as const
    const plain = await run(request)
    expect(bits(await run({ ...request, stepCache: 0 }))).toEqual(bits(plain))
    const computed: boolean[] = []
    const cached = await run({ ...request, stepCache: 100, onStep: (event) => void computed.push(event.computed) })
    // Three chunks begin in steps 0, 2, 4 and end in 7, 9, 11.
    expect(computed).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((step) => [0, 2, 4, 7, 9, 11].includes(step)))
    expect(bits(cached)).not.toEqual(bits(plain))
  })

  onCpu('given frames stay as they are, and a chunk that owns nothing else waits for nobody', async () => {
    const picture = { data: Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (i * 7) % 256), width: 32, height: 32 }
    const [plain, lagging] = [await run({ image: picture }), await run({ image: picture, stagger: 2 })]
    expect(bits(frames(lagging, 0, 1))).toEqual(bits(frames(plain, 0, 1)))
    const given = { latents: frames(plain, 0, 10) }
    const steps: number[] = []
    const extended = await run({ video: given, stagger: 2, onStep: ({ step }) => void steps.push(step) })
    expect(bits(frames(extended, 0, 10))).toEqual(bits(given.latents))
    expect(steps).toHaveLength(6)
  })

  test.each(['FlowMatchEulerDiscreteScheduler', 'DPMSolverMultistepScheduler'] as const)('%s: stopped at any step, it ends in the same bits', async (scheduler) => {
    const options = { stagger: 2, scheduler, numInferenceSteps: 5 } as const
    const wanted = bits(await run(options))
    for (const stop of device === 'cpu' ? [1, 4, 6, 7] : [4]) {
      const folder = await mkdtemp(join(tmpdir(), 'vin-stagger-'))
      const controller = new AbortController()
      await expect(run({ ...options, resume: folder, signal: controller.signal, onStep: ({ step }) => (step === stop ? controller.abort(new Error('stopped')) : undefined) })).rejects.toThrow('stopped')
      const steps: number[] = []
      expect(bits(await run({ ...options, resume: folder, onStep: ({ step }) => void steps.push(step) }))).toEqual(wanted)
      expect(steps[0]).toBe(stop + 1)
      await rm(folder, { recursive: true })
    }
  })

  onCpu('other methods, and a lag of more than all steps, are refused', () => {
    expect(() => pipeline.plan({ method: 'full', stagger: 1 })).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', message: "Expected method 'vin' or 'independent' beside stagger but received 'full'" }))
    expect(() => pipeline.plan({ stagger: 5 })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', message: 'Expected stagger of at most numInferenceSteps 4 but received 5' }))
    expect(() => pipeline.plan({ stagger: 0.5 })).toThrow(RangeError)
    expect(pipeline.plan({ method: 'full', stagger: 0 }).chunks).toHaveLength(1)
  })
})

describe('watching', () => {
  open('cpu')
  const request = { numFrames: 96, seed: 3, stagger: 3, preview: false } satisfies GenerateOptions

  test('frames of finished chunks come before the last steps, in order, and are those of the video', async () => {
    const events: GenerationEvent[] = []
    for await (const event of pipeline.generate({ ...request, promptEmbeds })) events.push(event)
    const order = events.map((event) => (event.type === 'step' ? `step ${event.step}` : event.type === 'frames' ? `frames ${event.frames[0]!.index}` : event.type))
    // 30 latent frames in chunks of 10, each two micro-batches of 16 frames; the first chunk is finished after step 3, the second after step 6.
    expect(order.filter((what) => what !== 'decode')).toEqual(['plan', 'step 0', 'step 1', 'step 2', 'step 3', 'frames 0', 'frames 16', 'step 4', 'step 5', 'step 6', 'frames 32', 'frames 48', 'step 7', 'step 8', 'step 9', 'frames 64', 'frames 80', 'done'])
    const shown = events.flatMap((event) => (event.type === 'frames' ? event.frames : []))
    const { video } = events.at(-1) as Extract<GenerationEvent, { type: 'done' }>
    const decoded: Frame[] = []
    for await (const frame of video.frames()) decoded.push(frame)
    expect(shown).toEqual(decoded)
    expect(bits(video.latents)).toEqual(bits(await run({ stagger: 3 })))
  })

  test('who comes late, and who goes on from a saved state, gets all of them in order', async () => {
    const indices = async (events: AsyncIterable<GenerationEvent>): Promise<number[]> => {
      const seen: number[] = []
      for await (const event of events) if (event.type === 'frames') seen.push(...event.frames.map(({ index }) => index))
      return seen
    }
    const all = Array.from({ length: 96 }, (_, index) => index)
    const job = pipeline.generate({ ...request, promptEmbeds })
    let late: Promise<number[]> | undefined
    const first: number[] = []
    for await (const event of job) {
      if (event.type === 'frames') first.push(...event.frames.map(({ index }) => index))
      if (event.type === 'step' && event.step === 5) late = indices(job)
    }
    expect(first).toEqual(all)
    expect(await late).toEqual(all)
    const folder = await mkdtemp(join(tmpdir(), 'vin-stagger-'))
    const controller = new AbortController()
    await expect(pipeline.generate({ ...request, promptEmbeds, resume: folder, signal: controller.signal, onStep: ({ step }) => (step === 5 ? controller.abort(new Error('stopped')) : undefined) })).rejects.toThrow('stopped')
    const order: string[] = []
    for await (const event of pipeline.generate({ ...request, promptEmbeds, resume: folder })) if (event.type === 'step' || event.type === 'frames') order.push(event.type === 'step' ? `step ${event.step}` : `frames ${event.frames[0]!.index}`)
    expect(order).toEqual(['step 6', 'frames 0', 'frames 16', 'frames 32', 'frames 48', 'step 7', 'step 8', 'step 9', 'frames 64', 'frames 80'])
    await rm(folder, { recursive: true })
  })

  test('who stops watching stops nothing; who cancels after the first frames stops the run', async () => {
    const watched = pipeline.generate({ ...request, promptEmbeds })
    for await (const event of watched) if (event.type === 'frames') break
    expect(bits((await watched).latents)).toEqual(bits(await run({ stagger: 3 })))
    const job = pipeline.generate({ ...request, promptEmbeds })
    await expect(
      (async () => {
        for await (const event of job) if (event.type === 'frames') job.cancel(new Error('seen enough'))
      })()
    ).rejects.toThrow('seen enough')
    await expect(job).rejects.toThrow('seen enough')
    expect((await run({ numFrames: 32 })).shape).toEqual([4, 10, 4, 4])
  })
})
