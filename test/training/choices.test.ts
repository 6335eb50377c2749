// What is decided before a step: noise levels, masks, rates, buckets.
import { describe, expect, test } from 'vitest'
import { Buckets, bucketLength, videosPerBatch } from '../../lib/training/buckets.js'
import { checkMaskRatios, drawMask, drawMaskPattern, maskPatterns } from '../../lib/training/masks.js'
import { weightGroups } from '../../lib/training/optimizer.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { emaDecayAt, learningRateAt } from '../../lib/training/rates.js'
import { drawNoiseLevels, inverseNormal, timestepOf } from '../../lib/training/timesteps.js'

const random = (block = 0) => new PhiloxRandom(9, 0x10000, block)

describe('timesteps', () => {
  test('the inverse normal distribution has its tabulated values', () => {
    for (const [p, x] of [[0.5, 0], [0.975, 1.959963984540054], [0.8413447460685429, 1], [0.0013498980316300933, -3], [2.866515718791939e-7, -5], [1e-20, -9.262340089798409]] as const) {
      expect(inverseNormal(p)).toBeCloseTo(x, 9)
    }
    expect([inverseNormal(0), inverseNormal(1)]).toEqual([-Infinity, Infinity])
  })

  test('logit-normal levels are stratified: one per share of the distribution', () => {
    const sampling = { mean: 0.6, std: 1.4 }
    for (let step = 0; step < 20; step++) {
      const levels = drawNoiseLevels(random(step), 8, sampling).sort((a, b) => a - b)
      levels.forEach((level, stratum) => {
        const edge = (u: number) => 1 / (1 + Math.exp(-(sampling.mean + sampling.std * inverseNormal(u))))
        expect(level).toBeGreaterThanOrEqual(edge(stratum / 8))
        expect(level).toBeLessThanOrEqual(edge((stratum + 1) / 8))
      })
    }
  })

  test('uniform levels fill (0, 1), and timesteps are integers below 1000 or real', () => {
    const levels = drawNoiseLevels(random(), 4000, 'uniform')
    // Mean ½, deviation 0.0046.
    expect(Math.abs(levels.reduce((sum, level) => sum + level, 0) / 4000 - 0.5)).toBeLessThan(0.02)
    expect(levels.every((level) => level > 0 && level < 1)).toBe(true)
    const of = (discrete: boolean, numTrainTimesteps: number) => ({ discrete, numTrainTimesteps })
    expect([timestepOf(0.9999, of(true, 1000)), timestepOf(0.12345, of(true, 1000)), timestepOf(0.12345, of(false, 1000))]).toEqual([999, 123, 123.45])
    expect([timestepOf(0.9999, of(true, 500)), timestepOf(0.25, of(false, 500))]).toEqual([499, 125])
  })
})

describe('masks', () => {
  const chunks = [{ start: 0, end: 10 }, { start: 10, end: 20 }, { start: 20, end: 32 }]
  const cleanFrames = (mask: number[]) => mask.flatMap((live, frame) => (live === 0 ? [frame] : []))

  test('each pattern is what it is called', () => {
    for (let block = 0; block < 50; block++) {
      const draw = (pattern: (typeof maskPatterns)[number]) => cleanFrames(drawMask(random(block), pattern, 32, chunks)!)
      expect(draw('imageHead')).toEqual([0])
      expect(draw('imageTail')).toEqual([31])
      expect(draw('imageHeadTail')).toEqual([0, 31])
      expect(draw('imageRandom')).toHaveLength(1)
      const head = draw('quarterHead')
      expect(head).toEqual(Array.from({ length: head.length }, (_, frame) => frame))
      expect(head.length >= 1 && head.length <= 8).toBe(true)
      expect(draw('quarterTail').at(-1)).toBe(31)
      const both = draw('quarterHeadTail')
      expect(both[0] === 0 && both.at(-1) === 31 && both.length % 2 === 0).toBe(true)
      const run = draw('quarterRandom')
      expect(run.at(-1)! - run[0]!).toBe(run.length - 1)
      expect(draw('interpolate')).toEqual(Array.from({ length: 16 }, (_, k) => 2 * k + (draw('interpolate')[0] ?? 0)))
      expect(draw('random')).not.toContain(31)
    }
  })

  test('a random frame is any frame, and a random run lies anywhere', () => {
    for (const [pattern, frames] of [['imageRandom', 6], ['quarterRandom', 4]] as const) {
      const seen = new Set(Array.from({ length: 200 }, (_, block) => cleanFrames(drawMask(random(block), pattern, frames, chunks)!)[0]))
      expect([...seen].sort(), pattern).toEqual(Array.from({ length: frames }, (_, frame) => frame))
    }
  })

  test('chunks are clean as wholes: some, never all and never none', () => {
    const counts = [0, 0, 0]
    for (let block = 0; block < 300; block++) {
      const mask = drawMask(random(block), 'chunks', 32, chunks)!
      const clean = chunks.map(({ start, end }) => mask.slice(start, end)).map((part) => part.every((live) => live === 0) || (part.every((live) => live === 1) ? false : undefined))
      expect(clean).not.toContain(undefined)
      expect(clean.includes(true) && clean.includes(false)).toBe(true)
      clean.forEach((is, chunk) => (counts[chunk]! += is ? 1 : 0))
    }
    for (const count of counts) expect(Math.abs(count - 150)).toBeLessThan(45)
    expect(drawMask(random(), 'chunks', 10, chunks.slice(0, 1))).toBeUndefined()
    expect(drawMask(random(), 'random', 1, chunks.slice(0, 1))).toBeUndefined()
  })

  test('ratios are shares of all videos', () => {
    const counts = new Map<string | undefined, number>()
    for (let block = 0; block < 2000; block++) {
      const pattern = drawMaskPattern(random(block), { chunks: 0.4, imageHead: 0.1 })
      counts.set(pattern, (counts.get(pattern) ?? 0) + 1)
    }
    expect([...counts.keys()].sort()).toEqual(['chunks', 'imageHead', undefined])
    expect(Math.abs(counts.get('chunks')! / 2000 - 0.4)).toBeLessThan(0.05)
    expect(() => checkMaskRatios({ chunks: 0.7, random: 0.4 })).toThrow(RangeError)
    expect(() => checkMaskRatios({ chunk: 0.4 } as never)).toThrow(/'chunks'/)
  })
})

describe('rates', () => {
  test('warm-up rises linearly, then the rate falls linearly to 0', () => {
    const options = { learningRate: 1, warmupSteps: 4, totalSteps: 100, decayFrom: 0.5 }
    expect([0, 1, 3, 4, 50].map((step) => learningRateAt(step, options))).toEqual([0.25, 0.5, 1, 1, 1])
    expect(learningRateAt(75, options)).toBeCloseTo(0.5, 12)
    expect(learningRateAt(100, options)).toBe(0)
    expect(learningRateAt(1000, { ...options, totalSteps: undefined })).toBe(1)
  })

  test('the ramp of the average is (1 + i)/(20 + i) until its maximum', () => {
    expect(emaDecayAt(0, { max: 0.999, ramp: true })).toBe(1 / 20)
    expect(emaDecayAt(1e6, { max: 0.999, ramp: true })).toBe(0.999)
    expect(emaDecayAt(0, 0.9999)).toBe(0.9999)
  })

  test('decay acts on matrices alone, and the backbone has its own rate', () => {
    const shapes: Record<string, number[]> = { 'vin.out_proj.weight': [4, 4], 'vin.out_proj.bias': [4], 'vin.global_tokens': [8, 4], 'blocks.0.attn.qkv.weight': [12, 4], 'blocks.0.scale_shift_table': [6, 4], 'y_embedder.y_embedding': [4, 4] }
    const model = { weights: () => Object.entries(shapes).map(([name, shape]) => ({ name, shape })) }
    const groups = weightGroups([{ prefix: '', native: model as never, names: Object.keys(shapes) }], { learningRate: 2, backboneLearningRate: 1, weightDecay: 0.1 })
    expect(groups.filter(({ decay }) => decay > 0).map(({ name }) => name)).toEqual(['vin.out_proj.weight', 'blocks.0.attn.qkv.weight'])
    expect(Object.fromEntries(groups.map(({ name, rate }) => [name, rate]))).toMatchObject({ 'vin.out_proj.weight': 1, 'blocks.0.attn.qkv.weight': 0.5, 'blocks.0.scale_shift_table': 0.5 })
  })
})

describe('buckets', () => {
  test('a video takes the longest length it holds', () => {
    expect([20, 39, 40, 1000].map((frames) => bucketLength([20, 40, 80], frames))).toEqual([20, 20, 40, 80])
    expect(() => bucketLength([20, 40, 80], 19)).toThrow(RangeError)
  })

  test('batches have one length, and as many videos as fit the frames of a step', () => {
    expect([20, 40, 80, 400].map((length) => videosPerBatch(length, { batchSize: 1, latentFramesPerStep: 160 }))).toEqual([8, 4, 2, 1])
    const buckets = new Buckets<string>({ batchSize: 2 })
    expect([buckets.add(20, 'a'), buckets.add(40, 'b'), buckets.add(40, 'c')]).toEqual([undefined, undefined, { length: 40, items: ['b', 'c'] }])
    expect(buckets.waiting()).toEqual([{ length: 20, items: ['a'] }])
  })
})
