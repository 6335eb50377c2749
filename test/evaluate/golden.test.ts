// Metrics against the numbers of the published programs (fixtures/methods): MAWE of StreamingT2V, PySceneDetect's cuts, four of VBench.
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadBinding } from '../../lib/native/load.js'
import type { TypedArray } from '../../lib/native/binding.js'
import type { Picture } from '../../lib/index.js'
import { mapSimilarity } from '../../lib/evaluate/clip-similarity.js'
import { clipLength, clipsOf } from '../../lib/evaluate/clips.js'
import { ConsistencySums, encodeFrame } from '../../lib/evaluate/consistency.js'
import { DynamicDegreeMeter, pairsNeeded, pickInterval } from '../../lib/evaluate/dynamic-degree.js'
import { MaweSums, pairError, resizeBilinear, splat } from '../../lib/evaluate/mawe.js'
import { MotionSmoothnessMeter } from '../../lib/evaluate/motion-smoothness.js'
import { AdaptiveCuts, ContentCuts, ContentScores } from '../../lib/evaluate/scene-cuts.js'
import { Slices } from '../../lib/evaluate/slices.js'
import { vbenchTotal, type VBenchDimension } from '../../lib/evaluate/vbench-total.js'
import { TemporalFlickering } from '../../lib/evaluate/temporal-flickering.js'
import { fixture, fixtureBytes } from '../support/fixtures.js'

type Cases = Record<string, never>
const cases = (name: string): Cases => JSON.parse(readFileSync(fixture('methods', `${name}.json`), 'utf8')) as Cases
const open = (name: string) => {
  const { tensors } = loadBinding().readSafetensors(fixtureBytes('methods', `${name}.safetensors`))
  return (key: string): { data: TypedArray; shape: number[] } => ({ data: tensors[key]!.data!, shape: tensors[key]!.shape })
}
/** Numbers that JSON has no word for are strings. */
const number = (value: number | string): number => Number(value)
/** [3, H, W] at `from` → RGB. */
const interleaved = (planes: ArrayLike<number>, width: number, height: number, repeat = 1): Picture => {
  const data = new Uint8Array(3 * width * height * repeat * repeat)
  for (let y = 0; y < height * repeat; y++)
    for (let x = 0; x < width * repeat; x++) for (let c = 0; c < 3; c++) data[(y * width * repeat + x) * 3 + c] = planes[(c * height + Math.floor(y / repeat)) * width + Math.floor(x / repeat)]!
  return { data, width: width * repeat, height: height * repeat }
}

interface MaweCase {
  name: string
  warp_error: number[]
  motion: number[]
  known: number[]
  code: number | string
  guarded: number | null
  static: number
  lost?: number
  pixel_repeat: number
  flow_block: number
}

describe('MAWE', () => {
  const get = open('streaming')
  const { mawe_native_size: native, mawe_720: resized } = cases('streaming') as unknown as { mawe_native_size: MaweCase[]; mawe_720: MaweCase[] }
  test.each(native.filter(({ name }) => /^m\d$/.test(name)))('$name', (wanted) => {
    const [frames, flows, warped, known] = ['frames', 'flow', 'warped', 'known'].map((part) => get(`${wanted.name}.${part}`)) as [ReturnType<typeof get>, ReturnType<typeof get>, ReturnType<typeof get>, ReturnType<typeof get>]
    const [T = 0, , H = 0, W = 0] = frames.shape
    const pixels = H * W
    const sums = new MaweSums()
    for (let i = 0; i + 1 < T; i++) {
      const at = (frame: number): Picture => interleaved(frames.data.subarray(3 * frame * pixels, 3 * (frame + 1) * pixels), W, H)
      const flow = { data: flows.data.slice(2 * i * pixels, 2 * (i + 1) * pixels) as Float32Array, width: W, height: H }
      const source = splat(flow)
      const moved = at(i).data
      for (let place = 0; place < pixels; place++) {
        expect(source[place]! >= 0).toBe(known.data[i * pixels + place] === 1)
        if (source[place]! >= 0) for (let c = 0; c < 3; c++) expect(moved[3 * source[place]! + c]).toBe(warped.data[(3 * i + c) * pixels + place])
      }
      const pair = pairError(at(i), at(i + 1), flow)
      expect(Math.abs(pair.warpError - wanted.warp_error[i]!)).toBeLessThanOrEqual(1e-5 * wanted.warp_error[i]!)
      expect(Math.abs(pair.motion - wanted.motion[i]!)).toBeLessThanOrEqual(1e-4)
      if (wanted.known !== undefined) expect(pair.known).toBe(wanted.known[i])
      sums.add(pair)
    }
    const value = sums.valueBy('given')!
    const near = (actual: number | undefined, target: number): void => {
      if (Number.isFinite(target)) expect(Math.abs(actual! - target)).toBeLessThanOrEqual(1e-5 * target)
      else expect(actual).toBe(target)
    }
    near(value.code, number(wanted.code))
    if (wanted.guarded === null) expect(value.guarded).toBeUndefined()
    else near(value.guarded, wanted.guarded)
    expect([value.static, value.lost]).toEqual([wanted.static, wanted.lost ?? 0])
  })

  test.each(resized)('$name, at 720 × 720', async (wanted) => {
    const [frames, blocks, places, samples] = ['frames', 'flow_blocks', 'sample_at', 'sample'].map((part) => get(`${wanted.name}.${part}`)) as [ReturnType<typeof get>, ReturnType<typeof get>, ReturnType<typeof get>, ReturnType<typeof get>]
    const [T = 0, , h = 0, w = 0] = frames.shape
    const large: Picture[] = []
    for (let i = 0; i < T; i++) large.push(await resizeBilinear(interleaved(frames.data.subarray(3 * i * h * w, 3 * (i + 1) * h * w), w, h, wanted.pixel_repeat), 720, 720, new Slices()))
    const count = places.shape[1]!
    for (let k = 0; k < count; k++) {
      const [frame, c, y, x] = [0, 1, 2, 3].map((axis) => places.data[axis * count + k]!) as [number, number, number, number]
      expect(Math.abs(large[frame]!.data[(y * 720 + x) * 3 + c]! - samples.data[k]!)).toBeLessThanOrEqual(1)
    }
    const sums = new MaweSums()
    const side = blocks.shape[2]!
    for (let i = 0; i + 1 < T; i++) {
      const data = new Float32Array(2 * 720 * 720)
      for (let part = 0; part < 2; part++)
        for (let y = 0; y < 720; y++) for (let x = 0; x < 720; x++) data[(part * 720 + y) * 720 + x] = blocks.data[((2 * i + part) * side + Math.floor(y / wanted.flow_block)) * side + Math.floor(x / wanted.flow_block)]!
      const pair = pairError(large[i]!, large[i + 1]!, { data, width: 720, height: 720 })
      expect(Math.abs(pair.warpError - wanted.warp_error[i]!)).toBeLessThanOrEqual(1e-3 * wanted.warp_error[i]!)
      expect(Math.abs(pair.motion - wanted.motion[i]!)).toBeLessThanOrEqual(1e-4)
      sums.add(pair)
    }
    expect(Math.abs(sums.valueBy('given')!.code - number(wanted.code))).toBeLessThanOrEqual(1e-3 * number(wanted.code))
  })
})

describe('scene cuts', () => {
  const get = open('scenes')
  interface SceneCase {
    pixel_repeat: number
    adaptive_cuts: number[]
    content_cuts_27: number[]
    content_cuts_35: number[]
    scores?: number[]
    adaptive_ratios?: (number | null)[]
  }
  const { videos } = cases('scenes') as unknown as { videos: Record<string, SceneCase> }
  test.each(Object.entries(videos))('%s', (name, wanted) => {
    const { data, shape: [T = 0, h = 0, w = 0] } = get(name)
    const repeat = wanted.pixel_repeat
    const tolerance = repeat > 1 ? 0.02 : 1e-5
    const [scores, adaptive, content27, content35] = [new ContentScores(), new AdaptiveCuts(), new ContentCuts(27), new ContentCuts(35)]
    for (let t = 0; t < T; t++) {
      const frame = new Uint8Array(3 * h * w * repeat * repeat)
      for (let y = 0; y < h * repeat; y++)
        for (let x = 0; x < w * repeat; x++) for (let c = 0; c < 3; c++) frame[(y * w * repeat + x) * 3 + c] = data[((t * h + Math.floor(y / repeat)) * w + Math.floor(x / repeat)) * 3 + c]!
      const score = scores.next({ data: frame, width: w * repeat, height: h * repeat })
      const ratio = adaptive.add(score)
      content27.add(score)
      content35.add(score)
      if (wanted.scores !== undefined) expect(Math.abs(score - wanted.scores[t]!)).toBeLessThanOrEqual(tolerance)
      if (wanted.adaptive_ratios !== undefined && ratio !== undefined) expect(Math.abs(ratio - wanted.adaptive_ratios[t - 2]!)).toBeLessThanOrEqual(tolerance)
    }
    expect([adaptive.cuts, content27.cuts, content35.cuts]).toEqual([wanted.adaptive_cuts, wanted.content_cuts_27, wanted.content_cuts_35])
  })
})

describe('VBench', () => {
  const get = open('vbench')
  const all = cases('vbench') as unknown as {
    consistency: { name: string; videos: number[]; data_set: number }[]
    dynamic_degree: { name: string; frames: number; fps: number; H: number; W: number; threshold: number; pairs_needed: number; moves: boolean; pair_scores: number[] }[]
    dynamic_degree_frames_to_pairs_needed: [number, number][]
    dynamic_degree_fps_to_interval: [number, number][]
    long_clips: { frames: number; fps: number; seconds: number; clips: [number, number][] }[]
    subject_map: { x: number[]; y: number[] }
    background_map: { x: number[]; y: number[] }
    flickering_and_smoothness: { name: string; temporal_flickering: number; motion_smoothness: number }[]
  }
  test.each(all.consistency)('consistency $name', async ({ name, videos }) => {
    for (const [i, wanted] of videos.entries()) {
      const { data, shape: [n = 0, d = 0] } = get(`${name}.${i}.features`)
      const sums = new ConsistencySums()
      const picture = { data: new Uint8Array(3), width: 1, height: 1 }
      for (let t = 0; t < n; t++) sums.add(await encodeFrame({ name: 'given', encode: () => data.slice(t * d, (t + 1) * d) as Float32Array }, picture))
      expect(Math.abs(sums.value! - wanted)).toBeLessThanOrEqual(1e-6)
    }
  })

  test.each(all.dynamic_degree)('dynamic degree $name', async ({ name, frames, fps, H, W, ...wanted }) => {
    const { data, shape } = get(`${name}.flow`)
    const [height = 0, width = 0] = shape.slice(2)
    const size = 2 * height * width
    let pair = 0
    const meter = new DynamicDegreeMeter(fps, { name: 'given', estimate: () => ({ data: data.slice(pair * size, ++pair * size) as Float32Array, width, height }) })
    for (let t = 0; t < frames; t++) await meter.add({ data: new Uint8Array(3 * H * W), width: W, height: H })
    const value = meter.value!
    expect(value).toMatchObject({ moves: wanted.moves, threshold: wanted.threshold, needed: wanted.pairs_needed })
    expect(value.scores).toHaveLength(wanted.pair_scores.length)
    for (const [i, score] of value.scores.entries()) expect(Math.abs(score - wanted.pair_scores[i]!)).toBeLessThanOrEqual(1e-4)
  })

  test('how many pairs must move, and how far apart frames are picked', () => {
    for (const [frames, pairs] of all.dynamic_degree_frames_to_pairs_needed) expect([frames, pairsNeeded(frames)]).toEqual([frames, pairs])
    for (const [fps, interval] of all.dynamic_degree_fps_to_interval) expect([fps, pickInterval(fps)]).toEqual([fps, interval])
  })

  test.each(all.flickering_and_smoothness)('flickering and smoothness $name', async ({ name, temporal_flickering: flickering, motion_smoothness: smoothness }) => {
    const [frames, predictions] = [get(`${name}.frames`), get(`${name}.predictions`)]
    const [T = 0, height = 0, width = 0] = frames.shape
    const size = 3 * height * width
    let at = 0
    const [flicker, smooth] = [new TemporalFlickering(), new MotionSmoothnessMeter({ name: 'given', between: () => (predictions.data.slice(at * size, ++at * size) as Float32Array).map((value) => value * 255) })]
    for (let t = 0; t < T; t++) {
      const frame = { data: frames.data.slice(t * size, (t + 1) * size) as Uint8Array, width, height }
      flicker.add(frame)
      await smooth.add(frame)
    }
    expect(Math.abs(flicker.value! - flickering)).toBeLessThanOrEqual(1e-6)
    expect(Math.abs(smooth.value!.value - smoothness)).toBeLessThanOrEqual(1e-6)
  })

  test('clips of long videos', () => {
    for (const { frames, fps, seconds, clips } of all.long_clips) expect(clipsOf(0, frames, clipLength(fps, seconds))).toEqual(clips)
  })

  test.each(['subject', 'background'] as const)('what the similarity of clips is mapped to: %s', (of) => {
    const { x, y } = all[`${of}_map`]
    for (const [i, similarity] of x.entries()) expect(Math.abs(mapSimilarity(similarity, of) - y[i]!)).toBeLessThanOrEqual(1e-6)
  })
})

describe('totals', () => {
  const { total } = cases('vbench') as unknown as { total: { scores: Record<string, number>; normalised_times_weight: Record<string, number>; weights: Record<string, number>; quality: number; semantic: number; total: number } }
  const camelCase = (name: string): VBenchDimension => name.replace(/ (\w)/g, (_, letter: string) => letter.toUpperCase()) as VBenchDimension
  const scores = Object.fromEntries(Object.entries(total.scores).map(([name, score]) => [camelCase(name), score])) as Record<VBenchDimension, number>

  test('of all sixteen dimensions', () => {
    const found = vbenchTotal(scores)
    for (const [name, wanted] of Object.entries(total.normalised_times_weight)) expect(found.normalized[camelCase(name)]! * total.weights[name]!, name).toBeCloseTo(wanted, 6)
    expect(found.quality).toBeCloseTo(total.quality, 6)
    expect(found.semantic).toBeCloseTo(total.semantic, 6)
    expect(found.total).toBeCloseTo(total.total, 6)
    expect(found.form).toBe('VBench-form')
  })

  test('of some of them there is no total, and what is no dimension counts for nothing', () => {
    const { objectClass: _, ...rest } = scores
    const found = vbenchTotal({ ...rest, sceneCuts: 3, mawe: 2 } as typeof rest)
    expect(found.quality).toBeCloseTo(total.quality, 6)
    expect(found).not.toHaveProperty('semantic')
    expect(found).not.toHaveProperty('total')
    expect(() => vbenchTotal({ subjectConsistancy: 1 } as object)).toThrow("the nearest one is 'subjectConsistency'")
    expect(() => vbenchTotal({ scene: 1.5 })).toThrow(RangeError)
  })
})
