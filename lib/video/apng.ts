// Animated PNG: the container is ours (acTL, then fcTL and IDAT or fdAT for each frame), the compressed streams are those of fast-png.
// https://www.w3.org/TR/png-3/#apng-frame-based-animation

import { Buffer } from 'node:buffer'
import { frameRateFraction } from './frame-rate.js'
import { checkFrame, enlarge, type FrameSource } from './frames.js'
import { encodePng } from './png.js'

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

const crcTable = Int32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c
})

/** CRC-32 of IEEE 802.3, as PNG has it. */
function crc32(data: Uint8Array): number {
  let c = -1
  for (const byte of data) c = crcTable[(c ^ byte) & 255]! ^ (c >>> 8)
  return ~c >>> 0
}

function chunk(type: string, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), ...parts])
  const result = Buffer.alloc(body.length + 8)
  result.writeUInt32BE(body.length - 4, 0)
  body.copy(result, 4)
  result.writeUInt32BE(crc32(body), body.length + 4)
  return result
}

function uint32(...values: number[]): Buffer {
  const buffer = Buffer.alloc(4 * values.length)
  values.forEach((value, i) => buffer.writeUInt32BE(value, 4 * i))
  return buffer
}

function uint16(...values: number[]): Buffer {
  const buffer = Buffer.alloc(2 * values.length)
  values.forEach((value, i) => buffer.writeUInt16BE(value, 2 * i))
  return buffer
}

/** The bodies of a PNG's IHDR and IDAT chunks. */
function pngParts(png: Uint8Array): { header: Buffer; data: Buffer } {
  const bytes = Buffer.from(png.buffer, png.byteOffset, png.byteLength)
  const data: Buffer[] = []
  let header: Buffer = Buffer.alloc(0)
  for (let at = 8; at < bytes.length; at += 12 + bytes.readUInt32BE(at)) {
    const type = bytes.toString('latin1', at + 4, at + 8)
    const body = bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at))
    if (type === 'IHDR') header = body
    if (type === 'IDAT') data.push(body)
  }
  return { header, data: Buffer.concat(data) }
}

/** Seconds a frame stays, as two 16-bit numbers: 1/16, 1001/30000, else thousandths. */
function delay(fps: number): [number, number] {
  const [numerator, denominator] = frameRateFraction(fps)
  return numerator <= 65535 && denominator <= 65535 ? [denominator, numerator] : [Math.round(1000 / fps), 1000]
}

export async function* encodeApng(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const width = source.width * scale
  const height = source.height * scale
  const [delayNumber, delayDenominator] = delay(source.fps)
  let sequence = 0
  let index = 0
  for await (const frame of source.frames()) {
    checkFrame(frame, index++, source)
    const { header, data } = pngParts(await encodePng({ data: enlarge(frame.data, source.width, source.height, scale), width, height }))
    if (frame.index === 0) {
      yield signature
      yield chunk('IHDR', header)
      yield chunk('acTL', uint32(source.numFrames, 0))
    }
    // Sequence number, size, offset (0, 0), delay, dispose: none, blend: source.
    yield chunk('fcTL', uint32(sequence++, width, height, 0, 0), uint16(delayNumber, delayDenominator), Buffer.from([0, 0]))
    yield frame.index === 0 ? chunk('IDAT', data) : chunk('fdAT', uint32(sequence++), data)
  }
  yield chunk('IEND')
}
