import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DDIMScheduler, Tensor, VideoPipeline, randn } from '../../lib/index.js'
import type { Frame, GenerateOptions, GenerationEvent, TensorData } from '../../lib/index.js'
import { fuses } from '../../lib/plan/fusion.js'
import { onDevices } from '../support/devices.js'
import { bits, expectSample, fixture, layouts, named, readJson, readTensors } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

describe.each(onDevices(layouts))('%s: a sample of the fixture on %s', (layout, device) => {
  const io = readTensors(`vin-${layout}`, 'io.safetensors')
  const name = Object.keys(io).find((key) => /^sample_\d+_steps_w3$/.test(key)) as string
  const numInferenceSteps = Number(/\d+/.exec(name)?.[0])
  let pipeline: VideoPipeline
  beforeAll(async () => {
    pipeline = await VideoPipeline.fromPretrained(fixture(`vin-${layout}`), { device })
  })
  afterAll(() => pipeline.dispose())
  const options = (fusion: GenerateOptions['fusion']): GenerateOptions => ({
    latents: named(io, 'latents'),
    promptEmbeds: named(io, 'prompt_embeds'),
    scheduler: readJson('schedulers', 'ddim_50.scheduler.json'),
    outputType: 'latents',
    guidanceScale: 3,
    numInferenceSteps,
    fusion
  })

  const fusions = [['mid', '_mid'], ['early', ''], ['late', '_late']] as const
  // 'mid' blends in one half of the steps and not in the other; each takes the emulator several seconds.
  test.each(device === 'cuda-emu' ? fusions.slice(0, 1) : fusions)('%s fusion', async (fusion, suffix) => {
    expectSample((await pipeline.generate(options(fusion))).latents, named(io, `${name}${suffix}`))
  })

  test.runIf(device === 'cpu')('the loop written out by hand gives the bits of generate()', async () => {
    const scheduler = DDIMScheduler.fromConfig(readJson('schedulers', 'ddim_50.scheduler.json'))
    scheduler.setTimesteps(numInferenceSteps)
    let latents = named(io, 'latents')
    for (const [step, timestep] of scheduler.timesteps.entries()) {
      const fuse = fuses('early', step, numInferenceSteps)
      const eps = await pipeline.denoise({ latents, timestep, promptEmbeds: named(io, 'prompt_embeds'), guidanceScale: 3, fuse })
      latents = await scheduler.step(eps, timestep, latents)
    }
    expect(bits(latents)).toEqual(bits((await pipeline.generate(options('early'))).latents))
  })
})

describe('a run', () => {
  let pipeline: VideoPipeline
  const options = { prompt: 'a red circle bounces', numFrames: 64, seed: 7 } satisfies GenerateOptions
  beforeAll(async () => {
    pipeline = await tinyPipeline()
  })
  afterAll(() => pipeline.dispose())

  test('gives latents, frames in order, and everything it was made from', async () => {
    const video = await pipeline.generate(options)
    expect(video.latents.shape).toEqual([4, 20, 4, 4])
    expect(video).toMatchObject({ width: 32, height: 32, fps: 16, numFrames: 64, seed: 7 })
    expect(video.options).toMatchObject({ prompt: 'a red circle bounces', seed: 7, method: 'vin', numInferenceSteps: 4, guidanceScale: 2, chunkFrames: 10, contextFrames: 4 })
    const frames: Frame[] = []
    for await (const frame of video.frames()) frames.push(frame)
    expect(frames.map(({ index }) => index)).toEqual(Array.from({ length: 64 }, (_, i) => i))
    expect(new Set(frames.map(({ data }) => data.length))).toEqual(new Set([32 * 32 * 3]))
  })

  test('the same seed gives the same bits, another seed others, no seed one that is reported', async () => {
    const [one, two, other, random] = await Promise.all([pipeline.generate(options), pipeline.generate(options), pipeline.generate({ ...options, seed: 8 }), pipeline.generate({ ...options, seed: undefined })])
    expect(bits(one.latents)).toEqual(bits(two.latents))
    expect(bits(one.latents)).not.toEqual(bits(other.latents))
    const again = await pipeline.generate({ ...options, seed: random.seed })
    expect(bits(again.latents)).toEqual(bits(random.latents))
  })

  test('start noise is that of randn, whatever the length', async () => {
    const noise = await randn({ seed: 7, shape: [4, 20, 4, 4] })
    const given = await pipeline.generate({ ...options, latents: noise })
    expect(bits(given.latents)).toEqual(bits((await pipeline.generate(options)).latents))
    const longer = await randn({ seed: 7, shape: [4, 40, 4, 4] })
    for (let c = 0; c < 4; c++) expect(longer.data.slice(c * 40 * 16, c * 40 * 16 + 320)).toEqual(noise.data.slice(c * 320, (c + 1) * 320))
  })

  test('events come in order, with decoded frames', async () => {
    const events: GenerationEvent[] = []
    const job = pipeline.generate(options)
    for await (const event of job) events.push(event)
    const types = events.map(({ type }) => type)
    // Four steps: a preview after each.
    expect(types.filter((type, i) => type !== types[i - 1]).join(' ')).toBe(`plan ${'step preview '.repeat(4)}${'decode frames '.repeat(4)}done`)
    expect(events.filter((event) => event.type === 'step').map((event) => event.step)).toEqual([0, 1, 2, 3])
    expect(events.filter((event) => event.type === 'decode').map(({ done, total }) => [done, total])).toEqual([16, 32, 48, 64].map((done) => [done, 64]))
    expect(events.flatMap((event) => (event.type === 'frames' ? event.frames : []))).toHaveLength(64)
    const last = events.at(-1)
    expect(last?.type === 'done' && last.video).toBe(await job)
  })

  test('a step event reads the latents of its step', async () => {
    const seen: TensorData[] = []
    const job = pipeline.generate(options)
    for await (const event of job) if (event.type === 'step') seen.push(await event.latents())
    expect(seen).toHaveLength(4)
    expect(bits(seen[3]!)).toEqual(bits((await job).latents))
    expect(bits(seen[2]!)).not.toEqual(bits(seen[3]!))
  })

  test('a hook that returns latents changes the run; one that throws rejects it', async () => {
    const zeros = { data: new Float32Array(4 * 20 * 16), shape: [4, 20, 4, 4] }
    const replaced = await pipeline.generate({ ...options, onStep: ({ step }) => (step === 3 ? zeros : undefined) })
    expect(bits(replaced.latents)).toEqual(bits(zeros))
    const handle = Tensor.from(zeros, pipeline.engine)
    const byHandle = await pipeline.generate({ ...options, onStep: async ({ step }) => (step === 3 ? handle : undefined) })
    expect(bits(byHandle.latents)).toEqual(bits(zeros))
    handle.dispose()
    const quiet = await pipeline.generate({ ...options, onStep: () => undefined })
    expect(bits(quiet.latents)).toEqual(bits((await pipeline.generate(options)).latents))
    const failure = new Error('from the hook')
    await expect(
      pipeline.generate({
        ...options,
        onStep: () => {
          throw failure
        }
      })
    ).rejects.toBe(failure)
    await expect(pipeline.generate({ ...options, onStep: () => ({ data: new Float32Array(1), shape: [1] }) })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })

  test.each(['DDIMScheduler', 'DPMSolverMultistepScheduler', 'FlowMatchEulerDiscreteScheduler', 'RFlowScheduler'] as const)('%s runs to the end', async (scheduler) => {
    const { latents } = await pipeline.generate({ ...options, scheduler, outputType: 'latents' })
    expect(latents.data.every(Number.isFinite)).toBe(true)
  })

  test('a 10 ms timer keeps firing', async () => {
    let ticks = 0
    let longest = 0
    const start = performance.now()
    let last = start
    const timer = setInterval(() => {
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
      ticks++
    }, 10)
    await pipeline.generate({ ...options, numFrames: 256, numInferenceSteps: 12 })
    clearInterval(timer)
    // How many fit depends on the machine: half of them may be late.
    const elapsed = performance.now() - start
    expect(elapsed).toBeGreaterThan(20)
    expect(ticks).toBeGreaterThanOrEqual(Math.floor(elapsed / 20))
    expect(longest).toBeLessThan(250)
  })

  test('outputType latents needs no VAE and has no pixels', async () => {
    const video = await pipeline.generate({ ...options, outputType: 'latents' })
    await expect(video.frames().next()).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  })

  test('text: unknown words warn, long text is cut with a warning, a timeline chooses per chunk', async () => {
    const unknown = await pipeline.generate({ ...options, prompt: 'a green circle' })
    expect(unknown.warnings).toEqual([expect.objectContaining({ code: 'unknown-words', message: expect.stringMatching(/green.*bounces/) })])
    const long = await pipeline.generate({ ...options, prompt: 'a red circle '.repeat(50) })
    expect(long.warnings).toEqual([expect.objectContaining({ code: 'prompt-truncated' })])
    const timeline = [
      { at: 0, prompt: 'a red circle' },
      { at: 2, prompt: 'a blue square bounces' }
    ]
    const plan = pipeline.plan({ ...options, prompt: timeline })
    expect(plan.prompts).toEqual(['a red circle', 'a blue square bounces'])
    expect(pipeline.plan({ ...options, prompt: [timeline[0]!, { at: { frame: 56 }, prompt: 'a' }] }).prompts).toEqual(['a red circle', 'a red circle'])
    const [one, two] = [await pipeline.generate({ ...options, prompt: timeline }), await pipeline.generate({ ...options, prompt: 'a red circle' })]
    expect(bits(one.latents)).not.toEqual(bits(two.latents))
  })

  test('a text encoder of the caller replaces the model', async () => {
    const embeds = await randn({ seed: 1, shape: [3, 32] })
    pipeline.textEncoder = { encode: async () => ({ embeds, mask: [1, 1, 1] }) }
    const own = await pipeline.generate(options)
    expect(bits(own.latents)).toEqual(bits((await pipeline.generate({ ...options, prompt: undefined, promptEmbeds: embeds })).latents))
    pipeline.textEncoder = pipeline.parts.textEncoder!
  })
})

describe('plan', () => {
  test('says what a run will do', async () => {
    await using pipeline = await tinyPipeline()
    const plan = pipeline.plan({ numFrames: 128, prompt: 'a red circle' })
    expect(plan.latentFrames).toBe(40)
    expect(plan.chunks).toEqual([
      { first: 0, start: 0, end: 10 },
      { first: 6, start: 10, end: 20 },
      { first: 16, start: 20, end: 30 },
      { first: 26, start: 30, end: 40 }
    ])
    expect(plan.overlaps).toHaveLength(3)
    expect(plan.keyframes).toEqual([0, 5, 10, 15, 20, 25, 30, 35])
    expect(Object.keys(plan.flops.byMethod)).toEqual(['vin', 'full', 'autoregressive', 'independent', 'freenoise', 'spectral-blend'])
    expect(plan.flops.perStep).toBe(plan.flops.byMethod['vin'])
    expect(plan.flops.total).toBe(plan.flops.perStep * 2 * 4)
    for (const bytes of Object.values(plan.memory)) expect(bytes).toBeGreaterThan(0)
    expect(plan.memory.peak).toBeGreaterThanOrEqual(plan.memory.weights + plan.memory.activations)
    expect(plan.warnings).toEqual([])
    expect(pipeline.plan({ numFrames: 144 }).warnings).toEqual([expect.objectContaining({ code: 'beyond-trained-length' })])
  })
})
