// Previews: frames of the latents as they are, for whoever iterates a job, and for a hook.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline, randn } from '../../lib/index.js'
import type { Frame, GenerateOptions, PreviewEvent, StepEvent, TensorData } from '../../lib/index.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline, tinyTransformer } from '../support/models.js'

let pipeline: VideoPipeline
let wanted: Buffer
const options = { prompt: 'a red circle', numFrames: 64, seed: 7 } satisfies GenerateOptions
beforeAll(async () => {
  pipeline = await tinyPipeline()
  wanted = bits((await pipeline.generate({ ...options, outputType: 'latents' })).latents)
})
afterAll(() => pipeline.dispose())

/** The events of a job up to its last step and preview. */
async function watch(extra: GenerateOptions): Promise<{ previews: PreviewEvent[]; steps: number[]; order: string[]; latents: Buffer }> {
  const job = pipeline.generate({ ...options, ...extra })
  const previews: PreviewEvent[] = []
  const steps: number[] = []
  const order: string[] = []
  for await (const event of job) {
    if (event.type === 'preview') previews.push(event)
    if (event.type === 'step') steps.push(event.step)
    if (event.type === 'preview' || event.type === 'step') order.push(`${event.type} ${event.step}`)
  }
  return { previews, steps, order, latents: bits((await job).latents) }
}

/** The frames that the VAE makes of latents, all of them. */
async function decoded({ data, shape }: TensorData): Promise<Uint8Array[]> {
  const video = await pipeline.vae.decode({ data, shape }, { numFrames: 64 })
  const [, T = 0, H = 0, W = 0] = video.shape
  return Array.from({ length: T }, (_, t) => Uint8Array.from({ length: 3 * H * W }, (_, i) => Math.round(Math.min(255, Math.max(0, (video.data[((i % 3) * T + t) * H * W + Math.floor(i / 3)]! + 1) * 127.5)))))
}

test('whoever iterates sees five a run, spread evenly, each after its step; the run keeps its bits', async () => {
  const { previews, steps, order, latents } = await watch({ numInferenceSteps: 20 })
  expect(steps).toHaveLength(20)
  expect(previews.map(({ step }) => step)).toEqual([3, 7, 11, 15, 19])
  expect(order.filter((_, i) => order[i + 1]?.startsWith('preview'))).toEqual(previews.map(({ step }) => `step ${step}`))
  expect(latents).toEqual(bits((await pipeline.generate({ ...options, numInferenceSteps: 20, outputType: 'latents' })).latents))
})

test.each<[string, GenerateOptions, number[]]>([
  ['true: after every step', { preview: true, numInferenceSteps: 7 }, [0, 1, 2, 3, 4, 5, 6]],
  ['false: never', { preview: false }, []],
  ['a run of fewer than five steps: after each', {}, [0, 1, 2, 3]],
  ['latents alone: none', { outputType: 'latents' }, []],
  ['latents alone, asked for', { outputType: 'latents', preview: true }, [0, 1, 2, 3]],
  ['chunks in turn: five of all their steps', { method: 'autoregressive', numInferenceSteps: 5 }, [1, 3, 5, 7, 9]]
])('%s', async (_name, extra, expected) => {
  expect((await watch(extra)).previews.map(({ step }) => step)).toEqual(expected)
})

test('they are the middle micro-batch of the decoded latents of their step', async () => {
  const seen: TensorData[] = []
  const previews: PreviewEvent[] = []
  for await (const event of pipeline.generate({ ...options, preview: true })) {
    if (event.type === 'step') seen.push(await event.latents())
    if (event.type === 'preview') previews.push(event)
  }
  expect(previews).toHaveLength(4)
  for (const { step, frames } of previews) {
    const whole = await decoded(seen[step]!)
    expect(frames.map(({ index, width, height }) => [index, width, height])).toEqual(Array.from({ length: 16 }, (_, i) => [16 + i, 32, 32]))
    // Half a step of 255 may round either way.
    for (const { index, data } of frames) expect(Math.max(...data.map((value, i) => Math.abs(value - whole[index]![i]!)))).toBeLessThanOrEqual(1)
  }
})

test('with a hook that replaces latents they show what it left', async () => {
  const zeros = { data: new Float32Array(4 * 20 * 16), shape: [4, 20, 4, 4] }
  const job = pipeline.generate({ ...options, preview: true, onStep: ({ step }: StepEvent) => (step === 1 ? zeros : undefined) })
  const frames: Frame[][] = []
  for await (const event of job) if (event.type === 'preview') frames.push(event.frames)
  const [first] = await decoded(zeros)
  expect(Math.max(...frames[1]![0]!.data.map((value, i) => Math.abs(value - first![i]!)))).toBeLessThanOrEqual(1)
})

test('without anybody who looks there is no work for them', async () => {
  const { native } = pipeline.engine
  const commands = async (extra: GenerateOptions): Promise<number> => {
    await native.fence()
    const before = native.stats().commands
    expect(bits((await pipeline.generate({ ...options, ...extra })).latents)).toEqual(wanted)
    await native.fence()
    return native.stats().commands - before
  }
  expect(await commands({ preview: true })).toBe(await commands({ preview: false }))
  expect(await commands({ onPreview: () => {} })).toBeGreaterThan(await commands({}))
})

test('onPreview is called after every step and awaited, whether or not somebody iterates', async () => {
  const steps: number[] = []
  let busy = 0
  const onPreview = async ({ step, frames, type }: PreviewEvent): Promise<void> => {
    expect([type, frames.length, ++busy]).toEqual(['preview', 16, 1])
    await new Promise((resolve) => setTimeout(resolve, 5))
    busy--
    steps.push(step)
  }
  const video = await pipeline.generate({ ...options, onPreview })
  expect(steps).toEqual([0, 1, 2, 3])
  expect(bits(video.latents)).toEqual(wanted)
  expect((await watch({ onPreview })).previews.map(({ step }) => step)).toEqual([0, 1, 2, 3])
  expect((await watch({ onPreview, preview: false })).previews).toEqual([])
  expect(steps).toHaveLength(12)
})

test('an onPreview that throws rejects the job, and an abort in one stops the run', async () => {
  const failure = new Error('from the preview')
  await expect(
    pipeline.generate({
      ...options,
      onPreview: () => {
        throw failure
      }
    })
  ).rejects.toBe(failure)
  const controller = new AbortController()
  await expect(pipeline.generate({ ...options, signal: controller.signal, onPreview: () => controller.abort(failure) })).rejects.toBe(failure)
  expect(bits((await pipeline.generate(options)).latents)).toEqual(wanted)
})

test('without a VAE there are none, and asking for them is an error before any step', async () => {
  await using bare = await VideoPipeline.fromConfig({ transformer: tinyTransformer }, { device: 'cpu', defaults: { width: 32, height: 32, numInferenceSteps: 2 } })
  const common: GenerateOptions = { promptEmbeds: await randn({ seed: 1, shape: [3, 32] }), outputType: 'latents', numFrames: 16 }
  const types: string[] = []
  for await (const { type } of bare.generate(common)) types.push(type)
  expect(types).toEqual(['plan', 'step', 'step', 'done'])
  let steps = 0
  for (const asked of [{ preview: true }, { onPreview: () => {} }]) {
    await expect(bare.generate({ ...common, ...asked, onStep: () => void steps++ })).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'vae' } })
  }
  expect(steps).toBe(0)
})

test('previews take no memory along', async () => {
  const { native } = pipeline.engine
  await watch({ preview: true })
  await native.fence()
  const before = native.stats()
  for (let i = 0; i < 5; i++) await watch({ preview: true })
  // An iterator that is left with previews in its queue holds nothing either.
  for (let i = 0; i < 5; i++) {
    const job = pipeline.generate({ ...options, preview: true })
    for await (const event of job) if (event.type === 'preview') break
    await job
  }
  await native.fence()
  expect(native.stats().handles).toBeLessThanOrEqual(before.handles)
})
