// Contenders take turns, A B A B, so that a ratio compares what ran next to each other; beside them the measured peak of the machine, in the same rounds. Rows of small works take turns too.

import { appendFileSync } from 'node:fs'
import { expect, inject } from 'vitest'
import type { TensorData } from '../../lib/index.js'
import type { NativeEngine, NativeTensor, OpArguments } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { coresAvailable } from '../../lib/native/machine.js'
import { options } from './options.js'
import type { Peer, PeerTensors, PeerWork } from './peer.js'
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
const pause = () => new Promise((resolve) => setTimeout(resolve, 30))   // threads of the contender before this one go to sleep: PyTorch's spin for some 10 ms

export interface Measured {
  /** Seconds of one call, per contender and round. */
  seconds: Record<string, number[]>
  /** fp32 operations per second that registers alone allow, per round. */
  peak: number[]
}

/** Contenders, how often a sample calls each, and what has been measured of them. */
class Match {
  readonly measured: Measured = { seconds: {}, peak: [] }
  readonly #contenders: { name: string; work: Work; times: number }[] = []

  private constructor(readonly threads: number) {}

  static async of(contenders: Record<string, Work>, threads: number): Promise<Match> {
    const match = new Match(threads)
    for (const [name, work] of Object.entries(contenders)) {
      const first = await work(1)
      const once = first > sampleSeconds ? first : await work(1)
      match.#contenders.push({ name, work, times: Math.max(1, Math.min(1000, Math.round(sampleSeconds / once))) })
      match.measured.seconds[name] = []
    }
    return match
  }

  async round(): Promise<void> {
    for (const { name, work, times } of this.#contenders) {
      await pause()
      this.measured.seconds[name]!.push((await work(times)) / times)
    }
    await pause()
    this.measured.peak.push(loadBinding().measurePeak({ threads: this.threads }))
  }
}

export async function measure(contenders: Record<string, Work>, threads: number): Promise<Measured> {
  const match = await Match.of(contenders, threads)
  for (let round = 0; round < options.rounds; round++) await match.round()
  return match.measured
}

/**
 * Rows that take turns too: the first round of each comes before the second of any. A neighbour that takes a core or the caches away for seconds then costs some rows a round each,
 * where rounds in a row would all be his. For works small enough that all are held at once: the matrix products take 1.6 GB here and as much in the peer.
 */
export class Turns {
  readonly #rows: { match: Match; finish: () => Promise<void> }[] = []

  add(match: Match, finish: () => Promise<void>): void {
    this.#rows.push({ match, finish })
  }

  async take(): Promise<void> {
    for (let round = 0; round < options.rounds; round++) {
      if (this.#rows.length > 1) console.log(`round ${round + 1} of ${options.rounds}: ${this.#rows.length} rows`)
      for (const { match } of this.#rows) await match.round()
    }
    for (const { finish } of this.#rows.splice(0)) await finish()
  }
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
  /** Timed when these are taken; absent: at once. */
  turns?: Turns
  /** Of `ours`; disposed when it is timed. */
  tensors?: Record<string, NativeTensor>
}

/** Compares results, then times, then records one row. */
export async function compareWithPeer(c: Comparison): Promise<void> {
  const { group, work, threads = allThreads, operations, peer, tensors = {} } = c
  let theirs: PeerWork | undefined
  const release = async (): Promise<void> => {
    await theirs?.forget()
    for (const tensor of Object.values(tensors)) tensor.dispose()
  }
  const contenders: Record<string, Work> = { ours: c.ours }
  let match: Match
  try {
    const outputs = await c.outputs()
    c.check(outputs)
    theirs = await peer?.make(c.same.work, c.same.inputs, c.same.options)
    for (const variant of theirs?.variants ?? []) {
      expectClose(outputs, await theirs!.outputs(variant), c.tolerance, `PyTorch ${variant}`)
      contenders[variant] = theirs!.run(variant, threads)
    }
    match = await Match.of(contenders, threads)
  } catch (error) {
    await release()
    throw error
  }
  const turns = c.turns ?? new Turns()
  turns.add(match, async () => {
    await release()
    const { seconds, peak } = match.measured
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
  })
  if (!c.turns) await turns.take()
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
