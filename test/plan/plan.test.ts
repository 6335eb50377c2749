import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { planChunks, planOverlaps, wholeVideo } from '../../lib/plan/chunks.js'
import { rescheduledNoise, strideOf } from '../../lib/plan/noise.js'
import { evaluationFlops } from '../../lib/plan/cost.js'
import { latentFramesOf, paperMicroBatch, videoFramesOf } from '../../lib/plan/frames.js'
import { fuses } from '../../lib/plan/fusion.js'
import { planKeyframes } from '../../lib/plan/keyframes.js'

const rows = (N: number, chunk: number, context: number): number[][] => planChunks(N, chunk, context).map(({ first, start, end }) => [first, start, end])

describe('chunks', () => {
  test.each([
    [25, 10, 4, [[0, 0, 10], [6, 10, 20], [16, 20, 25]]],
    [83, 20, 12, [[0, 0, 20], [8, 20, 40], [28, 40, 60], [48, 60, 83]]],
    [33, 10, 4, [[0, 0, 10], [6, 10, 20], [16, 20, 33]]],
    [80, 20, 12, [[0, 0, 20], [8, 20, 40], [28, 40, 60], [48, 60, 80]]],
    [10, 10, 4, [[0, 0, 10]]],
    [3, 10, 4, [[0, 0, 3]]],
    // As long as the context is not shorter than it.
    [24, 10, 4, [[0, 0, 10], [6, 10, 20], [16, 20, 24]]],
    [12, 10, 4, [[0, 0, 12]]]
  ])('N %i, chunk %i, context %i', (N, chunk, context, wanted) => {
    expect(rows(N, chunk, context)).toEqual(wanted)
  })

  test('every latent frame is owned once, and at most two chunks see it', () => {
    for (let N = 1; N < 60; N++) {
      for (const [chunk, context] of [[7, 0], [7, 3], [7, 7], [20, 12]] as const) {
        const chunks = planChunks(N, chunk, context)
        const owners = Array.from({ length: N }, (_, frame) => chunks.filter(({ start, end }) => frame >= start && frame < end).length)
        const seen = Array.from({ length: N }, (_, frame) => chunks.filter(({ first, end }) => frame >= first && frame < end).length)
        expect(new Set(owners)).toEqual(new Set([1]))
        expect(Math.max(...seen)).toBeLessThanOrEqual(2)
      }
    }
  })

  test('context beyond the chunk is a RangeError', () => {
    expect(() => planChunks(40, 10, 11)).toThrow(RangeError)
  })

  test('overlaps are the contexts', () => {
    expect(planOverlaps(planChunks(25, 10, 4))).toEqual([{ from: 6, until: 10 }, { from: 16, until: 20 }])
    expect(planOverlaps(planChunks(25, 10, 0))).toEqual([])
  })
})

describe('keyframes', () => {
  test.each([
    [1, 20, [0, 5, 10, 15]],
    [0.5, 13, [0, 2, 5, 7, 10, 12]],
    [0.4, 9, [0, 2, 4, 6, 8]],
    [0.2, 5, [0, 1, 2, 3, 4]],
    [0.6, 28, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]],
    [1e-3, 3, [0, 1, 2]]
  ])('every %d s of %i latent frames', (interval, N, wanted) => {
    expect(planKeyframes(N, interval, 5)).toEqual(wanted)
  })
})

describe('fusion windows', () => {
  const active = (fusion: 'early' | 'mid' | 'late' | 'none', n: number): number[] => Array.from({ length: n }, (_, s) => n - s).filter((left) => fuses(fusion, n - left, n))

  test('of 50 steps: early 50 … 21, mid 35 … 16, late 20 … 1', () => {
    expect(active('early', 50)).toEqual(Array.from({ length: 30 }, (_, i) => 50 - i))
    expect(active('mid', 50)).toEqual(Array.from({ length: 20 }, (_, i) => 35 - i))
    expect(active('late', 50)).toEqual(Array.from({ length: 20 }, (_, i) => 20 - i))
    expect(active('none', 50)).toEqual([])
  })

  test('of 20 steps early has 12; the quotient decides where 0.7 · n is inexact', () => {
    expect(active('early', 20)).toHaveLength(12)
    expect(active('mid', 90)[0]).toBe(63)
    expect(active('mid', 170)[0]).toBe(119)
  })
})

describe('frames', () => {
  const open = { frames: 17, latentFrames: 5 }
  test('16 ↔ 5', () => {
    for (const [frames, latent] of [[64, 20], [128, 40], [256, 80], [21, 8], [1, 2], [16, 5], [17, 7]] as const) expect(latentFramesOf(frames, paperMicroBatch)).toBe(latent)
  })
  test('17 ↔ 5', () => {
    for (const [frames, latent] of [[1, 1], [16, 4], [17, 5], [20, 6], [34, 10], [51, 15], [272, 80]] as const) expect(latentFramesOf(frames, open)).toBe(latent)
  })
  test('back: as many frames as latents hold, and none for padding alone', () => {
    expect(videoFramesOf(20, paperMicroBatch)).toBe(64)
    expect(videoFramesOf(8, paperMicroBatch)).toBe(24)
    expect(videoFramesOf(6, open)).toBe(21)
    expect(() => videoFramesOf(6, paperMicroBatch)).toThrow(RangeError)
    expect(() => videoFramesOf(0, open)).toThrow(RangeError)
  })
  test('forth and back agree for every length', () => {
    for (const micro of [paperMicroBatch, open]) {
      for (let frames = 1; frames < 200; frames++) {
        const latent = latentFramesOf(frames, micro)
        const most = videoFramesOf(latent, micro)
        expect(most).toBeGreaterThanOrEqual(frames)
        expect(latentFramesOf(most, micro)).toBe(latent)
      }
    }
  })
})

describe('FLOPs of the published model, TFLOP', () => {
  const published = (layout: 'factorised' | 'hybrid' | 'full') => ({ layout, depth: 28, C: 1152, mlpRatio: 4, S: 240, L: 300, D: 4096, vin: { G: 512, d: 4096, blocks: 4 } })
  test.each([
    ['factorised', 40, 21.07, [24.05, 26.85, 28.52, 30.76]],
    ['factorised', 80, 42.23, [46.42, 54.79, 59.82, 66.53]],
    ['hybrid', 40, 32.91, [29.97, 34.43, 37.28, 41.3]],
    ['hybrid', 80, 89.6, [58.26, 71.63, 80.19, 92.23]],
    ['full', 40, 22.25, [20.34, 23.46, 25.52, 28.46]],
    ['full', 80, 68.28, [39.14, 48.51, 54.67, 63.51]]
  ] as const)('%s, N %i', (layout, N, whole, chunked) => {
    const model = published(layout)
    expect(evaluationFlops(model, { chunks: wholeVideo(N) }) / 1e12).toBeCloseTo(whole, 1.9)
    const flops = [0, 5, 8, 12].map((context) => evaluationFlops(model, { chunks: planChunks(N, 20, context), keyframes: planKeyframes(N, 1, 5) }) / 1e12)
    flops.forEach((value, i) => expect(value).toBeCloseTo(chunked[i] as number, 1.9))
  })
})

describe("FreeNoise's noise, methods.md §3", () => {
  test('strides are the largest divisors of a quarter at the most', () => {
    expect([20, 16, 10, 5, 7, 3, 1, 24].map(strideOf)).toEqual([5, 4, 2, 1, 1, 1, 1, 6])
  })
  test('the frames of seed 7', () => {
    const base = Array.from({ length: 20 }, (_, frame) => frame)
    const shuffled = [1, 4, 0, 3, 2, 9, 7, 6, 5, 8, 10, 11, 13, 12, 14, 19, 15, 16, 18, 17]
    expect(rescheduledNoise(40, 20, 7)).toEqual([...base, ...shuffled])
    expect(rescheduledNoise(33, 20, 7)).toEqual([...base, ...shuffled.slice(0, 13)])
    expect(rescheduledNoise(12, 20, 7)).toEqual(base.slice(0, 12))
  })
  test('every window that begins at a multiple of the stride holds the noise of each of the first frames once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 200 }), fc.bigInt(0n, 2n ** 64n - 1n), (window, frames, seed) => {
        const sources = rescheduledNoise(frames, window, seed)
        expect(sources).toHaveLength(frames)
        for (let begin = 0; begin + window <= frames; begin += strideOf(window)) expect(new Set(sources.slice(begin, begin + window)).size).toBe(window)
      })
    )
  })
})

test('attention over windows costs less than over all frames: 1.25, 0.81 and 0.45 of it at 40, 80 and 160 latent frames', () => {
  const model = { layout: 'full', depth: 1, C: 1e-9, mlpRatio: 4, S: 240, L: 0, D: 0 } as const
  for (const [frames, share] of [[40, 1.25], [80, 0.81], [160, 0.45]] as const) {
    const chunks = wholeVideo(frames)
    expect(evaluationFlops(model, { chunks, attention: { kind: 'windows', frames: 20, stride: 5 } }) / evaluationFlops(model, { chunks })).toBeCloseTo(share, 1.9)
  }
})
