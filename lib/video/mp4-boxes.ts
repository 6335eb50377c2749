// Finishes the file that the encoder made (ISO/IEC 14496-12): `moov` moves in front of `mdat`, so that a player can start before the end has arrived; times of
// creation become 0, so that equal videos are equal files; `stss` lists the keyframes, which the encoder leaves out, and without which a player takes every
// frame for one and seeks into grey; pictures of more than 576 lines get a `colr` box, because players read those as BT.709 otherwise.

import { Buffer } from 'node:buffer'
import { VinError } from '../errors.js'

export interface Box {
  type: string
  /** The whole box, its header included. */
  bytes: Buffer
}

const containers = new Set(['moov', 'trak', 'mdia', 'minf', 'stbl'])

/** The boxes of a file or of a container's body. */
export function parseBoxes(data: Uint8Array): Box[] {
  const buffer = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const boxes: Box[] = []
  for (let offset = 0; offset < buffer.length; ) {
    const size = offset + 8 <= buffer.length ? buffer.readUInt32BE(offset) : 0
    if (size < 8 || offset + size > buffer.length) {
      throw new VinError('ERR_VIN_FORMAT', `Expected an mp4 box at byte ${offset} but its size is ${size} of ${buffer.length - offset} bytes left`, {
        expected: 'mp4 box',
        found: size
      })
    }
    boxes.push({ type: buffer.toString('latin1', offset + 4, offset + 8), bytes: buffer.subarray(offset, offset + size) })
    offset += size
  }
  return boxes
}

function box(type: string, ...parts: Uint8Array[]): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt32BE(8 + parts.reduce((sum, part) => sum + part.length, 0))
  header.write(type, 4, 'latin1')
  return Buffer.concat([header, ...parts])
}

function uint32(...values: number[]): Buffer {
  const buffer = Buffer.alloc(4 * values.length)
  values.forEach((value, i) => buffer.writeUInt32BE(value, 4 * i))
  return buffer
}

/** Numbers from 1 of the samples that begin with an IDR picture (or with the parameter sets before one). Samples hold NAL units behind 4-byte lengths. */
function keyframes(mdat: Buffer, sizes: number[]): number[] {
  const result: number[] = []
  let offset = 8
  sizes.forEach((size, i) => {
    for (let at = offset; at + 4 < offset + size; at += 4 + mdat.readUInt32BE(at)) {
      if ((mdat[at + 4]! & 31) === 5) {
        result.push(i + 1)
        break
      }
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
export function find(bytes: Buffer, path: string[]): Buffer {
  const [type, ...rest] = path
  if (type === undefined || bytes.toString('latin1', 4, 8) !== type) {
    throw new VinError('ERR_VIN_FORMAT', `Expected an mp4 box ${path.join('/')} but there is none`, { expected: path.join('/') })
  }
  if (rest.length === 0) return bytes
  const child = parseBoxes(bytes.subarray(8)).find((candidate) => candidate.type === rest[0])
  return find(child?.bytes ?? Buffer.alloc(8), rest)
}

/** avc1 with a colour box: BT.601 primaries, transfer and matrix (6), limited range. stsd: header 8, version and flags 4, count 4, then avc1. */
function tagColour(stsd: Buffer): Buffer {
  const colr = box('colr', Buffer.from('nclx', 'latin1'), Buffer.from([0, 6, 0, 6, 0, 6, 0]))
  const avc1 = parseBoxes(stsd.subarray(16))[0]!
  return box('stsd', stsd.subarray(8, 16), box(avc1.type, avc1.bytes.subarray(8), colr))
}

interface Change {
  stss: Buffer
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
  if (type === 'stco') {
    for (let i = 0; i < copy.readUInt32BE(12); i++) copy.writeUInt32BE(copy.readUInt32BE(16 + 4 * i) + change.shift, 16 + 4 * i)
  }
  if (type === 'stsd' && change.colour) return tagColour(copy)
  return copy
}

/** The encoder's file (ftyp, free, mdat, moov, free) as ftyp, moov, mdat. */
export function finishMp4(file: Uint8Array, height: number): Uint8Array {
  const boxes = parseBoxes(file)
  const take = (type: string): Box => {
    const found = boxes.find((candidate) => candidate.type === type)
    if (found === undefined) throw new VinError('ERR_VIN_FORMAT', `Expected an mp4 box ${type} from the encoder but there is none`, { expected: type })
    return found
  }
  const [ftyp, moov, mdat] = [take('ftyp'), take('moov'), take('mdat')]
  const keys = keyframes(mdat.bytes, sampleSizes(moov.bytes))
  const change: Change = { stss: box('stss', uint32(0, keys.length, ...keys)), colour: height > 576, shift: 0 }
  // Sizes do not depend on the shift, so a first pass tells where mdat will lie.
  const moovSize = rebuild(moov, change).length
  const oldStart = mdat.bytes.byteOffset - file.byteOffset
  change.shift = ftyp.bytes.length + moovSize - oldStart
  return Buffer.concat([ftyp.bytes, rebuild(moov, change), mdat.bytes])
}
