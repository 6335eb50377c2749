// A training run whose process is killed again and again, beside one that is left alone.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Trainer } from '../../lib/index.js'
import { tinyPipeline } from '../support/models.js'
import { Draws } from './philox.js'

export const CHECKPOINT_EVERY = 2

export interface Chain {
  /** Sittings that ended in SIGKILL, and those of them whose half-written checkpoint was found after death. */
  kills: number
  insideWrites: number
  /** Files that the half-written checkpoints had. */
  depths: number[]
  /** Steps of each sitting, in order: number, and the bits of loss and norm. */
  sittings: string[][]
  /** The same of the run that was left alone, which took so many. */
  whole: string[]
  steps: number
  /** Files by name: the last checkpoints of both. */
  files: { chain: Map<string, Buffer>; whole: Map<string, Buffer> }
}

/** Blocks this thread: a kill has to come within a millisecond of what it waits for. */
function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

function lines(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
}

function filesOf(folder: string): Map<string, Buffer> {
  const names = readdirSync(folder, { recursive: true }).map(String).sort()
  return new Map(names.filter((name) => statSync(join(folder, name)).isFile()).map((name) => [name, readFileSync(join(folder, name))]))
}

interface Sitting {
  child: ChildProcess
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>
}

function sit(...args: string[]): Sitting {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'kill-child.mjs'), ...args], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, NODE_OPTIONS: '' } })
  let stderr = ''
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  return { child, ended: new Promise((resolve, reject) => child.on('error', reject).on('close', (code, signal) => resolve({ code, signal, stderr }))) }
}

/**
Kills a run at least `kills` times, `insideWrites` of them inside the write of a checkpoint, and lets the last sitting end it. `prepare` may make the folder of its checkpoints.

A kill waits for some steps of its sitting. Then, for one inside a write, it waits until the new checkpoint beside the old one has a certain file, the first or the last or one
between; else for some milliseconds, which may end anywhere: in a step, between steps, in a write.
*/
export async function killChain(folder: string, options: { kills: number; insideWrites: number; seed: bigint; prepare?: (run: string) => void }): Promise<Chain> {
  const [start, run, log] = [join(folder, 'start'), join(folder, 'run'), join(folder, 'log')]
  await mkdir(folder, { recursive: true })
  options.prepare?.(run)
  const pipeline = await tinyPipeline()
  const trainer = new Trainer(pipeline, {
    learningRate: 3e-3, warmupSteps: 4, lengths: [5, 10], latentFramesPerStep: 20, gradientAccumulationSteps: 2, emaDecay: { max: 0.99, ramp: true }, weightDecay: 0.05,
    maskRatios: { chunks: 0.3, random: 0.3 }, globalTokenDropout: 0.3, textDropout: 0.3, timestepSampling: { mean: 0, std: 1 }, seed: options.seed
  })
  await trainer.save(start)
  trainer.dispose()
  await pipeline.dispose()

  const written = [...filesOf(start).keys()]
  /** Half-written checkpoints in the folder of checkpoints. */
  const begun = () => (existsSync(run) ? readdirSync(run).filter((name) => name.startsWith('.vin-next-')) : [])
  const draws = new Draws(options.seed, 0, 0)
  const chain = { kills: 0, insideWrites: 0, depths: [] as number[], sittings: [] as string[][] }
  while (chain.kills < options.kills || chain.insideWrites < options.insideWrites) {
    if (chain.kills >= 3 * options.kills) throw new Error(`only ${chain.insideWrites} of ${chain.kills} kills fell inside a write`)
    const before = lines(log).length
    // What an earlier kill left half-written is told from what this sitting writes.
    const left = begun()
    const next = () => begun().find((name) => !left.includes(name))
    const has = (name: string) => next() !== undefined && existsSync(join(run, next()!, name))
    const steps = 1 + draws.below(2 * CHECKPOINT_EVERY)
    const aimed = chain.insideWrites < options.insideWrites && (draws.below(2) === 0 || chain.kills >= options.kills - options.insideWrites)
    const file = written[draws.below(written.length)]!
    const pause = 30 * draws.uniform()
    const { child, ended } = sit(start, run, log, '1000000')
    const until = (condition: () => boolean, pace: number): void => {
      const end = performance.now() + 60_000
      while (!condition() && performance.now() < end) sleep(pace)
    }
    until(() => lines(log).length >= before + steps, 1)
    if (aimed) until(() => has(file), 0.05)
    else sleep(pause)
    child.kill('SIGKILL')
    const { code, signal, stderr } = await ended
    if (signal !== 'SIGKILL') throw new Error(`a sitting ended by itself with ${code}: ${stderr}`)
    chain.kills += 1
    const half = next()
    if (half !== undefined) {
      chain.insideWrites += 1
      chain.depths.push(filesOf(join(run, half)).size)
    }
    chain.sittings.push(lines(log).slice(before))
  }

  // Both runs end a few steps after the furthest one.
  const before = lines(log).length
  const steps = Math.max(...lines(log).map((line) => Number.parseInt(line, 10))) + 1 + 3 * CHECKPOINT_EVERY
  const finish = async (checkpoint: string, to: string): Promise<void> => {
    const { code, signal, stderr } = await sit(start, checkpoint, to, String(steps)).ended
    if (code !== 0) throw new Error(`a sitting that was left alone ended with ${code ?? signal}: ${stderr}`)
  }
  await finish(run, log)
  chain.sittings.push(lines(log).slice(before))
  await finish(join(folder, 'whole'), join(folder, 'whole.log'))
  return { ...chain, steps, whole: lines(join(folder, 'whole.log')), files: { chain: filesOf(run), whole: filesOf(join(folder, 'whole')) } }
}
