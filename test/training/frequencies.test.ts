// How often a training run does what its options say: thousands of videos pass through Trainer.step and fit, and what would be handed to the model is counted instead of computed.
// Every count lies within three standard deviations of its expectation. Seeds are fixed, so a run that passes passes always.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import type { SchedulerOption, TrainerOptions, TrainingExample } from '../../lib/index.js'
import type { BackwardRequest } from '../../lib/native/binding.js'
import { drawMaskPattern, maskPatterns } from '../../lib/training/masks.js'
import type { MaskPattern } from '../../lib/training/masks.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { tinyTextEncoder, tinyTokenizer, tinyTransformer } from '../support/models.js'
import { normalDistribution } from './decisions.js'
import { Draws } from './philox.js'

type Request = Pick<BackwardRequest, 'timestep' | 'frameMask' | 'keyframes' | 'nullText' | 'ids'> & { frames: number }

let pipeline: VideoPipeline
/** One entry per call of backward, which is one batch. */
let batches: Request[][] = []
const requests = () => batches.flat()

beforeAll(async () => {
  pipeline = await VideoPipeline.fromConfig(
    { transformer: { ...tinyTransformer, chunk_frames: 4, context_frames: 2 }, textEncoder: tinyTextEncoder, tokenizer: tinyTokenizer, scheduler: 'FlowMatchEulerDiscreteScheduler' },
    { device: 'cpu', seed: 1 }
  )
  // The native trainer with its two heavy calls taken out.
  const engine = pipeline.engine.native
  const create = engine.createTrainer.bind(engine)
  Object.defineProperty(engine, 'createTrainer', {
    value: (...args: Parameters<typeof create>) => {
      const trainer = create(...args)
      const backward = (given: BackwardRequest[]) => {
        batches.push(given.map(({ timestep, frameMask, keyframes, nullText, ids, latents }) => ({ timestep, frameMask, keyframes, nullText, ids, frames: latents.shape[1]! }) as Request))
        return engine.upload(new Float64Array(given.length), [given.length])
      }
      Object.defineProperties(trainer, { backward: { value: backward }, update: { value: () => engine.upload(new Float64Array(1), [1]) } })
      return trainer
    }
  })
})
afterAll(() => pipeline.dispose())

const video = (frames: number, size = 2): TrainingExample => ({ prompt: 'a red circle', latents: { data: new Float32Array(4 * frames * size * size), shape: [4, frames, size, size] } })

/** What so many videos are trained with. */
async function train(count: number, { batch = 20, example = video(12), ...options }: TrainerOptions & { batch?: number; example?: TrainingExample }): Promise<Request[]> {
  batches = []
  // Said each time: a pipeline that has been trained towards another target keeps that scheduler.
  const trainer = new Trainer(pipeline, { scheduler: 'FlowMatchEulerDiscreteScheduler', lengths: [example.latents!.shape[1]], textDropout: 0, batchSize: batch, seed: 12, ...options })
  for (let step = 0; step < count / batch; step++) await trainer.step(Array<TrainingExample>(batch).fill(example))
  trainer.dispose()
  expect(requests()).toHaveLength(count)
  return requests()
}

/** Of n independent videos, `count` had something of probability p. */
function expectShare(count: number, n: number, p: number, what = ''): void {
  expect(Math.abs(count - n * p), `${what}: ${count} of ${n}, expected ${n * p}`).toBeLessThanOrEqual(3 * Math.sqrt(n * p * (1 - p)))
}

function expectMean(values: readonly number[], mean: number, deviation: number, what = ''): void {
  const found = values.reduce((sum, value) => sum + value, 0) / values.length
  expect(Math.abs(found - mean), `${what}: mean ${found}, expected ${mean}`).toBeLessThanOrEqual((3 * deviation) / Math.sqrt(values.length))
}

const standardDeviation = (values: readonly number[]) => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}

describe('dropouts', () => {
  test('text and global tokens are dropped as often as asked, and independently', async () => {
    const n = 4000
    const seen = await train(n, { example: video(1), textDropout: 0.1, globalTokenDropout: 0.15 })
    const text = seen.filter(({ nullText }) => nullText !== undefined)
    expectShare(text.length, n, 0.1, 'text')
    expectShare(seen.filter(({ keyframes }) => keyframes === undefined).length, n, 0.15, 'tokens')
    expectShare(text.filter(({ keyframes }) => keyframes === undefined).length, n, 0.1 * 0.15, 'both')
    // A dropped text is as long as the prompt with its end, and takes its place.
    for (const { nullText, ids } of seen) expect(nullText === undefined ? ids?.length : nullText).toBe(4)
  })

  test.each([0, 1])('a share of %d is none or all', async (share) => {
    const seen = await train(200, { textDropout: share, globalTokenDropout: share, maskRatios: { chunks: share } })
    for (const { nullText, keyframes, frameMask } of seen) expect([nullText !== undefined, keyframes === undefined, frameMask !== undefined]).toEqual([share === 1, share === 1, share === 1])
  })
})

describe('masks of 12 latent frames in chunks of 4', () => {
  const n = 1500
  const cleanOf = ({ frameMask }: Request) => frameMask!.flatMap((live, frame) => (live === 0 ? [frame] : []))
  const range = (begin: number, end: number) => Array.from({ length: end - begin }, (_, i) => begin + i)
  const countOf = <T>(values: readonly T[], wanted: T) => values.filter((value) => value === wanted).length

  /** The clean frames of masks of one kind, with the chances of that kind. */
  const kinds: Record<MaskPattern, (clean: number[][]) => void> = {
    random(clean) {
      for (const frames of clean) expect(frames).not.toContain(11)
      // A frame is clean with p uniform in (0.1, 0.9): the share of 11 frames has the variance 0.8²/12 + E[p(1 − p)]/11.
      expectMean(clean.map(({ length }) => length / 11), 0.5, Math.sqrt(0.64 / 12 + (0.25 - 0.64 / 12) / 11))
    },
    interpolate(clean) {
      for (const frames of clean) expect(frames).toEqual(range(0, 6).map((k) => 2 * k + frames[0]!))
      expectShare(clean.filter(([first]) => first === 0).length, clean.length, 1 / 2)
    },
    quarterRandom(clean) {
      for (const frames of clean) expect(frames).toEqual(range(frames[0]!, frames[0]! + frames.length))
      expectQuarters(clean.map(({ length }) => length))
      // One frame begins at 0 … 11, two at 0 … 10, three at 0 … 9.
      for (const length of [1, 2, 3]) {
        const begins = clean.filter((frames) => frames.length === length).map(([first]) => first!)
        expectMean(begins, (12 - length) / 2, Math.sqrt(((13 - length) ** 2 - 1) / 12))
      }
    },
    quarterHead(clean) {
      for (const frames of clean) expect(frames).toEqual(range(0, frames.length))
      expectQuarters(clean.map(({ length }) => length))
    },
    quarterTail(clean) {
      for (const frames of clean) expect(frames).toEqual(range(12 - frames.length, 12))
      expectQuarters(clean.map(({ length }) => length))
    },
    quarterHeadTail(clean) {
      for (const frames of clean) expect(frames).toEqual([...range(0, frames.length / 2), ...range(12 - frames.length / 2, 12)])
      expectQuarters(clean.map(({ length }) => length / 2))
    },
    imageRandom(clean) {
      for (const frames of clean) expect(frames).toHaveLength(1)
      for (const frame of range(0, 12)) expectShare(clean.filter(([first]) => first === frame).length, clean.length, 1 / 12)
    },
    imageHead(clean) {
      for (const frames of clean) expect(frames).toEqual([0])
    },
    imageTail(clean) {
      for (const frames of clean) expect(frames).toEqual([11])
    },
    imageHeadTail(clean) {
      for (const frames of clean) expect(frames).toEqual([0, 11])
    },
    chunks(clean) {
      // Three chunks: six ways that are neither all nor none.
      const ways = new Map<string, number>()
      for (const frames of clean) {
        const chunks = [0, 1, 2].filter((chunk) => frames.includes(4 * chunk))
        expect(frames).toEqual(chunks.flatMap((chunk) => range(4 * chunk, 4 * chunk + 4)))
        ways.set(chunks.join(), (ways.get(chunks.join()) ?? 0) + 1)
      }
      expect([...ways.keys()].sort()).toEqual(['0', '0,1', '0,2', '1', '1,2', '2'])
      for (const count of ways.values()) expectShare(count, clean.length, 1 / 6)
    }
  }
  function expectQuarters(lengths: readonly number[]): void {
    expect(lengths.every((length) => length >= 1 && length <= 3)).toBe(true)
    for (const length of [1, 2, 3]) expectShare(countOf(lengths, length), lengths.length, 1 / 3)
  }

  test.each(maskPatterns)('%s', async (pattern) => {
    const ratio = 0.4
    const seen = await train(n, { maskRatios: { [pattern]: ratio } })
    const masked = seen.filter(({ frameMask }) => frameMask !== undefined)
    expectShare(masked.length, n, ratio, pattern)
    kinds[pattern](masked.map(cleanOf))
  })

  test('each kind has its share among all kinds', () => {
    const draws = 20_000
    const ratios = Object.fromEntries(maskPatterns.map((pattern, index) => [pattern, 0.01 * (index + 2)])) as Record<MaskPattern, number>
    const found = Array.from({ length: draws }, (_, block) => drawMaskPattern(new PhiloxRandom(4n, 0x100000, block), ratios))
    for (const pattern of maskPatterns) expectShare(countOf(found, pattern), draws, ratios[pattern], pattern)
    expectShare(countOf(found, undefined), draws, 1 - Object.values(ratios).reduce((sum, ratio) => sum + ratio, 0), 'none')
  })
})

describe('timesteps', () => {
  const n = 3000
  const quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
  const logit = (sigma: number) => Math.log(sigma / (1 - sigma))
  const sigmas = async ({ count = n, ...options }: Parameters<typeof train>[1] & { count?: number }) =>
    (await train(count, { example: video(1), ...options })).map(({ timestep }) => timestep / 1000)

  test.each([
    [1, 1000],
    [30, n]
  ])('logit-normal, %d videos a step', async (batch, count) => {
    const [mean, std] = [0.6, 1.4]
    const values = (await sigmas({ count, batch, timestepSampling: { mean, std } })).map(logit)
    expectMean(values, mean, std)
    // The deviation of a sample deviation of normals is σ/√(2n).
    expect(Math.abs(standardDeviation(values) - std)).toBeLessThanOrEqual((3 * std) / Math.sqrt(2 * count))
    for (const z of [-1.5, -1, -0.5, 0, 0.5, 1, 1.5]) expectShare(values.filter((value) => value < mean + z * std).length, count, normalDistribution(z), `z ${z}`)
  })

  test('strata: 30 videos of a step are one in each thirtieth, which independent ones are not', async () => {
    const values = (await sigmas({ batch: 30, timestepSampling: { mean: -0.2, std: 0.7 } })).map((sigma) => normalDistribution((logit(sigma) + 0.2) / 0.7))
    const first: number[] = []
    for (let step = 0; step < n / 30; step++) {
      const strata = values.slice(30 * step, 30 * step + 30).map((u) => Math.floor(30 * u))
      expect([...strata].sort((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, stratum) => stratum))
      first.push(strata[0]!)
    }
    // π is random: the first video meets all parts alike.
    expectMean(first, 14.5, Math.sqrt(899 / 12))
  })

  test('uniform, real for flow match and whole for DDIM', async () => {
    const values = await sigmas({ timestepSampling: 'uniform' })
    expectMean(values, 0.5, Math.sqrt(1 / 12))
    for (const q of quantiles) expectShare(values.filter((value) => value < q).length, n, q, `${q}`)
    const whole = (await train(n, { example: video(1), scheduler: 'DDIMScheduler' })).map(({ timestep }) => timestep)
    expect(whole).toEqual(values.map((value) => Math.floor(1000 * value)))
    expect(Math.min(...whole)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...whole)).toBeLessThanOrEqual(999)
  })

  describe('RFlow (opensora.md §2.3)', () => {
    const rflow = (config: object = {}): SchedulerOption => ({ _class_name: 'RFlowScheduler', ...config })

    test.each([
      [5, 8],
      [12, 2]
    ])('%d latent frames of %d × the same latents: t = 1000 r u/(1 + (r − 1) u)', async (frames, size) => {
      const example = video(frames, size)
      const r = Math.sqrt((8 * size * 8 * size) / 512 ** 2) * Math.sqrt(frames)
      const count = 300
      const drawn = await sigmas({ count, example })
      const shifted = await sigmas({ count, example, scheduler: rflow() })
      shifted.forEach((t, i) => expect(t).toBeCloseTo((r * drawn[i]!) / (1 + (r - 1) * drawn[i]!), 12))
      expectMean(shifted.map((t) => t / (r - (r - 1) * t)), 0.5, Math.sqrt(1 / 12))
      expect(await sigmas({ count, example, scheduler: rflow({ use_timestep_transform: false }) })).toEqual(drawn)
    })

    test('240 × 426 pixels and 15 latent frames have the r of the golden list', async () => {
      const example: TrainingExample = { prompt: 'a', latents: { data: new Float32Array(4 * 15 * 30 * 52), shape: [4, 15, 30, 52] } }
      const r = Math.sqrt((240 * 416) / 512 ** 2) * Math.sqrt(15)
      const [one] = await train(1, { batch: 1, example, scheduler: rflow() })
      const [drawn] = await train(1, { batch: 1, example })
      const u = drawn!.timestep / 1000
      expect(one!.timestep).toBeCloseTo((1000 * r * u) / (1 + (r - 1) * u), 9)
      // 426 pixels are 53 latents, of which 8 · 53 = 424 pixels are seen; 2.418723 is r of 426.
      expect(r * Math.sqrt(426 / 416)).toBeCloseTo(2.418723, 6)
    })

    test('sample_method, loc and scale of its config say how u is drawn where timestepSampling does not', async () => {
      const count = 100
      const config = { sample_method: 'logit-normal', loc: 0.3, scale: 0.8, use_timestep_transform: false }
      const given = await sigmas({ count, timestepSampling: { mean: 0.3, std: 0.8 } })
      expect(await sigmas({ count, scheduler: rflow(config) })).toEqual(given)
      const standard = await sigmas({ count, timestepSampling: { mean: 0, std: 1 } })
      expect(await sigmas({ count, scheduler: rflow({ sample_method: 'logit-normal', use_timestep_transform: false }) })).toEqual(standard)
      expect(await sigmas({ count, scheduler: rflow(config), timestepSampling: 'uniform' })).toEqual(await sigmas({ count }))
      expect(() => new Trainer(pipeline, { scheduler: rflow({ sample_method: 'cosine' }) })).toThrow(/sample_method/)
    })
  })
})

describe('lengths', () => {
  test('buckets have the shares of the data, and batches one length of as many videos as fit', async () => {
    // 5 … 9 latent frames are trained as 5, 10 … 19 as 10, 20 as 20.
    const shares: [length: number, share: number, frames: number[]][] = [[5, 0.5, [5, 7, 9]], [10, 0.3, [10, 12]], [20, 0.2, [20]]]
    const draws = new Draws(3n, 0, 0)
    const dataset = {
      async *[Symbol.asyncIterator]() {
        for (;;) {
          let lot = draws.uniform()
          const [, , frames] = shares.find(([, share]) => (lot -= share) < 0) ?? shares[2]!
          yield video(frames[draws.below(frames.length)]!)
        }
      }
    }
    batches = []
    const trainer = new Trainer(pipeline, { lengths: [20, 5, 10], latentFramesPerStep: 22, gradientAccumulationSteps: 2, textDropout: 0, seed: 1 })
    await trainer.fit(dataset, { steps: 500 })
    trainer.dispose()
    expect(batches).toHaveLength(1000)
    for (const batch of batches) {
      const [{ frames } = { frames: NaN }] = batch
      expect(batch.every((one) => one.frames === frames)).toBe(true)
      expect(batch).toHaveLength({ 5: 4, 10: 2, 20: 1 }[frames]!)
    }
    const n = requests().length
    for (const [length, share] of shares) expectShare(requests().filter(({ frames }) => frames === length).length, n, share, `${length}`)
  })
})

test('draws follow from the seed: the same again, and others for another seed, step or video', async () => {
  const options = { textDropout: 0.5, globalTokenDropout: 0.5, maskRatios: { random: 1 }, timestepSampling: { mean: 0, std: 1 } }
  const first = await train(100, options)
  expect(await train(100, options)).toEqual(first)
  const other = await train(100, { ...options, seed: 13 })
  const masks = [...first, ...other].map(({ timestep, frameMask }) => `${timestep} ${frameMask!.join('')}`)
  expect(new Set(masks).size).toBe(200)
  // The upper half of a 64-bit seed counts.
  expect(await train(100, { ...options, seed: 12n + (1n << 32n) })).not.toEqual(first)
})
