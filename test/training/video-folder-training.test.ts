// From mp4 files to trained weights: the project's own mp4 writer, captions beside the files, the VAE of a small pipeline.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Trainer, videoFolder } from '../../lib/index.js'
import type { Dataset, StepReport } from '../../lib/index.js'
import { requireFfmpeg } from '../../lib/video/ffmpeg.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'
import { syntheticVideo } from '../video/support.js'
import { Draws } from './philox.js'

const ffmpeg = await requireFfmpeg('test').catch(() => undefined)
let folder: string
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'video-training-'))))
afterAll(() => rm(folder, { recursive: true, force: true }))

test.skipIf(ffmpeg === undefined)('three mp4 files train twenty steps, each of them used in every pass (skipped without ffmpeg, which reads them)', async () => {
  // 16, 32 and 40 video frames are 5, 10 and 13 latent frames, trained as 5, 10 and 10.
  const videos = [['a red circle', 16, [220, 40, 40]], ['a blue square', 32, [40, 60, 220]], ['a circle moves', 40, [90, 200, 90]]] as const
  for (const [index, [prompt, numFrames, colour]] of videos.entries()) {
    const pixel = (x: number, y: number, c: number, frame: number): number => (Math.hypot(x - 10 - frame, y - 32) < 12 ? colour[c]! : 30 + 2 * y)
    await syntheticVideo({ width: 64, height: 64, numFrames, pixel }).save(join(folder, `${index}.mp4`))
    await writeFile(join(folder, `${index}.txt`), `${prompt}\n`)
  }
  const seed = 9
  const source = videoFolder(folder, { width: 32, height: 32, seed })
  const taken: { epoch: number; prompt: string; frames: number }[] = []
  const watched: Dataset = {
    async *examples(epoch, skip) {
      for await (const example of source.examples!(epoch, skip)) {
        taken.push({ epoch, prompt: example.prompt, frames: example.frames!.shape[0] })
        yield example
      }
    },
    [Symbol.asyncIterator]: () => watched.examples!(0, 0)[Symbol.asyncIterator]()
  }
  const pipeline = await tinyPipeline()
  const trainer = new Trainer(pipeline, { lengths: [5, 10], latentFramesPerStep: 10, learningRate: 2e-3, seed: 4 })
  const weight = async () => bits((await pipeline.transformer.native.weight('vin.global_tokens').read()) as { data: Float32Array; shape: number[] })
  const before = await weight()
  const reports: StepReport[] = []
  await trainer.fit(watched, { steps: 20, onStep: (report) => void reports.push(report) })

  expect(reports.map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, step) => step))
  for (const { loss, gradNorm, samplesPerSecond } of reports) expect([loss, gradNorm, samplesPerSecond].every((value) => value > 0 && Number.isFinite(value))).toBe(true)
  expect((await weight()).equals(before)).toBe(false)
  // A pass has every video once, in the order that (seed, pass) gives; twenty steps are at least six passes.
  for (const { prompt, frames } of taken) expect(frames).toBe(videos.find(([name]) => name === prompt)![1])
  const passes = taken.at(-1)!.epoch
  expect(passes).toBeGreaterThanOrEqual(6)
  for (let epoch = 0; epoch < passes; epoch++) {
    const wanted = new Draws(BigInt(seed), 0x10002, epoch).permutation(3).map((index) => videos[index]![0])
    expect(taken.filter((one) => one.epoch === epoch).map(({ prompt }) => prompt)).toEqual(wanted)
  }
  trainer.dispose()
  await pipeline.dispose()
}, 120_000)
