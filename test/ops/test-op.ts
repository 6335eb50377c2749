// One op of ops.def against its float64 reference, through the addon, on every instruction set of this machine and every CUDA plug-in that is there.
//   check     results, guard values around every operand, NaN, one thread and two (same bits), any strides (same bits), a wrong shape
//   gradient  `<op>_backward` against central differences of the reference

import { afterAll, describe, expect, test } from 'vitest'
import type { DType, NativeEngine, NativeTensor, OpArguments, TypedArray } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { devicesAndSets, isAsynchronous, openEngine } from '../support/devices.js'
import { normal, random, sizeOf, wide, type Operand, type Tensor64 } from './operands.js'

/** How an operand may lie in memory: ops.def. The first run of a case is dense, the second one as loose as allowed. */
export type Layout = 'dense' | 'rows' | 'strided'

/** Error allowed, in units of 2⁻²⁴ (half a step of fp32 at 1): `own` times the element's size plus `largest` times that of the largest element. */
export interface Tolerance {
  own?: number
  largest?: number
}

export interface OutputShape {
  shape: number[]
  dtype?: DType
  /** What the output holds before: for those that are added to, or updated in place. */
  initial?: Operand
}

export interface OpCase {
  title: string
  inputs: Record<string, Operand>
  scalars?: Record<string, number>
  outputs: Record<string, OutputShape>
  /** Poison one element of each float input in turn (default: for cases of up to 4096 elements). */
  nan?: boolean
  tolerance?: Tolerance
}

export type Tensors = Record<string, Tensor64>
export type Scalars = Record<string, number>
/** tensors: inputs, and the initial values of outputs that have any. shapes: of all outputs. */
export type Reference = (tensors: Tensors, scalars: Scalars, shapes: Record<string, number[]>) => Tensors

export interface OpTest {
  cases: OpCase[]
  reference: Reference
  tolerance: Tolerance | ((c: OpCase) => Tolerance)
  layouts?: Record<string, Layout>
  /** Takes any shape, so that none is wrong. */
  anyShape?: boolean
  /** CUDA gives the bits of a CPU that fuses a product with a sum. */
  bitsOfCpu?: boolean
  /** The order of its sums follows from the strides too, not from the shape alone. */
  sumsAsItLies?: boolean
  gradient?: Gradient
}

export interface Gradient {
  /** Gradient output → the input it belongs to. */
  of: Record<string, string>
  /** Forward output that dy is the gradient of; absent: the loss, whose gradient is 1. */
  dy?: string
  /** Outputs that are added to. */
  added?: string[]
  scalars?: Scalars
  tolerance: Tolerance | ((c: OpCase) => Tolerance)
  layouts?: Record<string, Layout>
  /** Inputs' elements that count as constant: their gradient has to be 0. */
  constant?: (input: string, index: number, c: OpCase, scalars: Scalars) => boolean
  cases?: OpCase[]
}

const binding = loadBinding()
const fieldsOf = new Map(binding.ops().map(({ name, fields }) => [name, fields]))
/** The instruction set that the engine takes by itself, if it fuses a product with a sum as a GPU does. */
const fusedCpu = binding.cpuFeatures().filter((isa) => isa !== 'portable' || process.arch !== 'x64').at(-1)

/** Set by `node tools/mutants.mjs --ops`: a build of test/native/faulty_backend.cpp, and faults that it has: '<op>.<output>', separated by commas. */
const { VIN_TEST_BACKEND: faultyBackend, VIN_TEST_FAULTS: faults = '' } = process.env

/** What an op's tests run on: the instruction sets of this machine, then CUDA; or the faulty backend, once without a fault and once with each fault of this op. */
export const devicesOf = (op: string): string[] =>
  faultyBackend ? ['none', ...faults.split(',').filter((fault) => fault.startsWith(`${op}.`))] : devicesAndSets

function openTested(device: string, threads: number): NativeEngine {
  if (!faultyBackend) return openEngine(device, threads)
  process.env['VIN_TEST_FAULT'] = device
  return binding.createEngine({ device: 'faulty', threads, backendPath: faultyBackend })
}

const engines = new Map<string, NativeEngine>()

/** Engines are opened once per test file. */
export function engineOf(device: string, threads: number): NativeEngine {
  const key = `${device} ${threads}`
  let engine = engines.get(key)
  if (!engine) engines.set(key, (engine = openTested(device, threads)))
  return engine
}

afterAll(async () => {
  await Promise.all([...engines.values()].map((engine) => engine.dispose()))
  engines.clear()
})

const sentinels: Record<DType, number> = { float32: 12345.5, bfloat16: 12352, float16: 12344, int32: -1234567, uint8: 171, float64: 12345.5 }
const arrays = { float32: Float32Array, bfloat16: Float32Array, float16: Float32Array, int32: Int32Array, uint8: Uint8Array, float64: Float64Array }

/** A view of an operand in a larger tensor of sentinels. */
interface Placed {
  whole: NativeTensor
  view: NativeTensor
  /** Positions of the operand's elements in `whole`. */
  positions: Int32Array
  sentinel: number
}

function place(engine: NativeEngine, { shape, dtype, data }: Operand, layout: Layout): Placed {
  const dense = layout === 'dense'
  // Dense: sentinels before and behind. Otherwise: around every axis, and for strided operands between all elements too.
  const padded = dense ? [sizeOf(shape) + 32] : [...shape.map((size) => size + 3), ...(layout === 'strided' ? [2] : [])]
  const sentinel = sentinels[dtype]
  const host = new arrays[dtype](sizeOf(padded)).fill(sentinel)
  const positions = new Int32Array(sizeOf(shape))
  const index = shape.map(() => 0)
  for (let i = 0; i < positions.length; i++) {
    let position = 0
    for (let axis = 0; axis < shape.length; axis++) position = position * padded[axis]! + index[axis]! + 1
    positions[i] = dense ? 16 + i : layout === 'strided' ? 2 * position : position
    host[positions[i]!] = data[i]!
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break
      index[axis] = 0
    }
  }
  let whole = engine.upload(host as TypedArray, padded)
  if (dtype === 'bfloat16' || dtype === 'float16') whole = engine.op('copy', { y: { shape: padded, dtype }, x: whole })['y']!
  let view = whole
  if (dense) view = engine.slice(view, 0, 16, 16 + sizeOf(shape))
  else {
    shape.forEach((size, axis) => (view = engine.slice(view, axis, 1, 1 + size)))
    if (layout === 'strided') view = engine.slice(view, shape.length, 0, 1)
  }
  if (dense || layout === 'strided') view = engine.reshape(view, shape)
  return { whole, view, positions, sentinel }
}

async function contents({ whole, positions, sentinel }: Placed, name: string): Promise<TypedArray> {
  const { data } = await whole.read()
  const result = data.slice(0, positions.length)
  const inside = new Uint8Array(data.length)
  positions.forEach((position, i) => {
    result[i] = data[position]!
    inside[position] = 1
  })
  const touched = data.findIndex((value, i) => !inside[i] && value !== sentinel)
  if (touched >= 0) expect.fail(`${name}: the guard value at ${touched} of ${data.length} became ${data[touched]}`)
  return result
}

interface RunOptions {
  engine: NativeEngine
  layouts: Record<string, Layout>
}

/** Runs one op on one case; every operand lies among guard values, which are checked. */
export async function runOp(op: string, c: OpCase, { engine, layouts }: RunOptions): Promise<Record<string, TypedArray>> {
  const args: OpArguments = { ...c.scalars }
  const placed = new Map<string, Placed>()
  for (const [name, operand] of Object.entries(c.inputs)) placed.set(name, place(engine, operand, layouts[name] ?? 'dense'))
  for (const [name, { shape, dtype = 'float32', initial }] of Object.entries(c.outputs)) {
    // Without initial values the output holds NaN or 99, which the op has to overwrite.
    const before = initial ?? { shape, dtype, data: new arrays[dtype](sizeOf(shape)).fill(dtype === 'int32' || dtype === 'uint8' ? 99 : NaN) }
    placed.set(name, place(engine, before, layouts[name] ?? 'dense'))
  }
  for (const [name, { view }] of placed) args[name] = view
  for (const tensor of Object.values(engine.op(op, args))) await tensor.ready()
  const results: Record<string, TypedArray> = {}
  for (const [name, operand] of placed) {
    const data = await contents(operand, name)
    if (name in c.outputs) results[name] = data
    else expect(sameBits(data, c.inputs[name]!.data), `${name} is an input and was changed`).toBe(true)
  }
  for (const { whole, view } of placed.values()) {
    view.dispose()
    whole.dispose()
  }
  return results
}

const sameBits = (a: TypedArray, b: TypedArray): boolean => a.length === b.length && a.every((value, i) => Object.is(value, b[i]))

/** Names the first element that is too far away; NaN equals NaN only. */
export function compare(name: string, found: TypedArray, expected: Float64Array, { own = 0, largest = 0 }: Tolerance): void {
  expect(found.length, `elements of ${name}`).toBe(expected.length)
  const size = expected.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0)
  let worst = 0
  let where = -1
  for (let i = 0; i < expected.length; i++) {
    const a = found[i]!
    const b = expected[i]!
    if (Object.is(a, b) || a === b) continue
    const allowed = 2 ** -24 * (own * Math.abs(b) + largest * size)
    const error = Number.isNaN(a) || Number.isNaN(b) ? Infinity : Math.abs(a - b) / (allowed || Number.MIN_VALUE)
    if (error > worst) [worst, where] = [error, i]
  }
  if (worst > 1) expect.fail(`${name}[${where}] is ${found[where]}, expected ${expected[where]}: ${worst} times the tolerance`)
}

function tensorsOf(c: OpCase): Tensors {
  const tensors: Tensors = {}
  for (const [name, operand] of Object.entries(c.inputs)) tensors[name] = wide(operand)
  for (const [name, { initial }] of Object.entries(c.outputs)) if (initial) tensors[name] = wide(initial)
  return tensors
}

const shapesOf = (c: OpCase): Record<string, number[]> => Object.fromEntries(Object.entries(c.outputs).map(([name, { shape }]) => [name, shape]))

const refer = (reference: Reference, c: OpCase): Tensors => reference(tensorsOf(c), c.scalars ?? {}, shapesOf(c))

const toleranceOf = (tolerance: OpTest['tolerance'], c: OpCase): Tolerance => c.tolerance ?? (typeof tolerance === 'function' ? tolerance(c) : tolerance)

const elementsOf = (c: OpCase): number => Object.values(c.inputs).reduce((n, { shape }) => n + sizeOf(shape), 0)

const isFloat = ({ dtype }: Operand): boolean => dtype !== 'int32' && dtype !== 'uint8'

/** The case with one element of one input replaced by NaN. */
function poisoned(c: OpCase, name: string): OpCase {
  const operand = c.inputs[name]!
  const data = operand.data.slice()
  data[data.length >> 1] = NaN
  return { ...c, inputs: { ...c.inputs, [name]: { ...operand, data } } }
}

export function testOp(op: string, { cases, reference, tolerance, layouts = {}, anyShape = false, bitsOfCpu = false, sumsAsItLies = false, gradient }: OpTest): void {
  describe.each(devicesOf(op))(`${op} on %s`, (device) => {
    test.each(cases.map((c) => [c.title, c] as const))('%s', async (_, c) => {
      const expected = refer(reference, c)
      const dense = await runOp(op, c, { engine: engineOf(device, 2), layouts: {} })
      const one = await runOp(op, c, { engine: engineOf(device, 1), layouts: {} })
      const loose = await runOp(op, c, { engine: engineOf(device, 2), layouts })
      for (const name of Object.keys(c.outputs)) {
        compare(name, dense[name]!, expected[name]!.data, toleranceOf(tolerance, c))
        compare(`${name} (as loosely as ops.def allows)`, loose[name]!, expected[name]!.data, toleranceOf(tolerance, c))
        expect(sameBits(one[name]!, dense[name]!), `${name}: one thread and two give the same bits`).toBe(true)
        if (!sumsAsItLies) expect(sameBits(loose[name]!, dense[name]!), `${name}: any strides give the same bits`).toBe(true)
      }
      if (!bitsOfCpu || !isAsynchronous(device) || fusedCpu === undefined) return
      const cpu = await runOp(op, c, { engine: engineOf(fusedCpu, 2), layouts: {} })
      for (const name of Object.keys(c.outputs)) expect(sameBits(dense[name]!, cpu[name]!), `${name}: the same bits as ${fusedCpu}`).toBe(true)
    })

    const small = cases.filter((c) => (c.nan ?? elementsOf(c) <= 4096) && elementsOf(c) > 0)
    const inputs = [...new Set(small.flatMap((c) => Object.keys(c.inputs).filter((name) => isFloat(c.inputs[name]!) && c.inputs[name]!.data.length > 0)))]
    if (inputs.length > 0) {
      test.each(inputs)('NaN in %s goes where the formula takes it', async (name) => {
        for (const c of small.filter((candidate) => (candidate.inputs[name]?.data.length ?? 0) > 0)) {
          const bad = poisoned(c, name)
          const expected = refer(reference, bad)
          const found = await runOp(op, bad, { engine: engineOf(device, 2), layouts })
          for (const output of Object.keys(c.outputs)) compare(`${output} (${c.title})`, found[output]!, expected[output]!.data, toleranceOf(tolerance, c))
        }
      })
    }

    const first = Object.keys(cases[0]!.inputs).find((name) => cases[0]!.inputs[name]!.shape.length < 5)
    if (first !== undefined && !anyShape) {
      test(`refuses ${first} of another rank`, async () => {
        const engine = engineOf(device, 1)
        const args: OpArguments = { ...cases[0]!.scalars }
        for (const [name, { data, shape }] of Object.entries(cases[0]!.inputs)) args[name] = engine.upload(data, name === first ? [...shape, 1] : shape)
        // Outputs made by the call: their handles carry its error.
        for (const [name, { shape, dtype = 'float32' }] of Object.entries(cases[0]!.outputs)) args[name] = { shape, dtype }
        const refused = Object.values(engine.op(op, args)).map((tensor) => tensor.ready())
        for (const result of await Promise.allSettled(refused)) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_OUT_OF_RANGE' } })
      })
    }
  })
  if (gradient) testGradient(op, reference, cases, gradient)
}

/** The arguments of `<op>_backward`, found by name: gradients of outputs are random, saved outputs come from the reference. */
function backwardCase(op: string, c: OpCase, reference: Reference, gradient: Gradient): OpCase {
  const forward = refer(reference, c)
  const backward: OpCase = { title: c.title, inputs: {}, scalars: {}, outputs: {} }
  for (const { name, kind } of fieldsOf.get(`${op}_backward`)!) {
    if (kind === 'out') {
      const input = c.inputs[gradient.of[name] ?? '']
      if (!input) continue
      const initial = normal(input.shape, { seed: 77 })
      backward.outputs[name] = gradient.added?.includes(name) ? { shape: input.shape, initial } : { shape: input.shape }
    } else if (kind === 'in' || kind === 'opt') {
      const saved = forward[name]
      if (name === 'dy') backward.inputs[name] = normal(forward[gradient.dy!]!.shape, { seed: 5 })
      else if (c.inputs[name]) backward.inputs[name] = c.inputs[name]
      else if (saved && kind === 'in') backward.inputs[name] = { shape: saved.shape, dtype: 'float32', data: Float32Array.from(saved.data) }
    } else backward.scalars![name] = gradient.scalars?.[name] ?? c.scalars?.[name] ?? 0
  }
  return backward
}

function testGradient(op: string, reference: Reference, cases: OpCase[], gradient: Gradient): void {
  describe.each(devicesOf(`${op}_backward`))(`${op}_backward on %s`, (device) => {
    test.each((gradient.cases ?? cases).map((c) => [c.title, c] as const))('%s', async (_, c) => {
      const backward = backwardCase(op, c, reference, gradient)
      const run = (threads: number, layouts: Record<string, Layout>) => runOp(`${op}_backward`, backward, { engine: engineOf(device, threads), layouts })
      const dense = await run(2, {})
      const one = await run(1, {})
      const loose = await run(2, gradient.layouts ?? {})
      // Σ dy · y as a function of the inputs, where the forward op's own initial values (losses are added to) cancel in the difference.
      const dy = backward.inputs['dy']
      const total = (tensors: Tensors): number => {
        const outputs = reference(tensors, c.scalars ?? {}, shapesOf(c))
        if (!dy) return outputs['loss']!.data[0]!
        return outputs[gradient.dy!]!.data.reduce((sum, value, i) => sum + value * dy.data[i]!, 0)
      }
      for (const name of Object.keys(backward.outputs)) {
        expect(sameBits(one[name]!, dense[name]!), `${name}: one thread and two give the same bits`).toBe(true)
        expect(sameBits(loose[name]!, dense[name]!), `${name}: any strides give the same bits`).toBe(true)
        const input = gradient.of[name]!
        const { own = 0, largest = 0 } = toleranceOf(gradient.tolerance, c)
        for (const found of [dense[name]!, loose[name]!]) {
          const initial = backward.outputs[name]!.initial
          const slope = Float64Array.from(found, (value, i) => value - (initial ? initial.data[i]! : 0))
          const most = slope.reduce((size, value) => Math.max(size, Math.abs(value)), 0) + (initial ? 4 : 0)
          const constant = (i: number) => gradient.constant?.(input, i, c, backward.scalars!) ?? false
          slope.forEach((value, i) => constant(i) && expect(value, `${name}[${i}] is constant`).toBe(0))
          for (const direction of directions(slope.length, constant)) {
            const base = tensorsOf(c)
            const moved = (step: number): Tensors => ({
              ...base, [input]: { shape: base[input]!.shape, data: base[input]!.data.map((value, i) => value + step * direction[i]!) }
            })
            const step = 1e-4
            const [after, before] = [total(moved(step)), total(moved(-step))]
            const difference = (after - before) / (2 * step)
            let along = 0
            let size = 0
            let length = 0
            slope.forEach((value, i) => {
              along += value * direction[i]!
              size += Math.abs(value * direction[i]!)
              length += Math.abs(direction[i]!)
            })
            // The kernel's rounding; 1e-6 for what the central difference leaves out (step² times the third derivative); fp64 roundings of the two totals.
            const allowed = 2 ** -24 * (own * size + largest * most * Math.sqrt(length)) + 1e-6 * (size + most) + (2 ** -50 * Math.abs(after)) / step
            expect(Math.abs(along - difference), `${name} along a direction: ${along}, difference quotient ${difference}`).toBeLessThanOrEqual(allowed)
          }
        }
      }
    })
  })
}

/** All elements at random, twice; then single ones. */
function* directions(n: number, constant: (i: number) => boolean): Generator<Float64Array> {
  const next = random(n + 3)
  for (let k = 0; k < 2 && n > 0; k++) yield Float64Array.from({ length: n }, (_, i) => (constant(i) ? 0 : 2 * next() - 1))
  for (let k = 0; k < Math.min(n, 6); k++) {
    const i = Math.floor(next() * n)
    if (!constant(i)) yield Float64Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))
  }
}
