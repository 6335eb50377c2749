// Bounds on untrusted files and requests; every one can be raised by `limits`.

import { checkInteger, checkNames } from '../check.js'

/** @interface */
export type Limits = { -readonly [K in keyof typeof defaultLimits]?: number | undefined }

export type ResolvedLimits = Readonly<Record<keyof Limits, number>>

export const defaultLimits = Object.freeze({
  /** Bytes of a safetensors header. @default 16 MiB */
  headerBytes: 16 << 20,
  /** Tensors in one file. @default 65536 */
  tensors: 65_536,
  /** Bytes of a tensor's name. @default 512 */
  nameBytes: 512,
  /** Dimensions of a tensor. @default 8 */
  rank: 8,
  /** Nesting of JSON. @default 64 */
  jsonDepth: 64,
  /** Bytes of a config.json. @default 1 MiB */
  configBytes: 1 << 20,
  /** Bytes of a tokenizer.json. @default 64 MiB */
  tokenizerBytes: 64 << 20,
  /** Pixels of an input image, before it is decoded. @default 16 megapixels */
  imagePixels: 16_000_000,
  /** UTF-8 bytes of a prompt. @default 8 KiB */
  promptBytes: 8 << 10,
  /** Video frames of one run. @default 4096 */
  numFrames: 4096,
  /** Width or height of a video in pixels. @default 4096 */
  pixels: 4096
})

/** @throws TypeError or RangeError naming the limit */
export function resolveLimits(limits: unknown = {}): ResolvedLimits {
  checkNames(limits, 'limits', Object.keys(defaultLimits))
  const given = Object.entries(limits as Limits).filter(([, value]) => value !== undefined)
  const checked = given.map(([name, value]) => [name, checkInteger(value, `limits.${name}`, 1, Number.MAX_SAFE_INTEGER)])
  return Object.freeze({ ...defaultLimits, ...Object.fromEntries(checked) })
}
