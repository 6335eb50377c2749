// evaluate:demo on a small untrained model: what it shows means nothing, how it is measured does.

import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, TensorData } from '../../lib/index.js'
import { evaluateDemo } from '../../models/demo/evaluation/command.js'
import { gapPrompt, measureGap, sampleWithTokens, sideBorder } from '../../models/demo/evaluation/gap.js'
import { latentDeviations, latentNoiseLevels, measureLatentNoise } from '../../models/demo/evaluation/latent-noise.js'
import { latentFrames } from '../../models/demo/evaluation/latents.js'
import { measureLosses, probeLoss } from '../../models/demo/evaluation/losses.js'
import { framesThroughMp4, readLatents, worldPixels } from '../../models/demo/evaluation/pixels.js'
import { embedPrompt, resolveSampler } from '../../models/demo/evaluation/sampler.js'
import { sheetFrames } from '../../models/demo/evaluation/sheet.js'
import { readFrame, readSegment } from '../../models/demo/evaluation/attributes.js'
import { colourNames, measureWords, wordEffects } from '../../models/demo/evaluation/words.js'
import { randn } from '../../lib/native/ops.js'
import { demoTokenizerJson } from '../../models/demo/recipe/tokenizer.js'
import { drawWorld, renderFrame, WORLD_SIZE } from '../../lib/training/demo-world.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { streams } from '../../lib/training/random.js'
import { readImage } from '../../lib/video/image.js'
import { Video } from '../../lib/video/video.js'
import { smallDemo } from '../support/demo.js'
import { bits } from '../support/fixtures.js'
import { shake } from '../support/models.js'

let folder = ''
let pipeline: VideoPipeline
const modelFolder = () => join(folder, 'model')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-evaluate-'))
  const { vae, transformer, textEncoder } = smallDemo
  pipeline = await VideoPipeline.fromConfig(
    { vae, transformer, textEncoder, tokenizer: demoTokenizerJson(), scheduler: { _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 2 } },
    { device: 'cpu', seed: 3, defaults: { width: 64, height: 64, fps: 16, numInferenceSteps: 2, guidanceScale: 2 } }
  )
  shake(pipeline)
  await pipeline.save(modelFolder())
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true, force: true })
})
afterEach(() => vi.unstubAllEnvs())

const ffmpeg = spawnSync('ffmpeg', ['-version']).status === 0
const withoutFfmpeg = ffmpeg ? '' : ' (skipped: no ffmpeg on PATH)'

async function run(...args: string[]): Promise<{ lines: string[]; progress: string[] }> {
  const lines: string[] = []
  const progress: string[] = []
  await evaluateDemo(args, { line: (text) => void lines.push(text), progress: (text) => void progress.push(text) })
  return { lines, progress }
}

describe('pixels', () => {
  test.skipIf(!ffmpeg)(`what a rendered video shows is read from its mp4 too${withoutFfmpeg}`, async () => {
    const world = { ...drawWorld(new PhiloxRandom(21, streams.world), { duration: 1, objects: 1 }), event: 'none' as const }
    const decode = async function* () {
      for (let index = 0; index < 16; index++) yield { index, data: renderFrame(world, index), width: WORLD_SIZE, height: WORLD_SIZE }
    }
    const readings = []
    let exact = 0
    const rendered = new Video({ latents: { data: new Float32Array(), shape: [0, 0, 0, 0] }, decode, width: WORLD_SIZE, height: WORLD_SIZE, fps: 16, numFrames: 16, seed: 0, options: {}, plan: undefined, timings: {}, warnings: [] })
    for await (const frame of framesThroughMp4(rendered)) {
      const pixels = worldPixels(frame)
      readings.push(readFrame(pixels))
      if (Buffer.from(pixels).equals(Buffer.from(renderFrame(world, frame.index)))) exact += 1
    }
    expect(readings).toHaveLength(16)
    expect(readSegment(readings)).toMatchObject({ background: world.background, colour: world.objects[0]!.colour })
    // They did go through a lossy file.
    expect(exact).toBe(0)
  })

  test('frames that are not asked for are not read, and change nothing of those that are', async () => {
    const { latents } = await pipeline.generate({ prompt: 'a shape moves', numFrames: 40, seed: 1, outputType: 'latents', numInferenceSteps: 1 })
    const all = await readLatents(pipeline, { latents, numFrames: 40 }, 'vae')
    expect(all.every((reading) => reading !== undefined)).toBe(true)
    // Micro-batches 0 and 2, the last one being short.
    const some = await readLatents(pipeline, { latents, numFrames: 40 }, 'vae', [3, 39])
    expect(some[3]).toEqual(all[3])
    expect(some[39]).toEqual(all[39])
    expect(some.filter((reading) => reading !== undefined)).toHaveLength(2)
  })
})

describe("other videos' tokens", () => {
  const sampler = () => resolveSampler(pipeline, { steps: 2, guidance: 3 })
  const prompt = gapPrompt(64)

  test('with its own tokens the sampler is that of generate, bit for bit', async () => {
    const { latents } = await pipeline.generate({ prompt, numFrames: 64, seed: 5, outputType: 'latents', ...sampler() })
    const own = await sampleWithTokens(pipeline, { prompt, numFrames: 64, seed: 5, sampler: sampler(), tokensFrom: (_side, _timestep, current) => current })
    expect(bits(own).equals(bits(latents))).toBe(true)
  })

  test('either side of the gap hears of its own lender alone', async () => {
    const shape = [4, 20, 8, 8]
    const [a, b, c] = await Promise.all([1, 2, 3].map((seed) => randn({ seed, shape })))
    const oneStep = { prompt, numFrames: 64, seed: 5, sampler: resolveSampler(pipeline, { steps: 1 }) }
    const sample = (before: TensorData, after: TensorData) => sampleWithTokens(pipeline, { ...oneStep, tokensFrom: (side) => (side === 'before' ? before : after) })
    const [ab, ac, cb] = [await sample(a!, b!), await sample(a!, c!), await sample(c!, b!)]
    const border = sideBorder(pipeline, 64)
    expect(border).toBe(10)
    const side = (latents: TensorData, which: 'before' | 'after') => bits(which === 'before' ? latentFrames(latents, 0, border) : latentFrames(latents, border, 20))
    expect(side(ab, 'before').equals(side(ac, 'before'))).toBe(true)
    expect(side(ab, 'before').equals(side(cb, 'before'))).toBe(false)
    expect(side(ab, 'after').equals(side(cb, 'after'))).toBe(true)
    expect(side(ab, 'after').equals(side(ac, 'after'))).toBe(false)
  })

  test('rows with a given world say which; a row of one seed does not depend on the others', async () => {
    const task = { pipeline, sampler: sampler(), frames: 64, framesFrom: 'vae' as const }
    const floor = await measureGap(task, 'other-tokens', 1)
    expect(floor.given!.before).not.toEqual(floor.given!.after)
    expect(await measureGap(task, 'other-tokens', 1)).toEqual(floor)
    expect(Object.keys((await measureGap(task, 'ceiling', 0)).given!.before).sort()).toEqual(['background', 'colour', 'shape', 'size'])
    expect((await measureGap(task, 'vin', 0)).given).toBeUndefined()
  })
})

describe('losses', () => {
  test("are the trainer's, of owned frames alone; a clean chunk counts nothing", async () => {
    const trainer = new Trainer(pipeline, { contextLossWeight: 0 })
    const [latents, noise] = [await randn({ seed: 8, shape: [4, 20, 8, 8] }), await randn({ seed: 9, shape: [4, 20, 8, 8] })]
    const promptEmbeds = await embedPrompt(pipeline, 'a red circle moves')
    const frameMask = Array.from({ length: 20 }, (_, frame) => (frame < 10 ? 0 : 1))
    for (const [level, mask] of [[0.5, undefined], [0.95, frameMask]] as const) {
      const { loss } = await trainer.lossAndGradients({ latents, noise, timestep: 1000 * level, promptEmbeds, ...(mask === undefined ? {} : { frameMask: mask }) })
      const found = await probeLoss(pipeline, { latents, noise: noise.data, promptEmbeds, level, method: 'vin', ...(mask === undefined ? {} : { clean: [0, 10] as const }) })
      // Sums of 2,560 squares and more in another order, single against double.
      expect(Math.abs(found - loss)).toBeLessThan(1e-5 * loss)
    }
    trainer.dispose()
  })

  test('tokens count in `withTokens` alone', async () => {
    const record = await measureLosses(pipeline, 4, 0)
    const { transformer } = pipeline
    const { data, shape } = await transformer.readWeight('vin.out_proj.weight')
    transformer.writeWeight('vin.out_proj.weight', { data: data.map((value) => 2 * value), shape })
    const changed = await measureLosses(pipeline, 4, 0)
    transformer.writeWeight('vin.out_proj.weight', { data, shape })
    expect(record.levels).toHaveLength(3)
    record.levels.concat(record.far).forEach((losses, index) => {
      const after = changed.levels.concat(changed.far)[index]!
      expect(after.withoutTokens).toBe(losses.withoutTokens)
      expect(after.withTokens).not.toBe(losses.withTokens)
    })
    expect(await measureLosses(pipeline, 4, 0)).toEqual(record)
    for (const video of [0, 1, 2, 3, 4, 5]) {
      const { event, hidden } = video === 0 ? record : await measureLosses(pipeline, 4, video)
      if (event !== 'curtain') {
        expect(hidden).toBeUndefined()
        continue
      }
      // Four probes that differ in tokens, given frames and text.
      expect(new Set([hidden!.noisy.withTokens, hidden!.noisy.withoutTokens, hidden!.clean, hidden!.named]).size).toBe(4)
    }
    expect((await measureLosses(pipeline, 4, 1)).levels).not.toEqual(record.levels)
  })
})

describe('noise on latents', () => {
  test('the built-in VAE shows what it was given, and noise costs it decibels', async () => {
    await using demo = await VideoPipeline.fromPretrained('demo', { device: 'cpu' })
    const deviations = await latentDeviations(demo.vae)
    const record = await measureLatentNoise(demo, deviations, 0)
    expect(record.levels[0]!.read).toMatchObject({ background: record.shown.background, colour: record.shown.colour })
    const errors = record.levels.map(({ squaredError }) => squaredError)
    expect(errors).toHaveLength(latentNoiseLevels.length)
    expect(errors.toSorted((a, b) => a - b)).toEqual(errors)
    // 25 dB below the peak without noise.
    expect(errors[0]).toBeLessThan(255 ** 2 / 10 ** 2.5)
    // The decoders have learned to bear noise, so that .6 deviations cost them little more than 3 dB; noise of 2.4 shows.
    expect(errors.at(-1)).toBeGreaterThan(1.5 * errors[0]!)
    const loud = await measureLatentNoise(demo, deviations.map((deviation) => 4 * deviation), 0)
    expect(loud.levels.at(-1)!.squaredError).toBeGreaterThan(10 * errors[0]!)
    // Without a deviation there is no noise.
    const undisturbed = await measureLatentNoise(demo, deviations.map(() => 0), 0)
    expect(new Set(undisturbed.levels.map(({ squaredError }) => squaredError)).size).toBe(1)
    expect(undisturbed.levels[0]).toEqual(record.levels[0])
  })
})

describe('colour words', () => {
  test('the effect is along the true change, without what is common to the colours', () => {
    const shown = colourNames.map((_, colour) => [Math.cos(colour), Math.sin(2 * colour), colour / 3])
    const record = (predicted: number[][]) => [{ video: 0, shown, predicted }]
    const common = [3, -1, 2]
    for (const { share, cosine } of wordEffects(record(shown.map((values) => values.map((value, channel) => common[channel]! + 0.5 * value))))) {
      expect(share).toBeCloseTo(0.5, 12)
      expect(cosine).toBeCloseTo(1, 12)
    }
    // Words that are not heard change nothing.
    const silent = record(shown.map(() => [0, 0, 0]))
    expect(wordEffects(silent).map(({ share, cosine }) => [share, cosine])).toEqual(shown.map(() => [0, 0]))
    for (const { share } of wordEffects(record(shown.map(() => common)))) expect(share).toBeCloseTo(0, 12)
    // Of several videos the means count.
    const spread = [1, -1].map((sign, video) => ({ video, shown, predicted: shown.map((values) => values.map((value) => value + sign)) }))
    for (const { share } of wordEffects(spread)) expect(share).toBeCloseTo(1, 12)
  })

  test('the built-in model hears every colour word', async () => {
    await using demo = await VideoPipeline.fromPretrained('demo', { device: 'cpu' })
    const record = await measureWords(demo, 0)
    expect(await measureWords(demo, 0)).toEqual(record)
    for (const { share, cosine, colour } of wordEffects([record])) {
      expect([colour, share > (['green', 'yellow', 'white'].includes(colour) ? 0.3 : 0.1)]).toEqual([colour, true])
      expect([colour, cosine > 0.5]).toEqual([colour, true])
    }
  })
})

describe('the command', () => {
  const quick = () => ['--model', modelFolder(), '--frames-from', 'vae', '--steps', '1', '--prompt-frames', '16', '--threads', '1']

  test('an evaluation in parts is the whole evaluation', { timeout: 180_000 }, async () => {
    const measured = ['--videos', '2', '--obedience', '2', '--losses', '2', '--rows', 'ceiling,vin']
    const whole = await run(...quick(), ...measured)
    const files = [0, 1].map((seed) => join(folder, `part-${seed}.json`))
    const half = measured.map((text) => (text === '2' ? '1' : text))
    for (const [seed, file] of files.entries()) await run(...quick(), ...half, '--seed-from', String(seed), '--report', file)
    expect((await run('--merge', ...files)).lines).toEqual(whole.lines)
    const text = whole.lines.join('\n')
    expect(text).toContain('frames as the VAE decodes them, not from an mp4')
    expect(text).toContain('1 steps, guidance 2, shift 2')
    for (const part of ['σ 0.95', 'obeyed', 'ceiling', 'vin', 'the reader']) expect(text).toContain(part)
    expect(whole.progress.some((line) => /identity: seeds 1 of 2: .* min left/.test(line))).toBe(true)
    // Other samplers are other evaluations.
    await expect(run(...quick(), '--videos', '1', '--shift', '8', '--report', files[0]!)).rejects.toThrow(/shift/)
    await expect(run('--merge', files[0]!, files[0]!)).rejects.toThrow(/each video once/)
  })

  test('a report that is there is gone on with: what it holds is not measured again', async () => {
    const file = join(folder, 'going-on.json')
    await run(...quick(), '--videos', '1', '--rows', 'vin', '--report', file)
    const kept = JSON.parse(await readFile(file, 'utf8')) as { gaps: { seed: number; middle: number }[] }
    kept.gaps[0]!.middle = 0.123
    await writeFile(file, JSON.stringify(kept))
    await run(...quick(), '--videos', '2', '--rows', 'vin', '--report', file)
    const { gaps } = JSON.parse(await readFile(file, 'utf8')) as typeof kept
    expect(gaps.map(({ seed }) => seed)).toEqual([0, 1])
    expect(gaps[0]!.middle).toBe(0.123)
  })

  test('a step cache leaves out steps, and is another evaluation', async () => {
    const file = join(folder, 'cached.json')
    const cached = await run(...quick(), '--steps', '4', '--obedience', '2', '--step-cache', '100', '--report', file)
    expect(cached.lines[0]).toContain('4 steps, guidance 2, shift 2, step cache 100;')
    // All but the first and the last.
    expect(cached.lines.at(-1)).toMatch(/steps skipped by the step cache: 2 to 2 a video, 2\.0 on average$/)
    await expect(run(...quick(), '--steps', '4', '--obedience', '2', '--report', file)).rejects.toThrow(/^Expected stepCache "off"/)
    await expect(run(...quick(), '--videos', '1', '--step-cache', 'slow', '--rows', 'vin,other-tokens')).rejects.toThrow('Expected --rows without other-tokens beside --step-cache')
    await expect(run('--step-cache', 'quick')).rejects.toThrow('Expected one of off, slow, fast for --step-cache but received quick')
    // A report from before there was one.
    const { settings: { stepCache, ...settings }, ...rest } = JSON.parse(await readFile(file, 'utf8')) as { settings: Record<string, unknown> }
    await writeFile(file, JSON.stringify({ ...rest, settings }))
    expect([stepCache, (await run('--merge', file)).lines[0]]).toEqual([100, cached.lines[0]!.replace(', step cache 100', '')])
  })

  test('the row stagger is the method vin, its chunks 5 steps behind each other', async () => {
    const task = { pipeline, sampler: resolveSampler(pipeline, { steps: 5 }), frames: 64, framesFrom: 'vae' as const }
    const asked: GenerateOptions[] = []
    const { generate } = pipeline
    const listening = (options: GenerateOptions) => (asked.push(options), generate.call(pipeline, options))
    Object.defineProperty(pipeline, 'generate', { value: listening, configurable: true })
    try {
      expect(await measureGap(task, 'stagger', 1)).toMatchObject({ row: 'stagger', seed: 1 })
    } finally {
      Reflect.deleteProperty(pipeline, 'generate')
    }
    expect(asked).toMatchObject([{ method: 'vin', stagger: 5, numInferenceSteps: 5, seed: 1, prompt: gapPrompt(64) }])
    expect((await run(...quick(), '--steps', '5', '--videos', '1', '--rows', 'stagger')).lines.join('\n')).toMatch(/\nstagger +background/)
  })

  test('--losses alone makes no video', async () => {
    const { lines, progress } = await run('--model', modelFolder(), '--losses', '1')
    expect(lines.at(-1)).toMatch(/^\| (\d*\.\d{3} \/ ){2}\d*\.\d{3} \| .* \|$/)
    expect(progress.concat(lines).some((line) => line.startsWith('identity') || line.includes('obeyed'))).toBe(false)
  })

  test('--vae alone makes no video', async () => {
    const { lines, progress } = await run('--model', modelFolder(), '--vae', '1')
    expect(lines.filter((line) => line.startsWith('noise '))).toHaveLength(5)
    expect(progress.concat(lines).some((line) => line.startsWith('identity') || line.includes('obeyed'))).toBe(false)
  })

  test('--words alone makes no video', async () => {
    const { lines, progress } = await run('--model', modelFolder(), '--words', '1')
    expect(lines.filter((line) => /^(red|green|blue|yellow|purple|white) +-?\d+\.\d\d +-?\d\.\d\d$/.test(line))).toHaveLength(6)
    expect(progress.concat(lines).some((line) => line.startsWith('identity') || line.includes('obeyed'))).toBe(false)
  })

  test('a sheet has a row of sixteen frames a video, and one video two rows of larger ones', async () => {
    const file = join(folder, 'sheet.png')
    const { lines } = await run(...quick(), '--sheet', file, '--videos', '2')
    expect(lines.slice(0, 2).map((line) => line.split(':')[0])).toEqual(['seed 1000', 'seed 1001'])
    expect(await readImage(file)).toMatchObject({ width: 1024, height: 128 })
    await run(...quick(), '--sheet', file, '--videos', '1', '--prompt', 'a red circle moves', '--seed-from', '7')
    const picture = await readImage(file)
    expect(picture).toMatchObject({ width: 1024, height: 256 })
    // The second picture is the second frame that the command line would show, enlarged.
    const video = await pipeline.generate({ prompt: 'a red circle moves', seed: 7, numFrames: 16, numInferenceSteps: 1 })
    const frames = []
    for await (const frame of video.frames()) frames.push(frame)
    expect(sheetFrames(16)[1]).toBe(1)
    for (const x of [0, 31, 63]) expect(Array.from(picture.data.subarray(3 * (128 + 2 * x), 3 * (128 + 2 * x) + 3))).toEqual(Array.from(frames[1]!.data.subarray(3 * x, 3 * x + 3)))
  })

  test('without ffmpeg it says so before it makes anything, and names the way without', async () => {
    vi.stubEnv('PATH', folder)
    await expect(run('--model', join(folder, 'no such model'), '--videos', '1')).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('--frames-from vae') as string })
    await expect(run('--model', join(folder, 'no such model'), '--videos', '1', '--frames-from', 'vae')).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  })

  test('wrong options are refused', async () => {
    await expect(run('--rows', 'vinn')).rejects.toThrow(/vinn/)
    await expect(run('--frames', '72')).rejects.toThrow(/72/)
    await expect(run('--frames-from', 'gif')).rejects.toThrow(/gif/)
    await expect(run('a.json')).rejects.toThrow(/a\.json/)
    expect((await run('--help')).lines.join('\n')).toContain('--merge FILE ...')
  })
})
