// A safetensors file of float32 tensors: 8 bytes of header length, the header (JSON, padded with spaces to a multiple of 8), then the data in the order of the header.

import { Buffer } from 'node:buffer'
import { endianness } from 'node:os'

/** Bytes handed over at once; keeps an abort prompt. */
const sliceBytes = 1 << 22

/** The little-endian bytes of numbers. */
export function bytesOf(data: Float32Array): Buffer {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return endianness() === 'LE' ? bytes : Buffer.from(bytes).swap32()
}

/** The file, piece by piece. */
export async function* encodeSafetensors(tensors: Readonly<Record<string, { data: Float32Array; shape: readonly number[] }>>, metadata: Readonly<Record<string, string>>): AsyncGenerator<Uint8Array> {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', ...metadata } }
  let offset = 0
  for (const [name, { data, shape }] of Object.entries(tensors)) header[name] = { dtype: 'F32', shape, data_offsets: [offset, (offset += data.byteLength)] }
  const text = Buffer.from(JSON.stringify(header))
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ')
  padded.writeBigUInt64LE(BigInt(padded.length - 8))
  text.copy(padded, 8)
  yield padded
  for (const { data } of Object.values(tensors)) {
    const bytes = bytesOf(data)
    for (let from = 0; from < bytes.length; from += sliceBytes) yield bytes.subarray(from, from + sliceBytes)
  }
}
