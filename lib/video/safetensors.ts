// The latents of a video as a safetensors file: 8 bytes of header length, the header (JSON, padded with spaces to a multiple of 8), then float32 data.
// `__metadata__` says what is needed to decode them: num_frames, fps, width, height, and the seed and options they came from.

import { Buffer } from 'node:buffer'
import { endianness } from 'node:os'

export interface LatentsFile {
  /** [C, N, H, W] */
  latents: { data: Float32Array; shape: readonly number[] }
  metadata: Record<string, string>
}

/** Bytes handed over at once; keeps an abort prompt. */
const sliceBytes = 1 << 22

function littleEndian(data: Float32Array): Buffer {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return endianness() === 'LE' ? bytes : Buffer.from(bytes).swap32()
}

export async function* encodeLatents({ latents, metadata }: LatentsFile): AsyncGenerator<Uint8Array> {
  const data = littleEndian(latents.data)
  const text = JSON.stringify({ __metadata__: { format: 'pt', ...metadata }, latents: { dtype: 'F32', shape: latents.shape, data_offsets: [0, data.length] } })
  const bytes = Buffer.byteLength(text)
  const header = Buffer.alloc(8 + Math.ceil(bytes / 8) * 8, ' ')
  header.writeBigUInt64LE(BigInt(header.length - 8))
  header.write(text, 8)
  yield header
  for (let from = 0; from < data.length; from += sliceBytes) yield data.subarray(from, from + sliceBytes)
}
