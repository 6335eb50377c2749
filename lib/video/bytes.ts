// The pieces that files of pictures and videos are made of.

import { Buffer } from 'node:buffer'

/** Big-endian numbers. */
export function uint32(...values: number[]): Buffer {
  const buffer = Buffer.alloc(4 * values.length)
  values.forEach((value, i) => buffer.writeUInt32BE(value, 4 * i))
  return buffer
}

/** The same memory with Buffer's readers. */
export function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/** The chunks of a PNG: length, type, body, CRC. */
export function* pngChunks(png: Buffer): Generator<{ type: string; body: Buffer }> {
  for (let at = 8; at + 12 <= png.length; ) {
    const length = png.readUInt32BE(at)
    yield { type: png.toString('latin1', at + 4, at + 8), body: png.subarray(at + 8, at + 8 + length) }
    at += 12 + length
  }
}

/** The compressed pixels of a PNG. */
export function pngStream(png: Buffer): Buffer {
  return Buffer.concat([...pngChunks(png)].filter(({ type }) => type === 'IDAT').map(({ body }) => body))
}

/** The segments of a JPEG that have a body, from byte `at` to `end`: marker, length, body. Ends where something else lies. */
export function* jpegSegments(jpeg: Buffer): Generator<{ marker: number; body: Buffer; at: number; end: number }> {
  for (let at = 2; at + 4 <= jpeg.length && jpeg[at] === 0xff; ) {
    const marker = jpeg[at + 1]!
    if (marker === 0xff) at++
    else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) at += 2
    else {
      const end = at + 2 + jpeg.readUInt16BE(at + 2)
      yield { marker, body: jpeg.subarray(at + 4, end), at, end }
      at = end
    }
  }
}
