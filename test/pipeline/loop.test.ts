// TypeScript samples, native code evaluates: the loop is short enough to be written by hand, and csrc knows no schedule.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, randn } from '../../lib/index.js'
import type { Scheduler, TensorData, VideoPipeline } from '../../lib/index.js'
import { bits } from '../support/fixtures.js'
import { root } from '../support/addon.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
beforeAll(async () => {
  pipeline = await tinyPipeline()
})
afterAll(() => pipeline.dispose())

/** All of sampling: early fusion blends overlaps while more than 0.4 of the schedule is left. */
async function sampleByHand(scheduler: Scheduler, prompt: string, steps: number, seed: number): Promise<TensorData> {
  const { embeds: promptEmbeds } = await pipeline.textEncoder.encode(prompt)
  scheduler.setTimesteps(steps, { height: 32, width: 32, latentFrames: 20 })
  let latents = await randn({ seed, shape: [4, 20, 4, 4] })
  for (const [step, timestep] of scheduler.timesteps.entries()) {
    const fuse = (steps - step) / steps > 0.4
    const eps = await pipeline.denoise({ latents, timestep, promptEmbeds, guidanceScale: 2, fuse, width: 32, height: 32 })
    latents = await scheduler.step(eps, timestep, latents)
  }
  return latents
}

test.each([
  ['flow match', () => FlowMatchEulerDiscreteScheduler.fromConfig({})],
  ['DPM-Solver++', () => DPMSolverMultistepScheduler.fromConfig({})]
])('%s: ten lines over pipeline.denoise and a scheduler give the bits of generate()', async (_name, scheduler) => {
  const prompt = 'a red circle bounces'
  const video = await pipeline.generate({ prompt, numFrames: 64, numInferenceSteps: 5, seed: 7, scheduler: scheduler(), outputType: 'latents' })
  expect(bits(await sampleByHand(scheduler(), prompt, 5, 7))).toEqual(bits(video.latents))
})

describe('native code has no schedule', () => {
  const files = (readdirSync(join(root, 'csrc'), { recursive: true }) as string[]).filter((name) => /\.(c|h|cpp|def)$/.test(name)).map((name) => join('csrc', name))
  const code = (file: string): string =>
    readFileSync(join(root, file), 'utf8')
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/\/\/.*$/gm, '')
  /** Words of schedules as diffusers and the papers have them. beta1 and beta2 are AdamW's, `timestep` is the number of one evaluation. */
  const words = /\b\w*(schedul|num_inference|inference_steps|num_train_timesteps|set_timesteps|cumprod|sigmas(?!k)|alphas|betas|linspace|solver_order|karras)\w*/i

  test('no word of one', () => {
    expect(files.length).toBeGreaterThan(100)
    expect(files.flatMap((file) => code(file).split('\n').filter((line) => words.test(line)).map((line) => `${file}: ${line.trim()}`))).toEqual([])
  })

  // t_embedder takes the time codes of one evaluation: the timestep, 0 for conditioning frames, and what frames have of their own; in training those of each video of a
  // batch.
  test('`timesteps` names the time codes of one evaluation and nothing else', () => {
    const lines = files.flatMap((file) => code(file).split('\n').filter((line) => /\btimesteps\b/.test(line)).map((line) => ({ file: file.replaceAll('\\', '/'), line: line.trim() })))
    expect(new Set(lines.map(({ file }) => file))).toEqual(new Set(['csrc/models/denoise.cpp', 'csrc/models/dit.cpp', 'csrc/models/dit.h']))
    for (const { line } of lines) expect(line).toMatch(/time_vector\(|embed\(timesteps|^std::vector<float> timesteps, fps;$|timesteps\.push_back\(static_cast<float>\(time\)\)/)
  })

  test('one evaluation takes one timestep: a list is refused at once', async () => {
    const { embeds } = await pipeline.textEncoder.encode('a red circle')
    const engine = pipeline.engine.native
    const [latents, text] = [engine.upload(new Float32Array(4 * 10 * 16), [4, 10, 4, 4]), engine.upload(embeds.data, embeds.shape)]
    const request = { latents, text, guidanceScale: 1, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 10 }], fuse: false }
    expect(() => pipeline.transformer.native.denoise({ ...request, timestep: [999, 500] as unknown as number })).toThrow(/timestep/)
    const eps = pipeline.transformer.native.denoise({ ...request, timestep: 500 })
    await eps.ready()
    for (const tensor of [latents, text, eps]) tensor.dispose()
  })
})
