// Contenders take turns, A B A B, so that a ratio compares what ran next to each other; beside them the measured peak of the machine, in the same rounds.

import { appendFileSync } from 'node:fs'
import { expect, inject } from 'vitest'
import type { TensorData } from '../../lib/index.js'
import type { NativeEngine, NativeTensor, OpArguments } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { coresAvailable } from '../../lib/native/machine.js'
import { options } from './options.js'
import type { Peer, PeerTensors } from './peer.js'
import { OF_PEAK, TIMES_PEER, formatRow, ratio, summary } from './table.js'
import type { Row } from './table.js'

export const allThreads = coresAvailable()

/** All of them, or with --quick the first of each kind. */
export const few = <T>(list: readonly T[]): readonly T[] => (options.quick ? list.slice(0, 1) : list)

/** Does the work so many times and resolves with the seconds that took. */
export type Work = (times: number) => Promise<number>

export const timed = (call: () => Promise<unknown>): Work => async (times) => {
  const start = performance.now()
  for (let i = 0; i < times; i++) await call()
  return (performance.now() - start) / 1000
}

/** Calls of an op that go to the engine as one command, so that no core works for JavaScript meanwhile: as many small ops follow one another inside a model. */
export const queued = (engine: NativeEngine, call: (times: number) => unknown): Work => async (times) => {
  const start = performance.now()
  call(times)
  await engine.fence()
  return (performance.now() - start) / 1000
}

/** Long enough that a clock's and a wake-up's error do not show. */
const sampleSeconds = options.quick ? 0.01 : 0.1
const pause = () => new Promise((resolve) => setTimeout(resolve, 10))   // threads of the contender before this one go to sleep

export interface Measured {
  /** Seconds of one call, per contender and round. */
  seconds: Record<string, number[]>
  /** fp32 operations per second that registers alone allow, per round. */
  peak: number[]
}

export async function measure(contenders: Record<string, Work>, threads: number): Promise<Measured> {
  const binding = loadBinding()
  const times: Record<string, number> = {}
  const measured: Measured = { seconds: {}, peak: [] }
  for (const [name, work] of Object.entries(contenders)) {
    measured.seconds[name] = []
    const first = await work(1)
    const once = first > sampleSeconds ? first : await work(1)
    times[name] = Math.max(1, Math.min(1000, Math.round(sampleSeconds / once)))
  }
  for (let round = 0; round < options.rounds; round++) {
    for (const [name, work] of Object.entries(contenders)) {
      await pause()
      measured.seconds[name]!.push((await work(times[name]!)) / times[name]!)
    }
    await pause()
    measured.peak.push(binding.measurePeak({ threads }))
  }
  return measured
}

export function record(row: Row): void {
  appendFileSync(inject('benchRows'), `${JSON.stringify(row)}\n`)
  console.log(formatRow(row))
}

export interface Comparison {
  group: string
  work: string
  threads?: number
  /** Floating-point operations of one call; absent: no share of the peak is quoted. */
  operations?: number
  ours: Work
  /** What one call gives, by name. */
  outputs: () => Promise<PeerTensors>
  /** Holds the outputs against something independent where there is no peer, too. */
  check: (outputs: PeerTensors) => void
  peer?: Peer | undefined
  /** Name and arguments of the work in peer/. */
  same: { work: string; inputs: PeerTensors; options?: Record<string, unknown> }
  /** Largest difference from the peer's outputs, as a share of the largest magnitude in each. */
  tolerance: number
}

/** Compares results, then times, then records one row. */
export async function compareWithPeer(c: Comparison): Promise<void> {
  const { group, work, threads = allThreads, operations, peer } = c
  const outputs = await c.outputs()
  c.check(outputs)
  const contenders: Record<string, Work> = { ours: c.ours }
  const theirs = await peer?.make(c.same.work, c.same.inputs, c.same.options)
  for (const variant of theirs?.variants ?? []) {
    expectClose(outputs, await theirs!.outputs(variant), c.tolerance, `PyTorch ${variant}`)
    contenders[variant] = theirs!.run(variant, threads)
  }
  const { seconds, peak } = await measure(contenders, threads)
  await theirs?.forget()
  const row: Row = { group, work, threads, ratios: {}, seconds, peak: { [threads]: peak } }
  if (operations !== undefined) {
    row.operations = operations
    row.ratios[OF_PEAK] = summary(seconds['ours']!.map((each, round) => operations / each / peak[round]!))
  }
  if (theirs) {
    row.pytorch = peer!.version
    row.peer = theirs.variants.reduce((best, each) => (summary(seconds[each]!).median < summary(seconds[best]!).median ? each : best))
    row.ratios[TIMES_PEER] = ratio(seconds[row.peer]!, seconds['ours']!)
  }
  record(row)
}

/** Every output the peer has, element by element; NaN never passes. */
export function expectClose(ours: PeerTensors, theirs: PeerTensors, tolerance: number, who: string): void {
  expect(Object.keys(theirs).sort(), `outputs of ${who}`).toEqual(Object.keys(ours).sort())
  for (const [name, { data, shape }] of Object.entries(theirs)) {
    const found = ours[name]!
    expect(found.shape, `shape of ${name}`).toEqual(shape)
    let largest = 0
    let difference = 0
    for (let i = 0; i < data.length; i++) {
      largest = Math.max(largest, Math.abs(data[i]!))
      const d = Math.abs(found.data[i]! - data[i]!)
      if (!(d <= difference)) difference = d
    }
    expect(largest, `${name} of ${who} is not all 0`).toBeGreaterThan(0)
    expect(difference / largest, `${name}: difference from ${who} as a share of the largest magnitude`).toBeLessThanOrEqual(tolerance)
  }
}

// ---- tensors ----

/** Normals times `deviation`, made on the engine. */
export function normals(engine: NativeEngine, shape: number[], seed: number, deviation = 1): NativeTensor {
  const raw = engine.op('randn', { y: { shape }, seed_low: seed, seed_high: 0, stream: 0, frame_major: 0 })['y']!
  return engine.op('linear_combination', { y: raw, a: raw, fa: deviation, fb: 0, fc: 0, fd: 0 })['y']!
}

export async function read(tensor: NativeTensor): Promise<TensorData> {
  const { data, shape } = await tensor.read()
  return { data: data as Float32Array, shape }
}

export async function readAll(tensors: Record<string, NativeTensor>): Promise<PeerTensors> {
  const entries = await Promise.all(Object.entries(tensors).map(async ([name, tensor]) => [name, await read(tensor)] as const))
  return Object.fromEntries(entries)
}

/** Runs one op whose outputs are made once and written again by every call. */
export function repeatable(engine: NativeEngine, op: string, inputs: Record<string, NativeTensor>, outputs: Record<string, number[]>, scalars: Record<string, number>): { outputs: Record<string, NativeTensor>; call: (times?: number) => void } {
  const made = Object.fromEntries(Object.entries(outputs).map(([name, shape]) => [name, engine.op('fill', { y: { shape }, value: 0 })['y']!]))
  const args: OpArguments = { ...inputs, ...made, ...scalars }
  return { outputs: made, call: (times) => void engine.op(op, args, times) }
}
