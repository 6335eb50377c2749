// EXIF orientation of PNG, JPEG and WebP: how the camera was held. It is one tag of a TIFF directory, which each format keeps in a place of its own.

import { Buffer } from 'node:buffer'
import { bufferOf, jpegSegments, pngChunks } from './bytes.js'
import type { Picture } from './frames.js'

const orientationTag = 0x0112
const shortType = 3

/** 1 (upright) to 8, as EXIF counts; 1 where the file says nothing that can be read. */
export function orientationOf(input: Uint8Array, kind: 'png' | 'jpeg' | 'webp'): number {
  const directory = { png: pngExif, jpeg: jpegExif, webp: webpExif }[kind](bufferOf(input))
  return directory === undefined ? 1 : readOrientation(directory)
}

const exifMark = Buffer.from('Exif\0\0', 'latin1')
const hasMark = (body: Buffer): boolean => body.subarray(0, exifMark.length).equals(exifMark)
const withoutMark = (body: Buffer): Buffer => (hasMark(body) ? body.subarray(exifMark.length) : body)

function pngExif(bytes: Buffer): Buffer | undefined {
  for (const { type, body } of pngChunks(bytes)) if (type === 'eXIf') return withoutMark(body)
  return undefined
}

/** Segment APP1 that begins with `Exif`, before the picture itself. */
function jpegExif(bytes: Buffer): Buffer | undefined {
  for (const { marker, body } of jpegSegments(bytes)) {
    if (marker === 0xda) return undefined
    if (marker === 0xe1 && hasMark(body)) return withoutMark(body)
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
