// Metrics of videos whose values are known by hand: standing still, moving at a known speed, cut at a known frame, rolled, with a seam.
import { describe, expect, test } from 'vitest'
import { evaluate, summarize } from '../../lib/index.js'
import type { Frame, FrameEncoder, MetricName, OpticalFlow, Picture } from '../../lib/index.js'
import { builtInFlow } from '../../lib/evaluate/optical-flow.js'

const SIDE = 64
/** A smooth picture that goes on in every direction, moved to the right and down. */
function moved(dx: number, dy: number, kind = 0): Uint8Array {
  const data = new Uint8Array(3 * SIDE * SIDE)
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++)
      for (let c = 0; c < 3; c++) {
        const [u, v] = [x - dx, y - dy]
        data[(y * SIDE + x) * 3 + c] = Math.round(128 + 50 * Math.sin(0.23 * u + 0.4 * c + 2 * kind) + 40 * Math.cos(0.19 * v - 0.3 * c) + 30 * Math.sin(0.11 * (u + v) + kind))
      }
  return data
}
async function* video(frames: number, at: (frame: number) => Uint8Array): AsyncGenerator<Frame> {
  for (let index = 0; index < frames; index++) yield { index, data: at(index), width: SIDE, height: SIDE }
}
const measure = (frames: number, at: (frame: number) => Uint8Array, metrics: MetricName[], more: object = {}) => evaluate(video(frames, at), { metrics, fps: 16, ...more })

test('a video that stands still', async () => {
  const values = await measure(6, () => moved(0, 0), ['temporalFlickering', 'motionSmoothness', 'dynamicDegree', 'sceneCuts', 'mawe'])
  expect(values).toMatchObject({ temporalFlickering: 1, motionSmoothness: { value: 1 }, dynamicDegree: { moves: false }, sceneCuts: [], mawe: { code: NaN, motion: 0, warpError: 0, pairs: 5, static: 5 } })
  expect(values.mawe).not.toHaveProperty('guarded')
})

test.each([[2, 1], [-1.5, 0.5], [0, 3], [0.25, -0.25]])('the built-in flow of a picture moved by %d, %d', async (dx, dy) => {
  const picture = (data: Uint8Array): Picture => ({ data, width: SIDE, height: SIDE })
  const { data } = await builtInFlow.estimate(picture(moved(0, 0)), picture(moved(dx, dy)))
  let [sum, count] = [0, 0]
  for (let y = 6; y < SIDE - 6; y++)
    for (let x = 6; x < SIDE - 6; x++) {
      sum += Math.hypot(data[y * SIDE + x]! - dx, data[SIDE * SIDE + y * SIDE + x]! - dy)
      count += 1
    }
  // Mean end-point error, in pixels.
  expect(sum / count).toBeLessThan(0.1)
})

test('a video that moves at a known speed', async () => {
  const { mawe, dynamicDegree } = await measure(5, (frame) => moved(2 * frame, frame), ['mawe', 'dynamicDegree'])
  // √5 pixels of 64, in pixels of 720.
  expect(mawe!.motion / ((Math.sqrt(5) * 720) / SIDE)).toBeGreaterThan(0.9)
  expect(mawe!.motion / ((Math.sqrt(5) * 720) / SIDE)).toBeLessThan(1.1)
  expect(mawe).toMatchObject({ pairs: 4, static: 0, lost: 0, flow: 'built-in' })
  expect(mawe!.guarded).toBeCloseTo(mawe!.warpError / (9.5 * mawe!.motion), 6)
  expect(dynamicDegree).toMatchObject({ moves: true })
})

test('a rolled picture: what the exact flow leaves is the part that came in again', async () => {
  const noise = moved(0, 0).map((value, i) => (value + 97 * i) % 251)
  const rolled = (by: number): Uint8Array => {
    const data = new Uint8Array(noise.length)
    for (let y = 0; y < SIDE; y++) for (let x = 0; x < SIDE; x++) for (let c = 0; c < 3; c++) data[(y * SIDE + ((x + by) % SIDE)) * 3 + c] = noise[(y * SIDE + x) * 3 + c]!
    return data
  }
  const exact: OpticalFlow = { name: 'exact', estimate: ({ width, height }) => ({ data: new Float32Array(2 * width * height).fill((3 * width) / SIDE, 0, width * height), width, height }) }
  const { mawe } = await measure(4, (frame) => rolled(3 * frame), ['mawe'], { flow: exact })
  // Resizing to 720 makes 33.75 pixels of 3, rounded to 34: a quarter of a pixel is left.
  expect(mawe).toMatchObject({ motion: 33.75, pairs: 3, static: 0, flow: 'exact' })
  const { mawe: still } = await measure(4, () => rolled(0), ['mawe'], { flow: exact })
  expect(mawe!.warpError).toBeLessThan(0.1 * still!.warpError)
})

test('cuts at known frames, and none in what only moves', async () => {
  expect((await measure(60, (frame) => moved(frame, 0, frame < 20 ? 0 : frame < 41 ? 1.1 : 2.4), ['sceneCuts'])).sceneCuts).toEqual([20, 41])
  expect((await measure(40, (frame) => moved(frame, 0), ['sceneCuts'])).sceneCuts).toEqual([])
})

test('a seam is the change at a border over the change elsewhere', async () => {
  const grey = (value: number): Uint8Array => new Uint8Array(3 * SIDE * SIDE).fill(value)
  // 2 a frame, and 6 more at frame 10.
  const { seamScore } = await measure(20, (frame) => grey(2 * frame + (frame >= 10 ? 6 : 0)), ['seamScore'], { borders: [10] })
  expect(seamScore).toBeCloseTo(4, 9)
  expect((await measure(20, (frame) => grey(2 * frame), ['seamScore'], { borders: [10] })).seamScore).toBeCloseTo(1, 9)
  await expect(measure(4, grey, ['seamScore'])).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('borders') as string })
})

describe('features of a given encoder', () => {
  /** The angle that a grey frame stands for, as a direction. */
  const encoder: FrameEncoder = { name: 'angle', encode: ({ data }) => Float32Array.of(Math.cos((data[0]! * Math.PI) / 180), Math.sin((data[0]! * Math.PI) / 180)) }
  const angle = (degrees: number): Uint8Array => new Uint8Array(3 * SIDE * SIDE).fill(degrees)

  test('consistency is the mean of the similarities to the frame before and to the first', async () => {
    const { subjectConsistency, backgroundConsistency } = await measure(4, (frame) => angle(30 * frame), ['subjectConsistency', 'backgroundConsistency'], { encoder })
    const cos = (degrees: number): number => Math.cos((degrees * Math.PI) / 180)
    const wanted = [1, 2, 3].reduce((sum, i) => sum + (Math.max(0, cos(30)) + Math.max(0, cos(30 * i))) / 2, 0) / 3
    expect(subjectConsistency).toMatchObject({ encoder: 'angle', form: 'VBench-form' })
    expect(subjectConsistency!.value).toBeCloseTo(wanted, 6)
    expect(backgroundConsistency!.value).toBeCloseTo(wanted, 6)
    await expect(measure(4, angle, ['subjectConsistency'])).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining('vinEncoder') as string })
  })

  test('what lasts over a gap', async () => {
    // Another after each frame, the same after every second one.
    const turning = (frame: number): Uint8Array => angle(frame % 2 === 0 ? 0 : 90)
    const values = await measure(40, turning, ['identityOverGap'], { encoder, gaps: [0.0625, 1, 2, 8] })
    expect(values.identityOverGap!.gaps).toEqual([0.0625, 1, 2])
    expect(values.identityOverGap!.oneFrame).toBeCloseTo(0, 6)
    for (const [i, wanted] of [0, 1, 1].entries()) expect(values.identityOverGap!.similarity[i]).toBeCloseTo(wanted, 6)
    const other = await measure(40, () => angle(0), ['identityOverGap'], { encoder, gaps: [1] })
    expect(summarize([values, other]).identityOverGap!.floor).toBeCloseTo(0.5, 6)
  })
})

test('numbers of different flows are not averaged', async () => {
  const other: OpticalFlow = { name: 'other', estimate: ({ width, height }) => ({ data: new Float32Array(2 * width * height).fill(1), width, height }) }
  const [a, b] = await Promise.all([measure(3, (frame) => moved(frame, 0), ['mawe']), measure(3, (frame) => moved(frame, 0), ['mawe'], { flow: other })])
  expect(summarize([a, a]).mean.mawe).toBeCloseTo(a.mawe!.guarded!, 9)
  expect(() => summarize([a, b])).toThrow(/one flow for all videos/)
})
