import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 as zlibCrc32, deflateSync } from 'node:zlib'
import { encode } from 'fast-png'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { coverAndCrop, readHeader, readImage } from '../../lib/video/image.js'
import { breakSharp, mendSharp, notInstalled } from '../support/sharp.js'
import { frameOf, psnr } from './support.js'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-image-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))
afterEach(() => {
  vi.unstubAllEnvs()
  mendSharp()
})

/** zlib.crc32 came with Node 22.2; bit by bit elsewhere. */
function crc32(data: Buffer): number {
  if (typeof zlibCrc32 === 'function') return zlibCrc32(data)
  let c = -1
  for (const byte of data) {
    c ^= byte
    for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  }
  return ~c >>> 0
}

function chunk(type: string, body: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body])
  const result = Buffer.alloc(named.length + 8)
  result.writeUInt32BE(body.length)
  named.copy(result, 4)
  result.writeUInt32BE(crc32(named), named.length + 4)
  return result
}

/** A PNG from rows with their filter bytes. */
function rawPng(width: number, height: number, depth: number, colour: number, rows: Buffer): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width)
  header.writeUInt32BE(height, 4)
  header.set([depth, colour, 0, 0, 0], 8)
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))])
}

describe('reading', () => {
  test('a path, its bytes and plain pixels give the same picture', async () => {
    const { data, width, height } = frameOf({ width: 21, height: 13 }, 0)
    const bytes = encode({ data, width, height, channels: 3, depth: 8 })
    await writeFile(join(folder, 'a.png'), bytes)
    for (const input of [join(folder, 'a.png'), bytes, { data, width, height }]) expect(await readImage(input)).toEqual({ data, width, height })
  })

  test('PNGs of all depths become 8-bit RGB', async () => {
    const grey = async (width: number, depth: number, rows: number[]): Promise<number[]> => {
      const { data } = await readImage(rawPng(width, rows.length / (1 + Math.ceil((width * depth) / 8)), depth, 0, Buffer.from(rows)))
      return Array.from({ length: data.length / 3 }, (_, i) => data[3 * i]!)
    }
    expect(await grey(10, 1, [0, 0b10110000, 0b01000000, 0, 0b01111111, 0b11000000])).toEqual([255, 0, 255, 255, 0, 0, 0, 0, 0, 255, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255])
    expect(await grey(3, 2, [0, 0b00011000])).toEqual([0, 85, 170])
    expect(await grey(3, 4, [0, 0x0f, 0x80])).toEqual([0, 255, 136])
    expect(await grey(2, 16, [0, 0x80, 0x00, 0xff, 0xff])).toEqual([128, 255])
    const alpha = await readImage(rawPng(2, 1, 8, 6, Buffer.from([0, 1, 2, 3, 0, 4, 5, 6, 255])))
    expect([...alpha.data]).toEqual([1, 2, 3, 4, 5, 6])
  })

  test.each(['jpeg', 'webp'] as const)('%s is read by sharp where it is installed', async (kind) => {
    const { default: sharp } = await import('sharp')
    const { data, width, height } = frameOf({ width: 48, height: 32 }, 3)
    const bytes = await sharp(data, { raw: { width, height, channels: 3 } })[kind]({ quality: 95 }).toBuffer()
    expect(readHeader(bytes)).toEqual({ kind, width, height })
    const picture = await readImage(bytes)
    expect([picture.width, picture.height]).toEqual([48, 32])
    expect(psnr(picture.data, data)).toBeGreaterThan(26)
  })

  /** Four corners of four colours, marked with an orientation; how sharp turns it is the reference. */
  async function marked(kind: 'png' | 'jpeg' | 'webp', orientation: number): Promise<{ bytes: Buffer; wanted: { data: Buffer; info: { width: number; height: number } } }> {
    const { default: sharp } = await import('sharp')
    const colours = [[255, 0, 0], [0, 160, 0], [0, 0, 255], [255, 255, 255]]
    const data = Uint8Array.from({ length: 32 * 64 * 3 }, (_, i) => colours[(Math.floor(i / 96) < 32 ? 0 : 2) + (Math.floor(i / 3) % 32 < 16 ? 0 : 1)]![i % 3]!)
    const bytes = await sharp(data, { raw: { width: 32, height: 64, channels: 3 } }).withMetadata({ orientation })[kind]({ quality: 100 }).toBuffer()
    return { bytes, wanted: await sharp(bytes).rotate().removeAlpha().raw().toBuffer({ resolveWithObject: true }) }
  }

  test.each(['png', 'jpeg', 'webp'] as const)('%s is turned upright as its EXIF orientation says', async (kind) => {
    for (let orientation = 1; orientation <= 8; orientation++) {
      const { bytes, wanted } = await marked(kind, orientation)
      const picture = await readImage(bytes)
      expect([picture.width, picture.height], `orientation ${orientation}`).toEqual([wanted.info.width, wanted.info.height])
      expect(Buffer.compare(picture.data, wanted.data), `orientation ${orientation}`).toBe(0)
    }
  })

  test('damaged EXIF is none', async () => {
    const { bytes } = await marked('png', 6)
    const tiff = bytes.indexOf('eXIf') + 4
    const { width } = await readImage(bytes)
    expect(width).toBe(64)
    // The directory far outside, an entry beyond the end, an orientation of 9: the checksum of an ancillary chunk is not looked at.
    for (const change of [(copy: Buffer) => copy.fill(0xff, tiff + 4, tiff + 8), (copy: Buffer) => copy.fill(0, tiff, tiff + 2), (copy: Buffer) => copy.fill(9, tiff + 8)]) {
      const copy = Buffer.from(bytes)
      change(copy.subarray(0, tiff + copy.readUInt32BE(tiff - 8)))
      expect((await readImage(copy)).width).toBe(32)
    }
  })

  test.runIf(spawnSync('ffmpeg', ['-version']).status === 0)('ffmpeg, where sharp is missing, gives the same pixels and turns them once', async () => {
    const cases = await Promise.all((['jpeg', 'webp'] as const).flatMap((kind) => [1, 6].map(async (orientation) => marked(kind, orientation))))
    breakSharp(notInstalled)
    vi.resetModules()
    const fresh = await import('../../lib/video/image.js')
    for (const { bytes, wanted } of cases) {
      const { data, width, height } = await fresh.readImage(bytes)
      expect([width, height]).toEqual([wanted.info.width, wanted.info.height])
      // The corners of the picture, far from where the colours meet.
      for (const [x, y] of [[2, 2], [width - 3, 2], [2, height - 3], [width - 3, height - 3]] as const) {
        for (let c = 0; c < 3; c++) expect(Math.abs(data[3 * (y * width + x) + c]! - wanted.data[3 * (y * width + x) + c]!)).toBeLessThanOrEqual(1)
      }
    }
  })

  test.runIf(spawnSync('ffmpeg', ['-version']).status === 0).each(['sharp', 'ffmpeg'])('one that is cut off is refused by %s; bytes after its end are nothing', async (decoder) => {
    const { default: sharp } = await import('sharp')
    const noise = Uint8Array.from({ length: 64 * 48 * 3 }, (_, i) => (i * i * 31) >> 3)
    const draw = () => sharp(noise, { raw: { width: 64, height: 48, channels: 3 } })
    const [jpeg, progressive, webp] = await Promise.all([draw().jpeg().toBuffer(), draw().jpeg({ progressive: true }).toBuffer(), draw().webp().toBuffer()])
    vi.resetModules()
    if (decoder === 'ffmpeg') breakSharp(notInstalled)
    try {
      const { readImage: read } = await import('../../lib/video/image.js')
      expect((await read(Buffer.concat([jpeg, Buffer.from('film\xff\xda', 'latin1')]))).data).toEqual((await read(jpeg)).data)
      // A segment of the header holds a whole picture.
      const preview = Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xe2, (jpeg.length + 2) >> 8, (jpeg.length + 2) & 0xff]), jpeg, jpeg.subarray(2, -20)])
      for (const bytes of [preview, jpeg.subarray(0, -2), jpeg.subarray(0, -20), jpeg.subarray(0, jpeg.length >> 1), progressive.subarray(0, progressive.length - 9), webp.subarray(0, webp.length >> 1)]) {
        await expect(read(bytes)).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringMatching(/^Expected a readable (JPEG|WEBP) for image but /) as string })
      }
    } finally {
      mendSharp()
      vi.resetModules()
    }
  })

  test.each([
    ['not there', notInstalled, 'sharp or an ffmpeg on PATH to read the JPEG given as image but found neither; run npm install sharp'],
    ['not loadable', new Error('Could not load the "sharp" module using the linux-x64 runtime\nPossible solutions: …'), 'but found no ffmpeg, and the installed sharp does not load (Could not load the "sharp" module using the linux-x64 runtime); run']
  ])('without ffmpeg, and with a sharp that is %s, a JPEG is an error that names both', async (_, error, message) => {
    const { default: sharp } = await import('sharp')
    const bytes = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } }).jpeg().toBuffer()
    breakSharp(error)
    vi.resetModules()
    vi.stubEnv('PATH', folder)
    const fresh = await import('../../lib/video/image.js')
    await expect(fresh.readImage(bytes)).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining(message) as string })
  })

  test('16 megapixels are the limit, told from the header', async () => {
    const bomb = rawPng(30_000, 30_000, 8, 2, Buffer.alloc(16))
    const before = process.memoryUsage().rss
    await expect(readImage(bomb)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('30000 × 30000') as string })
    await expect(readImage(rawPng(100, 100, 8, 2, Buffer.alloc(16)), { maxPixels: 9_999 })).rejects.toBeInstanceOf(RangeError)
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 2 ** 20)
  })

  test('a stream that inflates beyond the header is refused before it is decoded', async () => {
    const bomb = rawPng(8, 8, 8, 2, Buffer.alloc(96 * 2 ** 20))
    expect(bomb.length).toBeLessThan(2 ** 20)
    const before = process.memoryUsage().rss
    await expect(readImage(bomb)).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20)
  })

  test('what is no picture is named', async () => {
    const { data, width, height } = frameOf({ width: 8, height: 8 }, 0)
    const png = encode({ data, width, height, channels: 3, depth: 8 })
    await expect(readImage(Buffer.from('hello, world'))).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
    await expect(readImage(new Uint8Array(0))).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
    await expect(readImage(png.subarray(0, png.length - 40))).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
    await expect(readImage(join(folder, 'nowhere.png'), { name: 'lastImage' })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('lastImage') as string })
    await expect(readImage(folder)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('is a folder') as string })
    await expect(readImage({ data, width: 9, height })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    await expect(readImage({ data, width: 1.5, height })).rejects.toBeInstanceOf(RangeError)
    await expect(readImage(7 as unknown as string)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
    await expect(readImage(png, { signal: AbortSignal.abort('no') })).rejects.toBe('no')
  })
})

describe('cover and crop', () => {
  const plane = (data: Float32Array, c: number, size: number): number[] => [...data.subarray(c * size, (c + 1) * size)]

  test('the same size is an exact change of range, planes first', () => {
    const { data } = frameOf({ width: 16, height: 8 }, 0)
    const result = coverAndCrop({ data, width: 16, height: 8 }, 16, 8)
    for (let c = 0; c < 3; c++) plane(result, c, 128).forEach((value, i) => expect(value).toBeCloseTo(data[3 * i + c]! / 127.5 - 1, 6))
  })

  test('a wide picture loses its sides equally, a tall one its ends', () => {
    const wide = { data: Uint8Array.from({ length: 40 * 8 * 3 }, (_, i) => (Math.floor(i / 3) % 40 < 16 || Math.floor(i / 3) % 40 >= 24 ? 0 : 255)), width: 40, height: 8 }
    for (const value of coverAndCrop(wide, 8, 8)) expect(value).toBe(1)
    const tall = { data: Uint8Array.from({ length: 8 * 40 * 3 }, (_, i) => (Math.floor(i / 24) < 16 || Math.floor(i / 24) >= 24 ? 0 : 255)), width: 8, height: 40 }
    for (const value of coverAndCrop(tall, 8, 8)) expect(value).toBe(1)
  })

  test('a linear ramp stays one, shrunk by whole factors or enlarged', () => {
    const ramp = { data: Uint8Array.from({ length: 128 * 128 * 3 }, (_, i) => Math.floor(i / 3) % 128), width: 128, height: 128 }
    for (const size of [32, 64, 128, 256]) {
      const scale = 128 / size
      const result = coverAndCrop(ramp, size, size)
      // Away from the borders, where the filter is cut off.
      for (let x = Math.ceil(2 / Math.min(1, scale)) + 1; x < size - Math.ceil(2 / Math.min(1, scale)) - 1; x++) {
        expect((result[size * 5 + x]! + 1) * 127.5).toBeCloseTo((x + 0.5) * scale - 0.5, 3)
      }
    }
  })

  test('fine stripes shrink to grey, not to other stripes', () => {
    const stripes = { data: Uint8Array.from({ length: 99 * 99 * 3 }, (_, i) => (Math.floor(i / 3) % 99) % 2 * 255), width: 99, height: 99 }
    for (const value of coverAndCrop(stripes, 16, 16)) expect(Math.abs(value)).toBeLessThan(0.1)
  })
})
