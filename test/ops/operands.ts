// Operands of op tests: host data with a shape, and random numbers that are the same in every run.

import type { DType, TypedArray } from '../../lib/native/binding.js'

export interface Operand {
  shape: number[]
  dtype: DType
  data: TypedArray
}

/** An operand or a result in float64, as references see it. */
export interface Tensor64 {
  shape: number[]
  data: Float64Array
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, size) => n * size, 1)

/** Uniform numbers in 0 … 1 (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const seedOf = (shape: readonly number[], seed: number): number => shape.reduce((hash, size) => Math.imul(hash ^ size, 0x9e3779b1) + 0x85ebca6b, seed * 7919 + 1)

/** Roughly normal numbers: the sum of four uniform ones, scaled. */
export function normal(shape: number[], { seed = 0, mean = 0, deviation = 1 } = {}): Operand {
  const next = random(seedOf(shape, seed))
  const data = Float32Array.from({ length: sizeOf(shape) }, () => mean + deviation * Math.sqrt(3) * (next() + next() + next() + next() - 2))
  return { shape, dtype: 'float32', data }
}

/** Whole numbers from 0 to limit − 1. */
export function indices(shape: number[], limit: number, seed = 0): Operand {
  const next = random(seedOf(shape, seed))
  return { shape, dtype: 'int32', data: Int32Array.from({ length: sizeOf(shape) }, () => Math.floor(next() * limit)) }
}

export function bytes(shape: number[], seed = 0): Operand {
  const next = random(seedOf(shape, seed))
  return { shape, dtype: 'uint8', data: Uint8Array.from({ length: sizeOf(shape) }, () => Math.floor(next() * 256)) }
}

export function values(shape: number[], data: readonly number[], dtype: 'float32' | 'float64' | 'int32' = 'float32'): Operand {
  return { shape, dtype, data: dtype === 'float32' ? Float32Array.from(data) : dtype === 'float64' ? Float64Array.from(data) : Int32Array.from(data) }
}

export const wide = ({ shape, data }: { shape: number[]; data: TypedArray }): Tensor64 => ({ shape, data: Float64Array.from(data) })

/** A float64 result filled element by element; `index` counts along each axis. */
export function compute(shape: number[], element: (...index: number[]) => number): Tensor64 {
  const data = new Float64Array(sizeOf(shape))
  const index = shape.map(() => 0)
  for (let i = 0; i < data.length; i++) {
    data[i] = element(...index)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break
      index[axis] = 0
    }
  }
  return { shape, data }
}

/** Element of a dense tensor. */
export function at({ shape, data }: Tensor64, ...index: number[]): number {
  let offset = 0
  for (let axis = 0; axis < shape.length; axis++) offset = offset * shape[axis]! + index[axis]!
  return data[offset]!
}
