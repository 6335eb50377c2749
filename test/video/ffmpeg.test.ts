// The user's ffmpeg: reading videos at a given size and rate, and WebP without sharp. Without an ffmpeg only its absence is tested.

import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { findProgram } from '../../lib/native/optional.js'
import { readVideo } from '../../lib/video/ffmpeg.js'
import type { Frame } from '../../lib/video/frames.js'
import { breakSharp, mendSharp, notInstalled } from '../support/sharp.js'
import { frameOf, psnr, syntheticVideo } from './support.js'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-ffmpeg-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))
afterEach(() => {
  vi.unstubAllEnvs()
  mendSharp()
})

async function all(path: string, target: Parameters<typeof readVideo>[1]): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of readVideo(path, target)) frames.push(frame)
  return frames
}

test('without ffmpeg a video is an error that says what to install', async () => {
  vi.stubEnv('PATH', folder)
  await expect(all('x.mp4', { width: 8, height: 8, fps: 16 })).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('install ffmpeg') as string })
})

const ffmpeg = spawnSync('ffmpeg', ['-version']).status === 0
if (!ffmpeg) console.warn('ffmpeg is not on PATH: reading videos and WebP through it were not tested')

describe.runIf(ffmpeg)('with ffmpeg', () => {
  test('frames come in order, at the size and rate asked for', async () => {
    const size = { width: 64, height: 48, numFrames: 16 }
    await syntheticVideo(size).save(join(folder, 'a.y4m'))
    const same = await all(join(folder, 'a.y4m'), { width: 64, height: 48, fps: 16 })
    expect(same.map(({ index }) => index)).toEqual(Array.from({ length: 16 }, (_, i) => i))
    for (const frame of same) expect(psnr(frame.data, frameOf(size, frame.index).data)).toBeGreaterThan(40)
    expect(await all(join(folder, 'a.y4m'), { width: 64, height: 48, fps: 8 })).toHaveLength(8)
    const cropped = await all(join(folder, 'a.y4m'), { width: 16, height: 24, fps: 16 })
    expect(cropped[0]).toMatchObject({ width: 16, height: 24 })
    expect(cropped[0]!.data).toHaveLength(16 * 24 * 3)
  })

  test('a reader that stops, and an abort, end the program', async () => {
    await syntheticVideo({ numFrames: 64 }).save(join(folder, 'b.y4m'))
    for await (const { index } of readVideo(join(folder, 'b.y4m'), { width: 64, height: 64, fps: 16 })) if (index === 2) break
    const abort = new AbortController()
    const read = async (): Promise<void> => {
      for await (const { index } of readVideo(join(folder, 'b.y4m'), { width: 64, height: 64, fps: 16, signal: abort.signal })) if (index === 2) abort.abort('enough')
    }
    await expect(read()).rejects.toBe('enough')
  })

  test('an ffmpeg without its ffprobe is an error that says so', async () => {
    await syntheticVideo({ numFrames: 1 }).save(join(folder, 'p.y4m'))
    const alone = await mkdtemp(join(folder, 'alone-'))
    await symlink((await findProgram('ffmpeg'))!, join(alone, 'ffmpeg'))
    vi.stubEnv('PATH', alone)
    await expect(all(join(folder, 'p.y4m'), { width: 8, height: 8, fps: 16 })).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('Expected ffprobe on PATH') as string })
  })

  test('what is no video is ERR_VIN_FORMAT', async () => {
    await writeFile(join(folder, 'c.mp4'), 'not a video')
    await expect(all(join(folder, 'c.mp4'), { width: 8, height: 8, fps: 16 })).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
  })

  test.each([
    ['not installed', notInstalled],
    ['installed without its binary', new Error('Could not load the "sharp" module using the linux-x64 runtime\nPossible solutions: …')],
    ['installed where addons are forbidden', Object.assign(new Error('Cannot load native addon because loading addons is disabled.'), { code: 'ERR_DLOPEN_DISABLED' })]
  ])('WebP is written without sharp: %s', async (_, error) => {
    breakSharp(error)
    vi.resetModules()
    const { syntheticVideo: fresh } = await import('./support.js')
    const bytes = await fresh({ numFrames: 8 }).toBuffer('webp', { scale: 2 })
    mendSharp()
    vi.resetModules()
    const { default: sharp } = await import('sharp')
    expect(await sharp(bytes, { animated: true }).metadata()).toMatchObject({ format: 'webp', pages: 8, width: 128, pageHeight: 128 })
  })
})
