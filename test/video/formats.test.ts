// Every writer, read back by something that did not write it.

import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflateSync } from 'node:zlib'
import { decode, decodeApng } from 'fast-png'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { enlarge } from '../../lib/video/frames.js'
import { frameDelay, frameRateFraction } from '../../lib/video/frame-rate.js'
import { rgbToYuv444 } from '../../lib/video/yuv.js'
import { frameOf, psnr, syntheticVideo } from './support.js'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-formats-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Blocks of a GIF: sizes, palette, delays in hundredths, number of pictures with a palette of their own. */
function parseGif(bytes: Buffer): { width: number; height: number; delays: number[]; localPalettes: number; loops: boolean } {
  expect(bytes.toString('latin1', 0, 6)).toBe('GIF89a')
  const result = { width: bytes.readUInt16LE(6), height: bytes.readUInt16LE(8), delays: [] as number[], localPalettes: 0, loops: false }
  let at = 13 + (bytes[10]! & 0x80 ? 3 * 2 ** ((bytes[10]! & 7) + 1) : 0)
  const skipBlocks = (): void => {
    while (bytes[at] !== 0) at += bytes[at]! + 1
    at++
  }
  for (;;) {
    const type = bytes[at++]
    if (type === 0x3b) break
    if (type === 0x21) {
      const label = bytes[at++]
      if (label === 0xf9) result.delays.push(bytes.readUInt16LE(at + 2))
      if (label === 0xff && bytes.toString('latin1', at + 1, at + 12) === 'NETSCAPE2.0') result.loops = true
      skipBlocks()
    } else if (type === 0x2c) {
      const flags = bytes[at + 8]!
      at += 9
      if (flags & 0x80) {
        result.localPalettes++
        at += 3 * 2 ** ((flags & 7) + 1)
      }
      at++
      skipBlocks()
    } else throw new Error(`unknown GIF block ${type} at ${at - 1}`)
  }
  expect(at).toBe(bytes.length)
  return result
}

describe('GIF', () => {
  test('holds all frames, one palette, and delays that add up to the length of the video', async () => {
    const gif = parseGif(await syntheticVideo({ numFrames: 16, width: 40, height: 24 }).toBuffer('gif', { scale: 2 }))
    expect(gif).toMatchObject({ width: 80, height: 48, localPalettes: 0, loops: true })
    expect(gif.delays).toHaveLength(16)
    expect(gif.delays.reduce((a, b) => a + b)).toBe(100)
    for (const delay of gif.delays) expect([6, 7]).toContain(delay)
  })

  test('frames show what was given', async () => {
    const { default: sharp } = await import('sharp')
    const bytes = await syntheticVideo({ numFrames: 3 }).toBuffer('gif')
    for (let page = 0; page < 3; page++) {
      const pixels = await sharp(bytes, { page }).removeAlpha().raw().toBuffer()
      expect(psnr(new Uint8Array(pixels), frameOf({}, page).data)).toBeGreaterThan(30)
    }
  })

  test('delays follow the rounded end of each frame', () => {
    for (const fps of [1, 12, 16, 23.976, 24, 30, 60, 100]) {
      const total = Array.from({ length: 300 }, (_, i) => frameDelay(i, fps, 100)).reduce((a, b) => a + b)
      expect(Math.abs(total - (300 * 100) / fps)).toBeLessThanOrEqual(0.5)
    }
  })
})

describe('APNG', () => {
  test('holds every pixel and the exact delay, at odd sizes too', async () => {
    const size = { width: 37, height: 21, numFrames: 5 }
    const apng = decodeApng(await syntheticVideo(size).toBuffer('.apng', { scale: 3 }))
    expect(apng).toMatchObject({ width: 111, height: 63, numberOfFrames: 5, numberOfPlays: 0 })
    expect(apng.frames).toHaveLength(5)
    apng.frames.forEach((frame, i) => {
      expect([frame.delayNumber, frame.delayDenominator]).toEqual([1, 16])
      expect(Buffer.from(frame.data as Uint8Array).equals(enlarge(frameOf(size, i).data, 37, 21, 3))).toBe(true)
    })
  })

  test('a reader that knows no APNG sees the first frame', async () => {
    const bytes = await syntheticVideo({ numFrames: 2 }).toBuffer('apng')
    const { default: sharp } = await import('sharp')
    expect(new Uint8Array(await sharp(bytes).removeAlpha().raw().toBuffer())).toEqual(frameOf({}, 0).data)
  })
})

describe('PNG', () => {
  test('out.png is a folder of numbered pictures', async () => {
    const video = syntheticVideo({ numFrames: 3, width: 20, height: 11 })
    await video.save(join(folder, 'out.png'))
    expect(await readdir(join(folder, 'out'))).toEqual(['000000.png', '000001.png', '000002.png'])
    const picture = decode(await readFile(join(folder, 'out', '000002.png')))
    expect(picture).toMatchObject({ width: 20, height: 11, channels: 3, depth: 8 })
    expect(picture.data).toEqual(frameOf({ width: 20, height: 11 }, 2).data)
  })

  test('a shorter sequence replaces a longer one, other files are never touched', async () => {
    await syntheticVideo({ numFrames: 4 }).save(join(folder, 'again.png'))
    await syntheticVideo({ numFrames: 2 }).save(join(folder, 'again.png'))
    expect(await readdir(join(folder, 'again'))).toEqual(['000000.png', '000001.png'])
    const { writeFile } = await import('node:fs/promises')
    await writeFile(join(folder, 'again', 'notes.txt'), 'mine')
    await expect(syntheticVideo({ numFrames: 3 }).save(join(folder, 'again.png'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: expect.stringContaining('notes.txt') as string })
    expect(await readdir(join(folder, 'again'))).toEqual(['000000.png', '000001.png', 'notes.txt'])
  })

  test('a single frame is out.png itself', async () => {
    const video = syntheticVideo({ numFrames: 1, width: 20, height: 11 })
    await video.save(join(folder, 'one.png'), { scale: 2 })
    await video.save(join(folder, 'one.png'), { scale: 2 })
    expect((await readdir(folder)).filter((name) => name.includes('one'))).toEqual(['one.png'])
    const bytes = await readFile(join(folder, 'one.png'))
    expect(decode(bytes).data).toEqual(enlarge(frameOf({ width: 20, height: 11 }, 0).data, 20, 11, 2))
    expect(bytes.equals(await video.toBuffer('png', { scale: 2 }))).toBe(true)
  })

  test('a folder of pictures needs a name', async () => {
    for (const name of ['.png', '..png', '...png']) await expect(syntheticVideo({ numFrames: 2 }).save(join(folder, 'none') + `/${name}`), name).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('a name before .png') as string })
  })

  test('toBuffer gives one picture for one frame and refuses more', async () => {
    expect(decode(await syntheticVideo({ numFrames: 1 }).toBuffer('png')).data).toEqual(frameOf({}, 0).data)
    await expect(syntheticVideo({ numFrames: 2 }).toBuffer('png')).rejects.toThrow(RangeError)
  })
})

describe('Y4M', () => {
  test('is a header and frames of the exact conversion, at odd sizes too', async () => {
    const size = { width: 7, height: 5, numFrames: 2, fps: 29.97 }
    const bytes = await syntheticVideo(size).toBuffer('y4m')
    const header = 'YUV4MPEG2 W7 H5 F30000:1001 Ip A1:1 C444 XCOLORRANGE=LIMITED\n'
    expect(bytes.toString('latin1', 0, header.length)).toBe(header)
    const frameBytes = 6 + 7 * 5 * 3
    expect(bytes.length).toBe(header.length + 2 * frameBytes)
    for (let i = 0; i < 2; i++) {
      const frame = bytes.subarray(header.length + i * frameBytes, header.length + (i + 1) * frameBytes)
      expect(frame.toString('latin1', 0, 6)).toBe('FRAME\n')
      expect(frame.subarray(6).equals(rgbToYuv444(frameOf(size, i).data))).toBe(true)
    }
  })

  test('rates become fractions', () => {
    expect(frameRateFraction(16)).toEqual([16, 1])
    expect(frameRateFraction(23.976)).toEqual([24000, 1001])
    expect(frameRateFraction(30000 / 1001)).toEqual([30000, 1001])
    expect(frameRateFraction(12.5)).toEqual([25, 2])
    const [numerator, denominator] = frameRateFraction(7.123456)
    expect(Math.abs(numerator / denominator - 7.123456)).toBeLessThan(1e-5)
  })
})

test('WebP has a page per frame and delays that add up', async () => {
  const { default: sharp } = await import('sharp')
  const info = await sharp(await syntheticVideo({ numFrames: 8, width: 30, height: 18 }).toBuffer('webp', { scale: 2 }), { animated: true }).metadata()
  expect(info).toMatchObject({ format: 'webp', pages: 8, width: 60, pageHeight: 36, loop: 0 })
  expect(info.delay!.reduce((a, b) => a + b)).toBe(500)
})

describe('rates beyond what viewers show', () => {
  /** A frame is as bright as its number. */
  const fast = (fps: number, numFrames = 12) => syntheticVideo({ width: 16, height: 16, numFrames, fps, pixel: (_x, _y, _c, frame) => 20 * frame })
  const thinned = [expect.objectContaining({ code: 'frames-thinned' })]

  /** Milliseconds and brightness of each picture, by readers that did not write them. */
  const readers: Record<string, (bytes: Buffer) => Promise<{ delays: number[]; levels: number[] }>> = {
    async gif(bytes) {
      const { default: sharp } = await import('sharp')
      const { delays } = parseGif(bytes)
      const levels = await Promise.all(delays.map(async (_, page) => (await sharp(bytes, { page }).removeAlpha().raw().toBuffer())[0]!))
      return { delays: delays.map((delay) => 10 * delay), levels }
    },
    async webp(bytes) {
      const { default: sharp } = await import('sharp')
      const { delay = [] } = await sharp(bytes, { animated: true }).metadata()
      return { delays: delay, levels: await Promise.all(delay.map(async (_, page) => (await sharp(bytes, { page }).removeAlpha().raw().toBuffer())[0]!)) }
    },
    apng: async (bytes) => ({
      delays: decodeApng(bytes).frames.map((frame) => (1000 * frame.delayNumber) / frame.delayDenominator),
      levels: decodeApng(bytes).frames.map((frame) => (frame.data as Uint8Array)[0]!)
    })
  }

  test.each([['gif', 60, 2, 20], ['gif', 120, 3, 20], ['webp', 120, 2, 11], ['apng', 100, 2, 11]] as const)('.%s of %d frames a second keeps one of every %d', async (format, fps, n, shortest) => {
    const video = fast(fps)
    const { delays, levels } = await readers[format]!(await video.toBuffer(format))
    expect(video.warnings).toEqual(thinned)
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(shortest)
    expect(delays.reduce((a, b) => a + b)).toBeCloseTo((12 * 1000) / fps, 6)
    expect(levels.map((level) => Math.round(level / 20))).toEqual(Array.from({ length: 12 / n }, (_, i) => n * i))
  })

  test.each([['gif', 50], ['webp', 90], ['apng', 90], ['mp4', 120]] as const)('.%s of %d frames a second stays whole', async (format, fps) => {
    const video = fast(fps, 4)
    const bytes = await video.toBuffer(format)
    expect(video.warnings).toEqual([])
    if (format !== 'mp4') expect((await readers[format]!(bytes)).delays).toHaveLength(4)
  })
})

test('safetensors holds the latents bit by bit, and what decoding needs', async () => {
  const video = syntheticVideo({ numFrames: 12 })
  await video.save(join(folder, 'latents.safetensors'))
  const bytes = await readFile(join(folder, 'latents.safetensors'))
  const headerBytes = Number(bytes.readBigUInt64LE(0))
  expect(headerBytes % 8).toBe(0)
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as { latents: unknown; __metadata__: Record<string, string> }
  expect(header.latents).toEqual({ dtype: 'F32', shape: [4, 4, 8, 8], data_offsets: [0, 4096] })
  expect(header.__metadata__).toMatchObject({ format: 'pt', num_frames: '12', fps: '16', width: '64', height: '64', seed: '7' })
  expect(JSON.parse(header.__metadata__['options']!)).toEqual({ prompt: 'a red circle', seed: '7' })
  expect(bytes.subarray(8 + headerBytes).equals(Buffer.from(video.latents.data.buffer))).toBe(true)
})

test('the streams inside PNG are plain zlib', async () => {
  const bytes = await syntheticVideo({ numFrames: 1, width: 8, height: 8 }).toBuffer('png')
  const at = bytes.indexOf('IDAT')
  expect(inflateSync(bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at - 4)))).toHaveLength(8 * (1 + 24))
})
