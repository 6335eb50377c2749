// Bounds on untrusted files and requests; every one can be raised by `limits`.

import { checkInteger, checkNames } from '../check.js'

export interface Limits {
  /** Bytes of a safetensors header. @default 16 MiB */
  headerBytes?: number | undefined
  /** Tensors in one file. @default 65536 */
  tensors?: number | undefined
  /** Bytes of a tensor's name. @default 512 */
  nameBytes?: number | undefined
  /** Dimensions of a tensor. @default 8 */
  rank?: number | undefined
  /** Nesting of JSON. @default 64 */
  jsonDepth?: number | undefined
  /** Bytes of a config.json. @default 1 MiB */
  configBytes?: number | undefined
  /** Bytes of a tokenizer.json. @default 64 MiB */
  tokenizerBytes?: number | undefined
  /** Pixels of an input image, before it is decoded. @default 16 megapixels */
  imagePixels?: number | undefined
  /** UTF-8 bytes of a prompt. @default 8 KiB */
  promptBytes?: number | undefined
  /** Video frames of one run. @default 4096 */
  numFrames?: number | undefined
  /** Width or height of a video in pixels. @default 4096 */
  pixels?: number | undefined
}

export const defaultLimits: Required<{ [K in keyof Limits]: number }> = Object.freeze({
  headerBytes: 16 << 20,
  tensors: 65_536,
  nameBytes: 512,
  rank: 8,
  jsonDepth: 64,
  configBytes: 1 << 20,
  tokenizerBytes: 64 << 20,
  imagePixels: 16_000_000,
  promptBytes: 8 << 10,
  numFrames: 4096,
  pixels: 4096
})

export type ResolvedLimits = Readonly<Required<{ [K in keyof Limits]: number }>>

/** @throws TypeError or RangeError naming the limit */
export function resolveLimits(limits: unknown = {}): ResolvedLimits {
  const names = Object.keys(defaultLimits)
  checkNames(limits, 'limits', names)
  const given = limits as Record<string, unknown>
  const resolved: Record<string, number> = { ...defaultLimits }
  for (const name of names) if (given[name] !== undefined) resolved[name] = checkInteger(given[name], `limits.${name}`, 1, Number.MAX_SAFE_INTEGER)
  return Object.freeze(resolved) as ResolvedLimits
}
