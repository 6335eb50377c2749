// Conditioning pictures: a path, encoded bytes or plain pixels → [3, H, W] in −1 … 1, turned upright as EXIF says, resized to cover the target and centre-cropped. PNG is read by fast-png;
// JPEG and WebP by sharp where it is installed, else by an ffmpeg on PATH. The size is read from the header and bounded before anything is decoded.

import { Buffer } from 'node:buffer'
import { readFile, stat } from 'node:fs/promises'
import { types } from 'node:util'
import { inflate } from 'node:zlib'
import { VinError, expected, notSupported, rangeError } from '../errors.js'
import { collectOutput, findProgram, foundNeither, loadSharp } from '../native/optional.js'
import { errorMessage } from '../realms.js'
import { bufferOf, jpegSegments, pngStream } from './bytes.js'
import { orientationOf, upright } from './exif.js'
import { accurateScaling } from './ffmpeg.js'
import type { Picture } from './frames.js'

/** A path, the bytes of a PNG, JPEG or WebP file, or RGB pixels. */
export type ImageInput = string | Uint8Array | Picture

export interface ReadImageOptions {
  /** Pixels of the largest picture that is decoded. @default 16 megapixels */
  maxPixels?: number | undefined
  signal?: AbortSignal | undefined
  /** The option's name, for errors. */
  name?: string
}

const defaultMaxPixels = 16_000_000
/** A file of an acceptable picture is smaller than its pixels at 16 bits and 4 channels. */
const maxBytesPerPixel = 8

type Kind = 'png' | 'jpeg' | 'webp'

interface Header {
  kind: Kind
  width: number
  height: number
}

export async function readImage(input: ImageInput, options: ReadImageOptions = {}): Promise<Picture> {
  const { maxPixels = defaultMaxPixels, name = 'image', signal } = options
  signal?.throwIfAborted()
  if (typeof input === 'string') {
    const cannot = (reason: string, cause?: unknown): Error => Object.assign(rangeError(`Expected the path of a picture for ${name} but ${JSON.stringify(input)} ${reason}`), { cause })
    const found = await stat(input).catch((cause: unknown) => {
      throw cannot('cannot be read', cause)
    })
    if (!found.isFile()) throw cannot(found.isDirectory() ? 'is a folder' : 'is no plain file')
    if (found.size > maxPixels * maxBytesPerPixel) throw tooLarge(name, `${found.size} bytes`, maxPixels)
    const bytes = await readFile(input, signal === undefined ? {} : { signal }).catch((cause: unknown) => {
      signal?.throwIfAborted()
      throw cannot('cannot be read', cause)
    })
    return decodeImage(bytes, { maxPixels, name, signal })
  }
  if (types.isUint8Array(input)) return decodeImage(input, { maxPixels, name, signal })
  return checkPicture(input, name, maxPixels)
}

function checkPicture(input: Picture, name: string, maxPixels: number): Picture {
  if (typeof input !== 'object' || input === null) throw expected('a path, the bytes of a picture, or { data, width, height }', name, input, 'type')
  const { data, width, height } = input
  if (!types.isUint8Array(data) && !types.isUint8ClampedArray(data)) throw expected('RGB bytes in a Uint8Array', `${name}.data`, data, 'type')
  for (const [key, value] of Object.entries({ width, height })) {
    if (typeof value !== 'number') throw expected('a positive integer', `${name}.${key}`, value, 'type')
    if (!Number.isInteger(value) || value < 1) throw expected('a positive integer', `${name}.${key}`, value, 'range')
  }
  if (width * height > maxPixels) throw tooLarge(name, `${width} × ${height} pixels`, maxPixels)
  if (data.length !== width * height * 3) throw expected(`${width * height * 3} bytes (RGB, ${width} × ${height})`, `${name}.data`, data, 'range')
  return { data, width, height }
}

function tooLarge(name: string, found: string, maxPixels: number): RangeError {
  return rangeError(`Expected at most ${maxPixels / 1e6} megapixels for ${name} but received ${found}; make the picture smaller, or raise limits.imagePixels`)
}

async function decodeImage(bytes: Uint8Array, options: { maxPixels: number; name: string; signal: AbortSignal | undefined }): Promise<Picture> {
  const header = readHeader(bytes, options.name)
  if (header.width * header.height > options.maxPixels) throw tooLarge(options.name, `${header.width} × ${header.height} pixels`, options.maxPixels)
  const picture = header.kind === 'png' ? await decodePng(bytes, options.name) : await decodeLossy(bytes, header.kind, options)
  return upright(picture, orientationOf(bytes, header.kind))
}

/**
Whether a JPEG has its end: sharp refuses one without it, ffmpeg fills what is missing with grey. Previews in the header have an end of their own, and a phone may
put a film behind the picture's.
*/
function hasEnd(bytes: Buffer): boolean {
  let last = 2
  for (const { marker, at, end } of jpegSegments(bytes)) {
    if (marker === 0xda) return bytes.includes('ffd9', at, 'hex')
    last = end
  }
  // Whatever else lies there, the decoder says.
  return last + 4 <= bytes.length
}

/** As the pixels lie in the file: decoders differ in whether they turn them. */
async function decodeLossy(bytes: Uint8Array, kind: 'jpeg' | 'webp', { maxPixels, name, signal }: { maxPixels: number; name: string; signal: AbortSignal | undefined }): Promise<Picture> {
  if (kind === 'jpeg' && !hasEnd(bufferOf(bytes))) throw formatError(name, kind, new Error('the file is cut off'))
  const found = await loadSharp()
  if (found.sharp !== undefined) {
    try {
      const { data, info } = await found.sharp(bytes, { limitInputPixels: maxPixels, failOn: 'error' }).removeAlpha().toColourspace('srgb').raw().toBuffer({ resolveWithObject: true })
      return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width: info.width, height: info.height }
    } catch (error) {
      throw formatError(name, kind, error)
    }
  }
  const ffmpeg = await findProgram('ffmpeg')
  if (ffmpeg !== undefined) {
    // The kind is that of the header which was checked, so that nothing else is found in the bytes.
    const input = ['-noautorotate', '-protocol_whitelist', 'pipe', '-f', `${kind}_pipe`, '-i', 'pipe:0']
    const output = ['-frames:v', '1', '-vf', `scale=flags=${accurateScaling},format=rgb24`, '-f', 'image2pipe', '-c:v', 'png', 'pipe:1']
    const png = await collectOutput(ffmpeg, ['-v', 'error', ...input, ...output], bytes, { signal, maxBytes: maxPixels * maxBytesPerPixel }).catch((error: unknown) => {
      throw error instanceof VinError && error.code === 'ERR_VIN_FORMAT' ? formatError(name, kind, error) : error
    })
    return decodePng(png, name)
  }
  throw notSupported(kind, `Expected sharp or an ffmpeg on PATH to read the ${kind.toUpperCase()} given as ${name} but ${foundNeither(found)}; run npm install sharp, or give a PNG`)
}

function formatError(name: string, kind: string, cause: unknown): VinError {
  const reason = errorMessage(cause)
  return new VinError('ERR_VIN_FORMAT', `Expected a readable ${kind.toUpperCase()} for ${name} but the decoder says: ${reason}`, { name, expected: kind, found: reason }, { cause })
}

/** Kind and size, from the first bytes alone. */
export function readHeader(input: Uint8Array, name = 'image'): Header {
  const bytes = bufferOf(input)
  const header = pngHeader(bytes) ?? jpegHeader(bytes) ?? webpHeader(bytes)
  if (header === undefined || header.width < 1 || header.height < 1) {
    const start = bytes.subarray(0, 8).toString('hex')
    throw new VinError('ERR_VIN_FORMAT', `Expected a PNG, JPEG or WebP for ${name} but the bytes begin with ${start === '' ? 'nothing' : start}`, { name, expected: 'PNG, JPEG or WebP', found: start })
  }
  return header
}

function pngHeader(bytes: Buffer): Header | undefined {
  if (bytes.length < 24 || bytes.toString('latin1', 0, 8) !== '\x89PNG\r\n\x1a\n' || bytes.toString('latin1', 12, 16) !== 'IHDR') return undefined
  return { kind: 'png', width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) }
}

/** The first start-of-frame marker (C0 … CF without the tables C4, C8, CC) holds the size. */
function jpegHeader(bytes: Buffer): Header | undefined {
  if (bytes.length < 4 || bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined
  for (const { marker, body } of jpegSegments(bytes)) {
    const isStart = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)
    if (isStart && body.length >= 5) return { kind: 'jpeg', height: body.readUInt16BE(1), width: body.readUInt16BE(3) }
  }
  return undefined
}

function webpHeader(bytes: Buffer): Header | undefined {
  if (bytes.length < 30 || bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8, 12) !== 'WEBP') return undefined
  const type = bytes.toString('latin1', 12, 16)
  if (type === 'VP8X') return { kind: 'webp', width: 1 + bytes.readUIntLE(24, 3), height: 1 + bytes.readUIntLE(27, 3) }
  if (type === 'VP8L') return { kind: 'webp', width: 1 + (bytes.readUInt32LE(21) & 0x3fff), height: 1 + ((bytes.readUInt32LE(21) >>> 14) & 0x3fff) }
  if (type === 'VP8 ') return { kind: 'webp', width: bytes.readUInt16LE(26) & 0x3fff, height: bytes.readUInt16LE(28) & 0x3fff }
  return undefined
}

async function decodePng(bytes: Uint8Array, name: string): Promise<Picture> {
  await checkPngStream(bufferOf(bytes), name)
  const { decode, convertIndexedToRgb } = await import('fast-png')
  try {
    const png = decode(bytes)
    if (png.palette !== undefined) {
      const channels = png.palette[0]?.length ?? 3
      return { data: toRgb(convertIndexedToRgb(png), png.width * png.height, channels, 8), width: png.width, height: png.height }
    }
    const samples = png.depth < 8 ? unpack(png.data, png.width, png.height, png.depth) : png.data
    return { data: toRgb(samples, png.width * png.height, png.channels, png.depth), width: png.width, height: png.height }
  } catch (error) {
    throw formatError(name, 'png', error)
  }
}

/** A compressed stream that holds more than the header's pixels would fill the memory of a decoder that trusts it. */
async function checkPngStream(bytes: Buffer, name: string): Promise<void> {
  const { width, height } = readHeader(bytes, name)
  // 8 bytes a pixel at most; a filter byte a row, of which Adam7 has up to 15/8 as many, and its rows round up.
  const limit = width * height * maxBytesPerPixel + 16 * height + 1024
  await new Promise<void>((resolve, reject) => {
    inflate(pngStream(bytes), { maxOutputLength: limit }, (error) => (error === null ? resolve() : reject(formatError(name, 'png', error))))
  })
}

/** Grey samples of 1, 2 or 4 bits lie packed, each row from a new byte. */
function unpack(packed: ArrayLike<number>, width: number, height: number, depth: number): Uint8Array {
  const perByte = 8 / depth
  const rowBytes = Math.ceil(width / perByte)
  const samples = new Uint8Array(width * height)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = packed[y * rowBytes + Math.floor(x / perByte)]!
      samples[y * width + x] = (byte >> (8 - depth * ((x % perByte) + 1))) & (2 ** depth - 1)
    }
  }
  return samples
}

/** Samples of any depth as 8-bit RGB: stretched to 255 and rounded; grey is repeated, alpha is dropped. */
function toRgb(data: ArrayLike<number>, pixels: number, channels: number, depth: number): Uint8Array {
  const maximum = 2 ** depth - 1
  if (data.length !== pixels * channels) throw new Error(`${data.length} samples for ${pixels} pixels of ${channels} channels`)
  const rgb = new Uint8Array(pixels * 3)
  const colours = channels >= 3 ? 3 : 1
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let c = 0; c < 3; c++) rgb[3 * pixel + c] = Math.round((data[pixel * channels + (colours === 3 ? c : 0)]! * 255) / maximum)
  }
  return rgb
}

interface Taps {
  first: number
  weights: Float64Array
}

/** Triangle filter over [start, start + length) of a row of `size` samples, for each of `count` outputs; as wide as an output when shrinking, so that nothing aliases. */
function taps(size: number, start: number, length: number, count: number): Taps[] {
  const scale = length / count
  const support = Math.max(1, scale)
  return Array.from({ length: count }, (_, i) => {
    const centre = start + (i + 0.5) * scale
    const first = Math.max(0, Math.floor(centre - support))
    const last = Math.min(size, Math.ceil(centre + support))
    const weights = Float64Array.from({ length: last - first }, (_, k) => Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / support))
    const sum = weights.reduce((a, b) => a + b, 0)
    return { first, weights: weights.map((weight) => weight / sum) }
  })
}

/** Scales to cover width × height, crops the centre: → [3, height, width] in −1 … 1. */
export function coverAndCrop({ data, width: fromWidth, height: fromHeight }: Picture, width: number, height: number): Float32Array {
  const scale = Math.min(fromWidth / width, fromHeight / height)
  const columns = taps(fromWidth, (fromWidth - width * scale) / 2, width * scale, width)
  const rows = taps(fromHeight, (fromHeight - height * scale) / 2, height * scale, height)
  // (source row, channel, column): columns first, for the rows that are needed.
  const wide = new Float64Array(fromHeight * 3 * width)
  const [top, bottom] = [rows[0]!.first, rows.at(-1)!.first + rows.at(-1)!.weights.length]
  for (let y = top; y < bottom; y++) {
    for (let c = 0; c < 3; c++) {
      for (let x = 0; x < width; x++) {
        const { first, weights } = columns[x]!
        let sum = 0
        for (let k = 0; k < weights.length; k++) sum += weights[k]! * data[(y * fromWidth + first + k) * 3 + c]!
        wide[(y * 3 + c) * width + x] = sum
      }
    }
  }
  const result = new Float32Array(3 * height * width)
  for (let c = 0; c < 3; c++) {
    for (let y = 0; y < height; y++) {
      const { first, weights } = rows[y]!
      for (let x = 0; x < width; x++) {
        let sum = 0
        for (let k = 0; k < weights.length; k++) sum += weights[k]! * wide[((first + k) * 3 + c) * width + x]!
        result[(c * height + y) * width + x] = sum / 127.5 - 1
      }
    }
  }
  return result
}
