// Engines, shared by everything that asks for the same device, threads, instruction set and budget. An engine lives as long as somebody holds it.

import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { VinError, expected, rangeError } from '../errors.js'
import { resolveDevice, type Device, type RejectedBackend } from './backends.js'
import type { Binding, NativeEngine } from './binding.js'
import { loadAddon, type NativeBinding } from './load.js'
import { quietLogger, type Logger } from './log.js'
import { coresAvailable, memoryAvailable } from './machine.js'

export interface EngineOptions {
  device?: Device | undefined
  threads?: number | undefined
  memoryBudget?: number | undefined
  nativeBinding?: NativeBinding | undefined
  logger?: Logger | undefined
}

/** What runs the work: the device found, the backend's name, its instruction set, and why other backends were not used. */
export interface Runtime {
  readonly device: string
  readonly backend: string
  readonly isa: string
  readonly threads: number
  readonly rejected: readonly RejectedBackend[]
}

const instructionSets = ['portable', 'avx2', 'avx512', 'avx512-bf16', 'amx-bf16']

interface Shared {
  engine: NativeEngine
  binding: Binding
  holders: number
}

const shared = new Map<string, Shared>()

/** One holder's claim on a shared engine. */
export class Engine {
  readonly native: NativeEngine
  readonly binding: Binding
  readonly runtime: Runtime
  readonly #key: string
  readonly #entry: Shared
  #released = false

  constructor(key: string, entry: Shared, device: string, rejected: readonly RejectedBackend[]) {
    const { backend, isa, threads } = entry.engine.info
    this.#key = key
    this.#entry = entry
    this.native = entry.engine
    this.binding = entry.binding
    this.runtime = Object.freeze({ device, backend, isa, threads, rejected: Object.freeze([...rejected]) })
    entry.holders++
  }

  get released(): boolean {
    return this.#released
  }

  /** Gives the claim back; the last one frees the engine, its threads and its memory. */
  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    const entry = this.#entry
    entry.holders--
    if (entry.holders > 0) return
    if (shared.get(this.#key) === entry) shared.delete(this.#key)
    await entry.engine.dispose()
  }

  /** Another claim on the same engine. */
  share(): Engine {
    if (this.#entry.holders === 0) throw new VinError('ERR_VIN_DISPOSED', 'Expected a live engine but it was disposed')
    return new Engine(this.#key, this.#entry, this.runtime.device, this.runtime.rejected)
  }
}

/** A trace replaces one of before; any other file was named by mistake. */
function checkTrace(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined || !found.isFile() || found.size === 0) return
  const first = Buffer.alloc(16)
  const file = openSync(path, 'r')
  const length = readSync(file, first)
  closeSync(file)
  // As csrc/core/trace.cpp begins it: with an event, or the end of none.
  if (/^\[\n(\{"name":"|\n\])/.test(first.toString('latin1', 0, length))) return
  throw new VinError('ERR_VIN_DISK', `Expected a new or empty file, or a trace of before, for VIN_NATIVE_TRACE but ${path} holds something else; choose another file`, { file: path, reason: 'EEXIST' })
}

export function openEngine(options: EngineOptions = {}): Engine {
  const threads = options.threads ?? coresAvailable()
  const isa = process.env['VIN_NATIVE_ISA'] ?? ''
  if (isa !== '' && !instructionSets.includes(isa)) throw expected(`one of ${instructionSets.join(', ')}`, 'VIN_NATIVE_ISA', isa, 'range')
  const trace = process.env['VIN_NATIVE_TRACE'] ?? ''
  const { device, backendPath, rejected } = resolveDevice(options.device ?? 'auto')
  const { binding, path, attempts } = loadAddon(options.nativeBinding)
  const log = options.logger ?? quietLogger
  const before = attempts.map((attempt) => `${attempt.path}: ${attempt.reason}`)
  log.debug({ addon: path, attempts }, `addon ${path ?? 'given as an object'}${before.length === 0 ? '' : `; tried before: ${before.join('; ')}`}`)
  const opened = (entry: Shared): Engine => {
    const engine = new Engine(key, entry, device, rejected)
    const why = isa === '' ? `the best of ${binding.cpuFeatures().join(', ')}` : 'as VIN_NATIVE_ISA asks'
    log.debug({ ...engine.runtime }, `engine on ${device}: ${engine.runtime.isa}, ${why}; ${threads} threads${entry.holders > 1 ? ', shared' : ''}`)
    return engine
  }
  const key = JSON.stringify([device, backendPath, threads, isa, options.memoryBudget, trace, typeof options.nativeBinding === 'string' ? options.nativeBinding : ''])
  const known = shared.get(key)
  if (known !== undefined && known.binding === binding && !known.engine.stats().lost) return opened(known)
  if (isa !== '') {
    const available = binding.cpuFeatures()
    if (!available.includes(isa)) {
      throw rangeError(`Expected an instruction set of this machine (${available.join(', ')}) for VIN_NATIVE_ISA but received "${isa}"`)
    }
  }
  if (trace !== '') checkTrace(trace)
  const engine = binding.createEngine({
    device,
    threads,
    // Another device has memory of its own, all of which may be used.
    memoryBudget: options.memoryBudget ?? (backendPath === undefined ? Math.floor(memoryAvailable() * 0.8) : 0),
    ...(isa === '' ? {} : { isa }),
    ...(trace === '' ? {} : { trace }),
    ...(backendPath === undefined ? {} : { backendPath })
  })
  const given = engine.info.threads
  if (given < threads) {
    process.emitWarning(`Expected ${threads} threads but the system gave ${given}; the work takes longer. Raise the limit of processes (ulimit -u, or pids of the container), or ask for fewer threads`, { type: 'VinNativeWarning', code: 'VIN_FEWER_THREADS' })
  }
  const entry: Shared = { engine, binding, holders: 0 }
  shared.set(key, entry)
  return opened(entry)
}

let common: Engine | undefined

/** The engine of functions that name no device (randn, schedulers on plain data): the CPU with all cores, held as long as the process lives. */
export function commonEngine(): Engine {
  if (common === undefined || common.released) common = openEngine({ device: 'cpu' })
  return common
}
