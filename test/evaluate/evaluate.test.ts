// evaluate on videos of any kind: what it measures, against numbers by hand, and what it refuses.

import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { evaluate } from '../../lib/index.js'
import type { Frame } from '../../lib/index.js'
import { syntheticVideo } from '../video/support.js'

const ffmpeg = ['ffmpeg', 'ffprobe'].every((name) => spawnSync(name, ['-version']).status === 0)
const without = ffmpeg ? '' : ' (skipped: no ffmpeg on PATH)'

let folder = ''
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'vin-evaluate-'))))
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Frames of one grey each, written into one array again and again. */
async function* greys(levels: readonly number[], size = { width: 6, height: 4 }): AsyncGenerator<Frame> {
  const data = new Uint8Array(size.width * size.height * 3)
  for (const [index, level] of levels.entries()) yield { index, data: data.fill(level), ...size }
}

test('flickering is the mean difference of neighbouring frames', async () => {
  // |10 − 0|, |30 − 10|, |0 − 30|: 20 on average.
  expect(await evaluate(greys([0, 10, 30, 0]))).toEqual({ frames: 4, width: 6, height: 4, temporalFlickering: 235 / 255 })
  expect(await evaluate(greys([7, 7]))).toMatchObject({ temporalFlickering: 1 })
  // Of one frame there is nothing to compare.
  expect(await evaluate(greys([7]))).toEqual({ frames: 1, width: 6, height: 4 })
  expect(await evaluate(greys([0, 10]), { metrics: [] })).toEqual({ frames: 2, width: 6, height: 4 })
})

test.skipIf(!ffmpeg)(`a file is read at its own size and rate, and says what its Video does${without}`, async () => {
  const video = syntheticVideo({ width: 48, height: 32, numFrames: 6, fps: 10, pixel: (x, y, channel, frame) => (5 * x + 3 * y + 40 * channel + 11 * frame) % 256 })
  const file = join(folder, 'video.apng')
  await video.save(file)
  const measured = await evaluate(video)
  expect(measured).toMatchObject({ frames: 6, width: 48, height: 32 })
  expect(measured.temporalFlickering).toBeLessThan(1 - 11 / 256)
  expect(await evaluate(file)).toEqual(measured)
})

test('what is no metric is refused by name, before a frame is read', async () => {
  let read = 0
  const frames = async function* () {
    read++
    yield* greys([1, 2])
  }
  await expect(evaluate(frames(), { metrics: ['flicker' as never] })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining("'sceneCuts'") as string })
  await expect(evaluate(frames(), { metrics: 'mawe' as never })).rejects.toThrow(TypeError)
  await expect(evaluate(frames(), { prompt: 'a red circle' } as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  expect(read).toBe(0)
})

test('no frames, frames of another size and what is no video are refused', async () => {
  await expect(evaluate(greys([]))).rejects.toThrow('Expected at least one frame')
  const mixed = async function* () {
    yield* greys([1])
    for await (const frame of greys([2], { width: 4, height: 4 })) yield { ...frame, index: 1 }
  }
  await expect(evaluate(mixed())).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('frame 1 with 6 × 4') as string })
  await expect(evaluate([] as never)).rejects.toThrow(TypeError)
  await expect(evaluate((async function* () { yield { index: 0 } })() as never)).rejects.toThrow(TypeError)
})

test('a signal ends it', async () => {
  const reason = new Error('enough')
  const controller = new AbortController()
  const frames = async function* () {
    yield* greys([1])
    controller.abort(reason)
    await new Promise(() => {})
  }
  await expect(evaluate(frames(), { signal: controller.signal })).rejects.toBe(reason)
})
