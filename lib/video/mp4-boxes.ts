// Finishes the file that the encoder made (ISO/IEC 14496-12): `moov` moves in front of `mdat`, so that a player can start before the end has arrived; times of
// creation become 0, so that equal videos are equal files; `stss` lists the keyframes, which the encoder leaves out, and without which a player takes every
// frame for one and seeks into grey; the frame rate becomes the one that was asked for, which the encoder cuts down to a whole number, and the level one that the
// video fits; pictures of more than 576 lines get a `colr` box, because players read those as BT.709 otherwise. Samples are most of a file: they are read where
// they lie and handed on in pieces, so that no second copy of them is made.

import { Buffer } from 'node:buffer'
import { VinError } from '../errors.js'
import { bufferOf, uint32 } from './bytes.js'
import { frameRateFraction } from './frame-rate.js'
import { h264Level } from './h264-level.js'

interface Box {
  type: string
  /** The whole box, its header included. */
  bytes: Buffer
}

const containers = new Set(['moov', 'trak', 'mdia', 'minf', 'stbl'])

/** A file that is read by position. */
export interface Mp4File {
  size: number
  read(position: number, length: number): Buffer
}

/** Where a file's boxes lie. */
function findBoxes(file: Mp4File): Map<string, { begin: number; size: number }> {
  const found = new Map<string, { begin: number; size: number }>()
  for (let begin = 0; begin < file.size; ) {
    const header = begin + 8 <= file.size ? file.read(begin, 8) : Buffer.alloc(8)
    const size = header.readUInt32BE(0)
    checkSize(begin, size, file.size)
    found.set(header.toString('latin1', 4, 8), { begin, size })
    begin += size
  }
  return found
}

function checkSize(begin: number, size: number, end: number): void {
  if (size >= 8 && begin + size <= end) return
  throw new VinError('ERR_VIN_FORMAT', `Expected an mp4 box at byte ${begin} but its size is ${size} of ${end - begin} bytes left`, { expected: 'mp4 box', found: size })
}

/** The boxes of a container's body. */
function parseBoxes(data: Uint8Array): Box[] {
  const buffer = bufferOf(data)
  const boxes: Box[] = []
  for (let offset = 0; offset < buffer.length; ) {
    const size = offset + 8 <= buffer.length ? buffer.readUInt32BE(offset) : 0
    checkSize(offset, size, buffer.length)
    boxes.push({ type: buffer.toString('latin1', offset + 4, offset + 8), bytes: buffer.subarray(offset, offset + size) })
    offset += size
  }
  return boxes
}

function box(type: string, ...parts: Uint8Array[]): Buffer {
  const size = 8 + parts.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([uint32(size), Buffer.from(type, 'latin1'), ...parts])
}

/** Numbers from 1 of the samples that begin with an IDR picture (or with the parameter sets before one). Samples hold NAL units behind 4-byte lengths. */
function keyframes(file: Mp4File, firstSample: number, sizes: number[]): number[] {
  const result: number[] = []
  let offset = firstSample
  sizes.forEach((size, i) => {
    for (let at = offset; at + 4 < offset + size; ) {
      const unit = file.read(at, 5)
      if ((unit[4]! & 31) === 5) {
        result.push(i + 1)
        break
      }
      at += 4 + unit.readUInt32BE(0)
    }
    offset += size
  })
  return result
}

/** stsz: version and flags, one size for all or 0, count, sizes. */
function sampleSizes(moov: Buffer): number[] {
  const stsz = find(moov, ['moov', 'trak', 'mdia', 'minf', 'stbl', 'stsz'])
  const common = stsz.readUInt32BE(12)
  const count = stsz.readUInt32BE(16)
  return Array.from({ length: count }, (_, i) => (common !== 0 ? common : stsz.readUInt32BE(20 + 4 * i)))
}

/** The first box along a path of types. */
function find(bytes: Buffer, path: string[]): Buffer {
  const [type, ...rest] = path
  if (type === undefined || bytes.toString('latin1', 4, 8) !== type) {
    throw new VinError('ERR_VIN_FORMAT', `Expected an mp4 box ${path.join('/')} but there is none`, { expected: path.join('/') })
  }
  if (rest.length === 0) return bytes
  const child = parseBoxes(bytes.subarray(8)).find((candidate) => candidate.type === rest[0])
  return find(child?.bytes ?? Buffer.alloc(8), rest)
}

/** Bytes of avc1's own fields, before its boxes. */
const avc1Fields = 78

/**
avc1 with its level, and with a colour box where one is due: BT.601 primaries, transfer and matrix (6), limited range. stsd: header 8, version and flags 4, count 4,
then avc1. avcC: version, profile, compatibility, level, length size, count of SPS (5 bits), then each with a length of 2 bytes: type, profile, constraints, level, …
*/
function describeStream(stsd: Buffer, { level, colour }: Change): Buffer {
  const avc1 = parseBoxes(stsd.subarray(16))[0]!
  const boxes = parseBoxes(avc1.bytes.subarray(8 + avc1Fields)).map(({ type, bytes }) => {
    if (type !== 'avcC') return bytes
    const body = Buffer.from(bytes.subarray(8))
    body[3] = level
    for (let at = 6, left = body[5]! & 31; left > 0; left--, at += 2 + body.readUInt16BE(at)) body[at + 5] = level
    return box('avcC', body)
  })
  if (colour) boxes.push(box('colr', Buffer.from('nclx', 'latin1'), Buffer.from([0, 6, 0, 6, 0, 6, 0])))
  return box('stsd', stsd.subarray(8, 16), box(avc1.type, avc1.bytes.subarray(8, 8 + avc1Fields), ...boxes))
}

/** Ticks a second and ticks a frame. Browsers seek to the wrong frame of a track with a handful of ticks a second; 90,000 are usual. */
function ticks(fps: number): [scale: number, delta: number] {
  const [numerator, denominator] = frameRateFraction(fps)
  const factor = Math.max(1, Math.floor(90_000 / numerator))
  return [factor * numerator, factor * denominator]
}

interface Change {
  stss: Buffer
  samples: number
  /** Ticks a second of the video's track, and ticks a frame. */
  rate: [scale: number, delta: number]
  /** level_idc: ten times the level. */
  level: number
  colour: boolean
  /** Added to every chunk offset. */
  shift: number
}

function rebuild({ type, bytes }: Box, change: Change): Buffer {
  if (containers.has(type)) {
    const children = parseBoxes(bytes.subarray(8)).map((child) => rebuild(child, change))
    if (type === 'stbl') children.push(change.stss)
    return box(type, ...children)
  }
  const copy = Buffer.from(bytes)
  // Version 0: header 8, version and flags 4, creation 4, modification 4.
  if (type === 'mvhd' || type === 'tkhd' || type === 'mdhd') copy.fill(0, 12, 20)
  const { samples, rate: [scale, delta] } = change
  // The movie counts in milliseconds.
  const milliseconds = Math.round((1000 * samples * delta) / scale)
  if (type === 'mvhd') copy.set(uint32(1000, milliseconds), 20)
  if (type === 'tkhd') copy.writeUInt32BE(milliseconds, 28)
  if (type === 'mdhd') copy.set(uint32(scale, samples * delta), 20)
  if (type === 'stts') return box('stts', uint32(0, 1, samples, delta))
  if (type === 'stco') {
    for (let i = 0; i < copy.readUInt32BE(12); i++) copy.writeUInt32BE(copy.readUInt32BE(16 + 4 * i) + change.shift, 16 + 4 * i)
  }
  if (type === 'stsd') return describeStream(copy, change)
  return copy
}

/** Bytes of one piece of samples. */
const pieceBytes = 1 << 20

/** The encoder's file (ftyp, free, mdat, moov, free) as ftyp, moov, mdat, in pieces. */
export function* finishedMp4(file: Mp4File, { width, height, fps }: { width: number; height: number; fps: number }): Generator<Buffer> {
  const boxes = findBoxes(file)
  const place = (type: string): { begin: number; size: number } => {
    const found = boxes.get(type)
    if (found === undefined) throw new VinError('ERR_VIN_FORMAT', `Expected an mp4 box ${type} from the encoder but there is none`, { expected: type })
    return found
  }
  const whole = (type: string): Box => ({ type, bytes: file.read(place(type).begin, place(type).size) })
  const [ftyp, moov, mdat] = [whole('ftyp'), whole('moov'), place('mdat')]
  const sizes = sampleSizes(moov.bytes)
  const keys = keyframes(file, mdat.begin + 8, sizes)
  const change: Change = { stss: box('stss', uint32(0, keys.length, ...keys)), samples: sizes.length, rate: ticks(fps), level: h264Level({ width, height, fps, sizes }), colour: height > 576, shift: 0 }
  // Sizes do not depend on the shift, so a first pass tells where mdat will lie.
  change.shift = ftyp.bytes.length + rebuild(moov, change).length - mdat.begin
  yield Buffer.concat([ftyp.bytes, rebuild(moov, change)])
  for (let at = 0; at < mdat.size; at += pieceBytes) yield file.read(mdat.begin + at, Math.min(pieceBytes, mdat.size - at))
}
