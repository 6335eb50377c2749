// Animated PNG: the container is ours (acTL, then fcTL and IDAT or fdAT for each frame), the compressed streams are those of fast-png.
// https://www.w3.org/TR/png-3/#apng-frame-based-animation

import { Buffer } from 'node:buffer'
import { bufferOf, pngChunks, pngStream, uint32 } from './bytes.js'
import { frameRateFraction } from './frame-rate.js'
import { enlargedFrames, type FrameSource } from './frames.js'
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
  return Buffer.concat([uint32(body.length - 4), body, uint32(crc32(body))])
}

function uint16(...values: number[]): Buffer {
  const buffer = Buffer.alloc(2 * values.length)
  values.forEach((value, i) => buffer.writeUInt16BE(value, 2 * i))
  return buffer
}

/** Seconds a frame stays, as two 16-bit numbers: 1/16, 1001/30000, else thousandths. */
function delay(fps: number): [number, number] {
  const [numerator, denominator] = frameRateFraction(fps)
  return numerator <= 65535 && denominator <= 65535 ? [denominator, numerator] : [Math.round(1000 / fps), 1000]
}

export async function* encodeApng(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const [delayNumber, delayDenominator] = delay(source.fps)
  let sequence = 0
  for await (const { index, data, width, height } of enlargedFrames(source, scale)) {
    const png = bufferOf(await encodePng({ data, width, height }))
    if (index === 0) {
      yield signature
      for (const { type, body } of pngChunks(png)) if (type === 'IHDR') yield chunk('IHDR', body)
      yield chunk('acTL', uint32(source.numFrames, 0))
    }
    // Sequence number, size, offset (0, 0), delay, dispose: none, blend: source.
    yield chunk('fcTL', uint32(sequence++, width, height, 0, 0), uint16(delayNumber, delayDenominator), Buffer.from([0, 0]))
    yield index === 0 ? chunk('IDAT', pngStream(png)) : chunk('fdAT', uint32(sequence++), pngStream(png))
  }
  yield chunk('IEND')
}
