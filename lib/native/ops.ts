// The few ops that TypeScript calls by itself. All queue on the engine and return handles at once.

import { expected, rangeError } from '../errors.js'
import type { NativeEngine, NativeTensor, OpArguments } from './binding.js'
import { commonEngine } from './engine.js'
import { elements, readNative, type TensorData } from './tensor.js'

function output(results: Record<string, NativeTensor>, field = 'y'): NativeTensor {
  const tensor = results[field]
  if (tensor === undefined) throw new Error(`the op returned no ${field}`)
  return tensor
}

export interface Term {
  factor: number
  tensor: NativeTensor
}

/** Σ factor · tensor of one to four terms, computed in double and rounded once. */
export function linearCombination(engine: NativeEngine, terms: readonly Term[]): NativeTensor {
  const [a, b, c, d] = terms
  if (a === undefined || terms.length > 4) throw rangeError(`Expected one to four terms but received ${terms.length}`)
  return output(
    engine.op('linear_combination', {
      y: { shape: a.tensor.shape },
      a: a.tensor,
      b: b?.tensor ?? null,
      c: c?.tensor ?? null,
      d: d?.tensor ?? null,
      fa: a.factor,
      fb: b?.factor ?? 0,
      fc: c?.factor ?? 0,
      fd: d?.factor ?? 0
    })
  )
}

/** Normals of model.md §6, queued. Rank 4 is latents [C,N,H,W] with frame-major element order. */
export function randnNative(engine: NativeEngine, seed: bigint, stream: number, shape: readonly number[]): NativeTensor {
  const args: OpArguments = {
    y: { shape: [...shape] },
    seed_low: Number(BigInt.asIntN(32, seed)),
    seed_high: Number(BigInt.asIntN(32, seed >> 32n)),
    stream: stream | 0,
    frame_major: shape.length === 4 ? 1 : 0
  }
  return output(engine.op('randn', args))
}

/** A copy of a tensor or view, dense. */
export function copyOf(engine: NativeEngine, tensor: NativeTensor): NativeTensor {
  return output(engine.op('copy', { y: { shape: tensor.shape, dtype: tensor.dtype }, x: tensor }))
}

/** Writes `source` into the view or tensor `target`. */
export function copyInto(engine: NativeEngine, target: NativeTensor, source: NativeTensor): void {
  engine.op('copy', { y: target, x: source })
}

export function filled(engine: NativeEngine, shape: readonly number[], value: number): NativeTensor {
  return output(engine.op('fill', { y: { shape: [...shape] }, value }))
}

/** mean |now − before| / mean |before| of two dense tensors of one shape. Waits for them. */
export async function relativeChange(engine: NativeEngine, now: NativeTensor, before: NativeTensor): Promise<number> {
  const columns = before.shape.at(-1) ?? 1
  const rows = [elements(before.shape) / columns, columns]
  const views = [engine.reshape(before, rows), engine.reshape(now, rows), filled(engine, rows, 0)] as const
  const [prediction, ...targets] = views
  const distances = targets.map((target) => {
    const loss = output(engine.op('fill', { y: { shape: [1], dtype: 'float64' }, value: 0 }))
    engine.op('reconstruction_loss', { loss, prediction, target, weight: null, l1: 1, l2: 0 })
    return loss
  })
  try {
    const [moved = NaN, length = NaN] = (await Promise.all(distances.map((sum) => sum.read()))).map(({ data }) => data[0])
    return moved / length
  } finally {
    for (const tensor of [...views, ...distances]) tensor.dispose()
  }
}

/** Tensors one after another along an axis. */
export function concat(engine: NativeEngine, tensors: readonly NativeTensor[], axis: number): NativeTensor {
  const first = tensors[0]
  if (first === undefined) throw rangeError('Expected at least one tensor to concatenate but received none')
  const shape = [...first.shape]
  shape[axis] = tensors.reduce((sum, tensor) => sum + (tensor.shape[axis] ?? 0), 0)
  const whole = filled(engine, shape, 0)
  let at = 0
  for (const tensor of tensors) {
    const end = at + (tensor.shape[axis] ?? 0)
    const view = engine.slice(whole, axis, at, end)
    copyInto(engine, view, tensor)
    view.dispose()
    at = end
  }
  return whole
}

/** Rows of a [rows, D] tensor by number. */
export function gatherRows(engine: NativeEngine, table: NativeTensor, rows: readonly number[]): NativeTensor {
  const ids = engine.upload(Int32Array.from(rows), [rows.length])
  const result = output(engine.op('embedding', { y: { shape: [rows.length, table.shape[1] ?? 0] }, table, ids }))
  ids.dispose()
  return result
}

/** A seed as options take it: an integer from 0 to 2⁵³ − 1, or a bigint below 2⁶⁴. */
export function checkSeed(seed: unknown, name = 'seed'): bigint {
  const what = 'an integer from 0 to 2^53 - 1 or a bigint below 2^64'
  if (typeof seed === 'bigint') {
    if (seed < 0n || seed >= 1n << 64n) throw expected(what, name, seed, 'range')
    return seed
  }
  if (typeof seed !== 'number') throw expected(what, name, seed, 'type')
  if (!Number.isSafeInteger(seed) || seed < 0) throw expected(what, name, seed, 'range')
  return BigInt(seed)
}

export interface RandnOptions {
  /** An integer from 0 to 2⁵³ − 1, or a bigint below 2⁶⁴. */
  seed: number | bigint
  /** Which of the seed's independent sequences: 0 is the initial noise, 0x100 + s fresh noise of step s. @default 0 */
  stream?: number | undefined
  /** Rank 4 is latents [C,N,H,W], whose frames keep their values for any N; any other rank counts row-major. */
  shape: readonly number[]
}

/**
Standard normals that depend on the seed, the stream and the element alone: Philox 4×32-10 and Box–Muller.

@throws RangeError for a seed, stream or shape out of range
*/
export async function randn(options: RandnOptions): Promise<TensorData> {
  if (typeof options !== 'object' || options === null) throw expected('an object', 'the options of randn', options, 'type')
  const seed = checkSeed(options.seed)
  const { stream = 0, shape } = options
  if (!Number.isInteger(stream) || stream < 0 || stream >= 2 ** 32) throw expected('an integer from 0 to 2^32 - 1', 'stream', stream, typeof stream === 'number' ? 'range' : 'type')
  if (!Array.isArray(shape) || shape.length < 1 || shape.length > 5 || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw expected('1 to 5 sizes', 'shape', shape, Array.isArray(shape) ? 'range' : 'type')
  }
  if (elements(shape) > 2 ** 31) throw rangeError(`Expected at most 2^31 elements for shape but received [${shape.join(', ')}]`)
  const tensor = randnNative(commonEngine().native, seed, stream, shape as number[])
  try {
    return await readNative(tensor)
  } finally {
    tensor.dispose()
  }
}
