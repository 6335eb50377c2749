// The contract's fixtures: model folders, inputs, and outputs that an independent program computed.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { expect } from 'vitest'
import { loadBinding } from '../../lib/native/load.js'
import type { TensorData } from '../../lib/index.js'

export const fixture = (...path: string[]): string => join(import.meta.dirname, '..', 'fixtures', ...path)

export const layouts = ['full', 'hybrid', 'factorised'] as const
export type Layout = (typeof layouts)[number]

/** Of a file, or of what lies there compressed. */
export function fixtureBytes(...path: string[]): Buffer {
  const file = fixture(...path)
  return existsSync(file) ? readFileSync(file) : gunzipSync(readFileSync(`${file}.gz`))
}

/** All floating tensors of a file. */
export function readTensors(...path: string[]): Record<string, TensorData> {
  const { tensors } = loadBinding().readSafetensors(fixtureBytes(...path))
  return Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, { data: Float32Array.from(data as ArrayLike<number>), shape }]))
}

export const readJson = (...path: string[]): Record<string, unknown> => JSON.parse(readFileSync(fixture(...path), 'utf8')) as Record<string, unknown>

/** A tensor that the fixture must hold. */
export function named(tensors: Record<string, TensorData>, name: string): TensorData {
  const tensor = tensors[name]
  if (tensor === undefined) throw new Error(`the fixture has no ${name}`)
  return tensor
}

/** Largest absolute difference and largest magnitude; NaN anywhere gives NaN. */
export function compare(actual: TensorData, wanted: TensorData): { difference: number; magnitude: number } {
  expect(actual.shape).toEqual(wanted.shape)
  let difference = 0
  let magnitude = 0
  for (let i = 0; i < wanted.data.length; i++) {
    const d = Math.abs((actual.data[i] as number) - (wanted.data[i] as number))
    if (!(d <= difference)) difference = d
    magnitude = Math.max(magnitude, Math.abs(wanted.data[i] as number))
  }
  return { difference, magnitude }
}

/** One evaluation: max|a−b| ≤ 2e-5 · max(1, max|b|). */
export function expectEvaluation(actual: TensorData, wanted: TensorData): void {
  const { difference, magnitude } = compare(actual, wanted)
  expect(difference).toBeLessThanOrEqual(2e-5 * Math.max(1, magnitude))
}

/** A whole sample: max|a−b| ≤ 5e-6 · max|b|. */
export function expectSample(actual: TensorData, wanted: TensorData): void {
  const { difference, magnitude } = compare(actual, wanted)
  expect(difference).toBeLessThanOrEqual(5e-6 * magnitude)
}

export const bits = ({ data }: TensorData): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength)
