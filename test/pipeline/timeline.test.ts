// A timeline of prompts: which chunk sees which text, what `ease` blends, and what the VIN reads.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { GenerateOptions, TensorData, TimelineEntry, VideoPipeline } from '../../lib/index.js'
import type { NativeTensor } from '../../lib/native/binding.js'
import { Scope } from '../../lib/native/tensor.js'
import { conditionText } from '../../lib/pipeline/text.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
beforeAll(async () => {
  pipeline = await tinyPipeline()
})
afterAll(() => pipeline.dispose())

// 40 latent frames: chunks own 0 … 9, 10 … 19, 20 … 29, 30 … 39; 8 video frames are 2.5 latent frames.
const options = { numFrames: 128, seed: 3, outputType: 'latents' } satisfies GenerateOptions
const A = 'a red circle'
const B = 'a blue square bounces'
const run = async (extra: GenerateOptions): Promise<TensorData> => (await pipeline.generate({ ...options, ...extra })).latents
const timeline = (latentFrame: number, ease?: number): TimelineEntry[] => [{ at: 0, prompt: A }, { at: { frame: (latentFrame * 16) / 5 }, prompt: B, ease }]

/** Latent frames of [C, N, H, W] in which two videos differ in any bit. */
function changedFrames(a: TensorData, b: TensorData): number[] {
  const [C = 0, N = 0, H = 0, W = 0] = a.shape
  const [one, two] = [bits(a), bits(b)]
  const size = 4 * H * W
  const differs = (frame: number, c: number): boolean => !one.subarray((c * N + frame) * size, (c * N + frame + 1) * size).equals(two.subarray((c * N + frame) * size, (c * N + frame + 1) * size))
  return Array.from({ length: N }, (_, frame) => frame).filter((frame) => Array.from({ length: C }, (_, c) => c).some((c) => differs(frame, c)))
}
/** Latent frames that differ by more than rounding. */
function movedFrames(a: TensorData, b: TensorData): number[] {
  const [, N = 0, H = 0, W = 0] = a.shape
  const moved = new Set<number>()
  a.data.forEach((value, i) => {
    if (!(Math.abs(value - b.data[i]!) <= 1e-5)) moved.add(Math.floor(i / (H * W)) % N)
  })
  return [...moved].sort((x, y) => x - y)
}
const frames = (begin: number, end: number): number[] => Array.from({ length: end - begin }, (_, i) => begin + i)

describe('a timeline changes only the chunks that it names', () => {
  // Both timelines hold the same texts, so the VIN reads the same; chunk 2, with its centre at 25, sees B in the one and A in the other.
  const [early, late] = [timeline(20), timeline(30)]

  test('the plan says which', () => {
    expect(pipeline.plan({ ...options, prompt: early }).prompts).toEqual([A, A, B, B])
    expect(pipeline.plan({ ...options, prompt: late }).prompts).toEqual([A, A, A, B])
  })

  // A second step would read the changed frames as keyframes.
  test('with global tokens, in one step without fusion', async () => {
    const one = { numInferenceSteps: 1, fusion: 'none' } as const
    expect(changedFrames(await run({ ...one, prompt: early }), await run({ ...one, prompt: late }))).toEqual(frames(20, 30))
  })

  test('with fusion the overlap in front changes too, but for its first frame, where the later chunk has weight 0', async () => {
    const one = { numInferenceSteps: 1, fusion: 'early' } as const
    expect(changedFrames(await run({ ...one, prompt: early }), await run({ ...one, prompt: late }))).toEqual(frames(17, 30))
  })

  test('isolated chunks over all steps', async () => {
    const isolated = { method: 'independent', contextFrames: 0, fusion: 'none' } as const
    expect(changedFrames(await run({ ...isolated, prompt: early }), await run({ ...isolated, prompt: late }))).toEqual(frames(20, 30))
    // A chunk inside one entry sees the text of that entry alone, up to rounding: the projection of more rows is another matrix product.
    expect(movedFrames(await run({ ...isolated, prompt: early }), await run({ ...isolated, prompt: A }))).toEqual(frames(20, 40))
    expect(movedFrames(await run({ ...isolated, prompt: early }), await run({ ...isolated, prompt: B }))).toEqual(frames(0, 20))
  })
})

/** A text's embeddings, valid rows. */
async function embed(text: string): Promise<TensorData> {
  const { embeds, mask } = await pipeline.textEncoder.encode(text)
  const rows = mask.filter((value) => value === 1).length
  return { data: embeds.data.slice(0, rows * 32), shape: [rows, 32] }
}

/** (1 − w) a + w b in float64, rounded once; a shorter text goes on with rows of y_embedding. */
async function blend(a: TensorData, b: TensorData, w: number): Promise<TensorData> {
  const table = (await pipeline.transformer.native.weight('y_embedder.y_embedding').read()).data
  const length = Math.max(a.data.length, b.data.length)
  const at = ({ data }: TensorData, i: number): number => (i < data.length ? data[i]! : table[i]!)
  return { data: Float32Array.from({ length }, (_, i) => (1 - w) * at(a, i) + w * at(b, i)), shape: [length / 32, 32] }
}

describe('ease', () => {
  test('the plan shows the shares of each chunk', () => {
    const { prompts, promptShares } = pipeline.plan({ ...options, prompt: timeline(10, 20) })
    expect(prompts).toEqual([A, B, B, B])
    expect(promptShares).toEqual([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    expect(pipeline.plan({ ...options, prompt: A }).promptShares).toEqual([[1], [1], [1], [1]])
  })

  test('blended rows are those of a float64 blend, bit by bit', async () => {
    const scope = new Scope()
    const { transformer } = pipeline
    const [a, b] = [await embed(A), await embed(B)]
    expect(a.shape).not.toEqual(b.shape)
    try {
      const entries = [a, b].map(({ data, shape }) => scope.add(transformer.engine.native.upload(data, shape)))
      const { text, chunkText } = conditionText(transformer, entries, undefined, 1, scope, [[1, 0], [0.75, 0.25], [0.375, 0.625], [0, 1]])
      const rows = (await text.read()).data as Float32Array
      const seen = chunkText!.map(({ begin, end }) => Buffer.from(rows.slice(begin * 32, end * 32).buffer))
      // Eighths times fp32 numbers are exact in fp64: one right answer, on every instruction set.
      expect(seen).toEqual([a, await blend(a, b, 0.25), await blend(a, b, 0.625), b].map(bits))
    } finally {
      scope.dispose()
    }
  })

  test.each([0, 1, 2])('a run in the fade is that of the blend, at guidance %i', async (guidanceScale) => {
    const [a, b] = [await embed(A), await embed(B)]
    // One chunk of 10 latent frames: its centre 5 lies a quarter into the fade. Without global tokens its captions are all that it knows of the text.
    const one = { numFrames: 32, method: 'independent', guidanceScale } as const
    const faded = await run({ ...one, prompt: timeline(2.5, 10) })
    expect(movedFrames(faded, await run({ ...one, promptEmbeds: await blend(a, b, 0.25) }))).toEqual([])
    if (guidanceScale > 0) expect(movedFrames(faded, await run({ ...one, promptEmbeds: await blend(a, b, 0.5) }))).toEqual(frames(0, 10))
  })

  test('only chunks whose centre lies in the fade see the blend', async () => {
    const isolated = { method: 'independent', contextFrames: 0, fusion: 'none' } as const
    const [hard, soft] = [await run({ ...isolated, prompt: timeline(10) }), await run({ ...isolated, prompt: timeline(10, 20) })]
    expect(changedFrames(hard, soft)).toEqual(frames(10, 30))
  })

  test('five texts blend too, and negative embeddings stay one text for all', async () => {
    const texts = ['a red circle', 'a blue square', 'a red square moves', 'a blue circle bounces', 'a square']
    const prompt = texts.map((text, i) => ({ at: { frame: i }, prompt: text, ease: 40 }))
    const one = { numFrames: 32, method: 'independent', guidanceScale: 2, negativePrompt: 'a circle' } as const
    const shares = pipeline.plan({ ...options, ...one, prompt }).promptShares[0]!
    expect(shares.every((share) => share > 0)).toBe(true)
    const table = (await pipeline.transformer.native.weight('y_embedder.y_embedding').read()).data
    const embeds = await Promise.all(texts.map(embed))
    const length = Math.max(...embeds.map(({ data }) => data.length))
    const sum = Float32Array.from({ length }, (_, i) => embeds.reduce((total, { data }, k) => total + shares[k]! * (data[i] ?? table[i]!), 0))
    const [faded, given] = [await run({ ...one, prompt }), await run({ ...one, promptEmbeds: { data: sum, shape: [length / 32, 32] } })]
    // More than four terms are rounded in between.
    expect(Math.max(...faded.data.map((value, i) => Math.abs(value - given.data[i]!)))).toBeLessThan(1e-5)
  })

  test('the VIN reads all entries in order, and no blend', async () => {
    const scope = new Scope()
    const { transformer } = pipeline
    const engine = transformer.engine.native
    const upload = ({ data, shape }: TensorData): NativeTensor => scope.add(engine.upload(data, shape))
    try {
      const entries = [upload(await embed(A)), upload(await embed(B))]
      const latents = scope.add(engine.op('randn', { y: { shape: [4, 20, 4, 4] }, seed_low: 1, seed_high: 0, stream: 0, frame_major: 1 })['y']!)
      const chunks = [{ first: 0, start: 0, end: 10 }, { first: 6, start: 10, end: 20 }]
      const globalTokens = async (shares: number[][], guidanceScale: number): Promise<[Buffer, number | undefined, number | undefined]> => {
        const text = conditionText(transformer, entries, undefined, guidanceScale, scope, shares)
        const { global_tokens: tokens } = transformer.native.trace({ latents, timestep: 500, ...text, fps: 16, height: 32, width: 32, chunks, keyframes: [0, 5, 10, 15], fuse: true })
        return [bits((await tokens!.read()) as TensorData), text.text.shape[0], text.vinTextRows]
      }
      for (const guidanceScale of [0, 1, 2]) {
        const [hard, rows, all] = await globalTokens([[1, 0], [0, 1]], guidanceScale)
        const [soft, more, entriesOnly] = await globalTokens([[0.75, 0.25], [0.25, 0.75]], guidanceScale)
        expect(soft).toEqual(hard)
        expect(all).toBeUndefined()
        expect(entriesOnly).toBe(rows)
        expect(more).toBeGreaterThan(rows!)
      }
    } finally {
      scope.dispose()
    }
  })

  test('rows for the VIN that are not there are refused by the addon', () => {
    const scope = new Scope()
    const { transformer } = pipeline
    const engine = transformer.engine.native
    try {
      const latents = scope.add(engine.upload(new Float32Array(4 * 10 * 16), [4, 10, 4, 4]))
      const text = scope.add(engine.upload(new Float32Array(3 * 32), [3, 32]))
      const request = { latents, timestep: 500, text, guidanceScale: 1, fps: 16, height: 32, width: 32, chunks: [{ first: 0, start: 0, end: 10 }], keyframes: [0, 5], fuse: false }
      for (const vinTextRows of [0, -1, 1.5, 4, NaN]) expect(() => transformer.native.denoise({ ...request, vinTextRows })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE', message: 'Expected 1 to 3 rows for vinTextRows' }))
      // Negative rows without a negative text: there are none to count.
      expect(() => transformer.native.denoise({ ...request, vinNegativeTextRows: 1 })).toThrow(expect.objectContaining({ code: 'ERR_OUT_OF_RANGE' }))
      const { encoder, processor } = transformer.native.attention({ ...request, vinTextRows: 2 })
      expect(processor[0]!.shape).toEqual([4, 10, 10])
      for (const map of [encoder, ...processor]) map.dispose()
    } finally {
      scope.dispose()
    }
  })

  test('each fading chunk is as if its own blend were the text', async () => {
    const isolated = { method: 'independent', contextFrames: 0, fusion: 'none' } as const
    const [a, b] = [await embed(A), await embed(B)]
    const together = await run({ ...isolated, prompt: timeline(10, 20) })
    for (const [chunk, w] of [[1, 0.25], [2, 0.75]] as const) {
      const alone = await run({ ...isolated, promptEmbeds: await blend(a, b, w) })
      expect(movedFrames(alone, together)).toEqual(frames(0, 40).filter((frame) => Math.floor(frame / 10) !== chunk))
    }
  })

  test('0 is the text of one entry, and a first entry has nothing to fade from', async () => {
    const wanted = bits(await run({ prompt: timeline(10) }))
    expect(bits(await run({ prompt: timeline(10, 0) }))).toEqual(wanted)
    const [first, second] = timeline(10)
    expect(bits(await run({ prompt: [{ ...first!, ease: 9 }, second!] }))).toEqual(wanted)
  })

  test('is part of what a video says it was made from, and of a saved state', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'vin-timeline-'))
    try {
      const video = await pipeline.generate({ ...options, prompt: timeline(10, 20), numInferenceSteps: 1, resume: folder })
      expect(video.options).toMatchObject({ prompt: [{ at: 0, prompt: A }, { at: { frame: 32 }, prompt: B, ease: 20 }] })
      await expect(pipeline.generate({ ...options, prompt: timeline(10, 10), numInferenceSteps: 1, resume: folder })).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'prompt' } })
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

test('times in seconds and in frames may be mixed', () => {
  // 32 frames are 2 seconds: before 3 s, whatever their numbers say.
  const mixed = [{ at: { frame: 32 }, prompt: A }, { at: 3, prompt: B }]
  expect(pipeline.plan({ ...options, prompt: mixed }).prompts).toEqual([A, B, B, B].map((_, chunk) => (10 * chunk + 5 < 15 ? A : B)))
  expect(() => pipeline.plan({ ...options, prompt: [mixed[1]!, mixed[0]!] })).toThrow(RangeError)
})
