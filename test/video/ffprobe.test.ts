// O1: what another program reads of the files: ffprobe counts every frame and names size, rate and colours.
import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { syntheticVideo } from './support.js'

const found = spawnSync('ffprobe', ['-version']).status === 0
const without = found ? '' : ' (skipped: no ffprobe on PATH)'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-ffprobe-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** The video stream as ffprobe sees it, all packets decoded. */
function probe(path: string): Record<string, string | number> {
  const { stdout, status } = spawnSync('ffprobe', ['-v', 'error', '-count_frames', '-select_streams', 'v:0', '-show_streams', '-of', 'json', path], { encoding: 'utf8' })
  expect(status).toBe(0)
  return (JSON.parse(stdout) as { streams: Record<string, string | number>[] }).streams[0]!
}

describe.skipIf(!found)(`ffprobe${without}`, () => {
  test('mp4: H.264 baseline, yuv420p, every frame, the exact rate', async () => {
    for (const [numFrames, fps, rate] of [[37, 16, '16/1'], [12, 25, '25/1'], [12, 30_000 / 1001, '30000/1001'], [12, 23.976, '24000/1001']] as const) {
      const path = join(folder, `${numFrames}-${rate.replace('/', '-')}.mp4`)
      await syntheticVideo({ numFrames, fps, width: 48, height: 32 }).save(path, { scale: 2 })
      expect(probe(path)).toMatchObject({ codec_name: 'h264', profile: 'Baseline', pix_fmt: 'yuv420p', width: 96, height: 64, nb_read_frames: String(numFrames), r_frame_rate: rate, avg_frame_rate: rate })
    }
  })

  // Macroblocks of 16 × 16 pixels a frame and a second against table A-1: 16 and 256 · 256 and 4096 · 1200 and 72,000 · 1 × 130 is too tall for 1.0 to 3.0.
  test.each([[64, 64, 16, 10], [256, 256, 16, 12], [640, 480, 60, 31], [16, 2080, 1, 31]])('mp4: %d × %d at %d frames a second is of level %d', async (width, height, fps, level) => {
    const path = join(folder, 'level.mp4')
    await syntheticVideo({ numFrames: 2, width, height, fps, pixel: () => 99 }).save(path)
    expect(probe(path)).toMatchObject({ level })
  })

  test('mp4: the level fits the bits as well', async () => {
    const path = join(folder, 'noise.mp4')
    await syntheticVideo({ numFrames: 16, width: 256, height: 256, pixel: (x, y, c, frame) => ((x * 7919 + y * 104_729 + c * 31 + frame * 1_299_709) * 2_654_435_761) % 251 }).save(path)
    const bitRate = Number(probe(path)['bit_rate'])
    // The size alone would be level 1.2. Level 2.2 ends at 4.8 million bits a second, level 3 at 12.
    expect(bitRate).toBeGreaterThan(4_800_000)
    expect(bitRate).toBeLessThan(12_000_000)
    expect(probe(path)).toMatchObject({ level: 30 })
  })

  test('mp4: odd sizes are even in the file, with a warning', async () => {
    const path = join(folder, 'odd.mp4')
    const video = syntheticVideo({ numFrames: 5, width: 33, height: 17 })
    await video.save(path)
    expect(probe(path)).toMatchObject({ width: 34, height: 18, nb_read_frames: '5' })
    expect(video.warnings).toEqual([expect.objectContaining({ code: 'odd-size' })])
  })

  test('gif, apng and y4m: every frame at the size that was asked for, odd ones too', async () => {
    for (const [extension, codec] of [['gif', 'gif'], ['apng', 'apng'], ['y4m', 'rawvideo']] as const) {
      const path = join(folder, `all.${extension}`)
      await syntheticVideo({ numFrames: 9, width: 37, height: 21 }).save(path)
      expect(probe(path)).toMatchObject({ codec_name: codec, width: 37, height: 21, nb_read_frames: '9' })
    }
  })
})
