// One evaluation of the built-in model with guidance; how it scales with threads; what `vin` costs beside this project's own `full`.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import { evaluationFlops } from '../../lib/plan/cost.js'
import { planChunks, wholeVideo } from '../../lib/plan/chunks.js'
import { planKeyframes } from '../../lib/plan/keyframes.js'
import { allThreads, compareWithPeer, few, measure, record, timed } from './harness.js'
import type { Work } from './harness.js'
import { costOf, demoFolder, inputsOf, planOf } from './model.js'
import { Peer } from './peer.js'
import { ratio } from './table.js'

const timestep = 700
const guidanceScale = 2
const fps = 16
const textRows = 12

let demo: VideoPipeline
let peer: Peer | undefined

beforeAll(async () => {
  demo = await VideoPipeline.fromPretrained(demoFolder, { device: 'cpu', threads: allThreads })
  peer = await Peer.open()
})

afterAll(async () => {
  await peer?.close()
  await demo.dispose()
})

test.each(few([20, 40, 80]))('built-in model, %i latent frames', async (latentFrames) => {
  const { config } = demo.transformer
  const { chunks, keyframes } = planOf(config, latentFrames)
  const { latents, text } = await inputsOf(config, latentFrames, 64, 64, textRows)
  const denoise = () => demo.denoise({ latents, timestep, promptEmbeds: text, guidanceScale, fps })
  await compareWithPeer({
    group: 'denoise', work: `built-in model, ${latentFrames} latent frames`, ours: timed(denoise), peer,
    operations: 2 * evaluationFlops(costOf(config, 64, 64, textRows), { chunks, keyframes }),
    outputs: async () => ({ eps: await denoise() }),
    check: ({ eps }) => expect(eps!.data.every((value) => Number.isFinite(value) && value !== 0)).toBe(true),
    same: {
      work: 'denoise',
      inputs: { latents, text, timestep: { data: Float32Array.of(timestep), shape: [1] } },
      options: { folder: `${demoFolder}/transformer`, latentFrames, height: 64, width: 64, fps, guidanceScale, keyframes, chunks: chunks.map(({ first, start, end }) => [first, start, end]) }
    },
    // 2e-5 for one evaluation, of which guidance adds two of the conditional and one of the other.
    tolerance: 6e-5
  })
})

test.skipIf(allThreads === 1)(`chunk scaling, 1 → ${allThreads} threads (needs two cores)`, async () => {
  const one = await VideoPipeline.fromPretrained(demoFolder, { device: 'cpu', threads: 1 })
  const latentFrames = 80
  const { latents, text } = await inputsOf(demo.transformer.config, latentFrames, 64, 64, textRows)
  const denoise = (pipeline: VideoPipeline) => pipeline.denoise({ latents, timestep, promptEmbeds: text, guidanceScale, fps })
  const [alone, together] = [await denoise(one), await denoise(demo)]
  expect(Buffer.from(together.data.buffer).equals(Buffer.from(alone.data.buffer)), 'same bits').toBe(true)
  const { seconds } = await measure({ one: timed(() => denoise(one)), all: timed(() => denoise(demo)) }, allThreads)
  await one.dispose()
  const ratios = { 'times faster than 1 thread': ratio(seconds['one']!, seconds['all']!) }
  record({ group: 'chunk scaling', work: `built-in model, ${latentFrames} latent frames`, threads: allThreads, ratios, seconds })
})

// A quarter of the paper's model in every size (hidden 1152, 28 + 28 blocks, 240 tokens a frame, VIN 512 × 4096 with 4 blocks): shares of FLOPs as there, 1/256 of the work.
const quarter = (attention_layout: 'hybrid' | 'full') => ({
  attention_layout, depth: 7, hidden_size: 288, num_heads: 4, caption_channels: 1024, model_max_length: 75, pred_sigma: false, input_sq_size: 128, chunk_frames: 20, context_frames: 8,
  max_latent_frames: 160, vin: { num_global_tokens: 128, dim: 1024, num_heads: 16, num_blocks: 1, keyframe_interval: 1 }
})

describe.each(few(['hybrid', 'full'] as const))('vin beside full, layout %s', (layout) => {
  let pipeline: VideoPipeline

  beforeAll(async () => {
    pipeline = await VideoPipeline.fromConfig({ transformer: quarter(layout) }, { device: 'cpu', threads: allThreads })
  })

  afterAll(() => pipeline.dispose())

  test.each(few([20, 40, 80, 160]))('%i latent frames', async (latentFrames) => {
    const [height, width, rows] = [96, 160, 75]
    const { latents, text } = await inputsOf(pipeline.transformer.config, latentFrames, height, width, rows)
    const cost = costOf(pipeline.transformer.config, height, width, rows)
    // One chunk has no context.
    const contexts = latentFrames === 20 ? [8] : [0, 8, 12]
    const run = (method: 'vin' | 'full', contextFrames: number): Work => timed(() => pipeline.denoise({ latents, timestep, promptEmbeds: text, method, contextFrames, fps }))
    const contenders: Record<string, Work> = { full: run('full', 0) }
    for (const context of contexts) contenders[`vin, context ${context}`] = run('vin', context)
    const { seconds } = await measure(contenders, allThreads)
    const full = evaluationFlops(cost, { chunks: wholeVideo(latentFrames) })
    for (const context of contexts) {
      const time = ratio(seconds[`vin, context ${context}`]!, seconds['full']!)
      const flops = evaluationFlops(cost, { chunks: planChunks(latentFrames, 20, context), keyframes: planKeyframes(latentFrames, 1, pipeline.transformer.config.latent_fps) }) / full
      expect(time.median).toBeGreaterThan(0)
      const ratios = { 'time vin : full': time, 'FLOPs vin : full': flops, 'time : FLOPs': ratio(time.rounds, time.rounds.map(() => flops)) }
      const of = (name: string) => seconds[name]!
      record({
        group: 'vin beside full', work: `${layout}, ${latentFrames} latent frames, context ${context}`, threads: allThreads, ratios,
        seconds: { vin: of(`vin, context ${context}`), full: of('full') }
      })
    }
  })
})
