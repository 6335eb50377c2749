// EXIF orientation of PNG, JPEG and WebP: how the camera was held. It is one tag of a TIFF directory, which each format keeps in a place of its own.

import { Buffer } from 'node:buffer'
import type { Picture } from './frames.js'

const orientationTag = 0x0112
const shortType = 3

/** 1 (upright) to 8, as EXIF counts; 1 where the file says nothing that can be read. */
export function orientationOf(input: Uint8Array, kind: 'png' | 'jpeg' | 'webp'): number {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength)
  const directory = { png: pngExif, jpeg: jpegExif, webp: webpExif }[kind](bytes)
  return directory === undefined ? 1 : readOrientation(directory)
}

const exifMark = Buffer.from('Exif\0\0', 'latin1')
const withoutMark = (body: Buffer): Buffer => (body.subarray(0, exifMark.length).equals(exifMark) ? body.subarray(exifMark.length) : body)

/** Chunk eXIf: length, type, body, CRC. */
function pngExif(bytes: Buffer): Buffer | undefined {
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    if (bytes.toString('latin1', at + 4, at + 8) === 'eXIf') return withoutMark(bytes.subarray(at + 8, at + 8 + length))
    at += 12 + length
  }
  return undefined
}

/** Segment APP1 that begins with `Exif`, before the picture itself. */
function jpegExif(bytes: Buffer): Buffer | undefined {
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
    const marker = bytes[at + 1]!
    if (marker === 0xff) at++
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) at += 2
    else {
      const body = bytes.subarray(at + 4, at + 2 + bytes.readUInt16BE(at + 2))
      if (marker === 0xe1 && body.subarray(0, exifMark.length).equals(exifMark)) return withoutMark(body)
      at += 2 + bytes.readUInt16BE(at + 2)
    }
  }
  return undefined
}

/** RIFF chunk EXIF: type, length, body, padded to an even length. */
function webpExif(bytes: Buffer): Buffer | undefined {
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4)
    if (bytes.toString('latin1', at, at + 4) === 'EXIF') return withoutMark(bytes.subarray(at + 8, at + 8 + length))
    at += 8 + length + (length & 1)
  }
  return undefined
}

/** TIFF: byte order, 42, place of the first directory; there, a count and entries of 12 bytes: tag, type, count, value. */
function readOrientation(tiff: Buffer): number {
  const order = tiff.toString('latin1', 0, 2)
  if (tiff.length < 8 || (order !== 'II' && order !== 'MM')) return 1
  const uint16 = (at: number): number => (at + 2 > tiff.length ? 0 : order === 'II' ? tiff.readUInt16LE(at) : tiff.readUInt16BE(at))
  const first = order === 'II' ? tiff.readUInt32LE(4) : tiff.readUInt32BE(4)
  for (let entry = 0; entry < uint16(first); entry++) {
    const at = first + 2 + 12 * entry
    if (at + 12 > tiff.length) return 1
    if (uint16(at) !== orientationTag || uint16(at + 2) !== shortType) continue
    const value = uint16(at + 8)
    return value >= 1 && value <= 8 ? value : 1
  }
  return 1
}

/** The picture upright. From 5 on, width and height change places. */
export function upright({ data, width, height }: Picture, orientation: number): Picture {
  if (orientation === 1) return { data, width, height }
  const turned = orientation >= 5
  const [right, bottom] = [width - 1, height - 1]
  // Column and row that pixel (x, y) of the result comes from, by orientation.
  const from: ((x: number, y: number) => [column: number, row: number])[] = [
    (x, y) => [x, y],
    (x, y) => [right - x, y],
    (x, y) => [right - x, bottom - y],
    (x, y) => [x, bottom - y],
    (x, y) => [y, x],
    (x, y) => [y, bottom - x],
    (x, y) => [right - y, bottom - x],
    (x, y) => [right - y, x]
  ]
  const source = from[orientation - 1]!
  const [outWidth, outHeight] = turned ? [height, width] : [width, height]
  const result = new Uint8Array(data.length)
  for (let y = 0, to = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++, to += 3) {
      const [column, row] = source(x, y)
      const at = 3 * (row * width + column)
      result[to] = data[at]!
      result[to + 1] = data[at + 1]!
      result[to + 2] = data[at + 2]!
    }
  }
  return { data: result, width: outWidth, height: outHeight }
}
