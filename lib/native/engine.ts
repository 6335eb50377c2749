// Engines, shared by everything that asks for the same device, threads, instruction set and budget. An engine lives as long as somebody holds it.

import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { VinError, expected, rangeError } from '../errors.js'
import { isTestDevice, openPlugin, testBackend, unavailable, type Device, type RejectedBackend } from './backends.js'
import type { Binding, DeviceInfo, NativeEngine, NativeEngineOptions } from './binding.js'
import { loadAddon, type NativeBinding } from './load.js'
import { quietLogger, type Logger } from './log.js'
import { coresAvailable, memoryAvailable } from './machine.js'

export interface EngineOptions {
  device?: Device | undefined
  threads?: number | undefined
  memoryBudget?: number | undefined
  nativeBinding?: NativeBinding | undefined
  logger?: Logger | undefined
  /** Ends the waiting for a device. */
  signal?: AbortSignal | undefined
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

async function giveBack(key: string, entry: Shared): Promise<void> {
  entry.holders--
  if (entry.holders > 0) return
  if (shared.get(key) === entry) shared.delete(key)
  await entry.engine.dispose()
}

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
    await giveBack(this.#key, this.#entry)
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

/** What an engine is opened with, wherever it runs. */
interface Setting {
  binding: Binding
  /** The addon's file, where it has one. */
  addon: string | undefined
  threads: number
  isa: string
  trace: string
  options: EngineOptions
}

function settingOf(options: EngineOptions): Setting {
  const threads = options.threads ?? coresAvailable()
  const isa = process.env['VIN_NATIVE_ISA'] ?? ''
  if (isa !== '' && !instructionSets.includes(isa)) throw expected(`one of ${instructionSets.join(', ')}`, 'VIN_NATIVE_ISA', isa, 'range')
  const trace = process.env['VIN_NATIVE_TRACE'] ?? ''
  const { binding, path, attempts } = loadAddon(options.nativeBinding)
  const before = attempts.map((attempt) => `${attempt.path}: ${attempt.reason}`)
  loggerOf(options).debug({ addon: path, attempts }, `addon ${path ?? 'given as an object'}${before.length === 0 ? '' : `; tried before: ${before.join('; ')}`}`)
  return { binding, addon: path, threads, isa, trace, options }
}

const loggerOf = ({ logger }: EngineOptions): Pick<Logger, 'debug'> => logger ?? quietLogger

function keyOf({ threads, isa, trace, options }: Setting, device: string, backendPath: string | undefined): string {
  return JSON.stringify([device, backendPath, threads, isa, options.memoryBudget, trace, typeof options.nativeBinding === 'string' ? options.nativeBinding : ''])
}

/** An engine of before that serves. */
function known({ binding }: Setting, key: string): Shared | undefined {
  const found = shared.get(key)
  return found !== undefined && found.binding === binding && !found.engine.stats().lost ? found : undefined
}

/** What the addon is asked for, once that makes sense. */
function nativeOptions({ binding, threads, isa, trace, options }: Setting, device: string, backendPath: string | undefined): NativeEngineOptions {
  if (isa !== '') {
    const available = binding.cpuFeatures()
    if (!available.includes(isa)) {
      throw rangeError(`Expected an instruction set of this machine (${available.join(', ')}) for VIN_NATIVE_ISA but received "${isa}"`)
    }
  }
  if (trace !== '') checkTrace(trace)
  return {
    device,
    threads,
    // 0: the addon asks the plug-in's device what is free there.
    memoryBudget: options.memoryBudget ?? (backendPath === undefined ? Math.floor(memoryAvailable() * 0.8) : 0),
    ...(isa === '' ? {} : { isa }),
    ...(trace === '' ? {} : { trace }),
    ...(backendPath === undefined ? {} : { backendPath })
  }
}

function keep({ binding, threads }: Setting, key: string, engine: NativeEngine): Shared {
  const given = engine.info.threads
  if (given < threads) {
    process.emitWarning(`Expected ${threads} threads but the system gave ${given}; the work takes longer. Raise the limit of processes (ulimit -u, or pids of the container), or ask for fewer threads`, { type: 'VinNativeWarning', code: 'VIN_FEWER_THREADS' })
  }
  const entry: Shared = { engine, binding, holders: 0 }
  shared.set(key, entry)
  return entry
}

function claim(setting: Setting, key: string, entry: Shared, device: string, rejected: readonly RejectedBackend[]): Engine {
  const engine = new Engine(key, entry, device, rejected)
  const why = setting.isa === '' ? `the best of ${setting.binding.cpuFeatures().join(', ')}` : 'as VIN_NATIVE_ISA asks'
  const { isa } = engine.runtime
  loggerOf(setting.options).debug({ ...engine.runtime }, `engine on ${device}: ${device === 'cpu' ? `${isa}, ${why}` : `${engine.runtime.backend} ${isa}`}; ${setting.threads} threads${entry.holders > 1 ? ', shared' : ''}`)
  return engine
}

function openHere(setting: Setting, device: string, backendPath: string | undefined, rejected: readonly RejectedBackend[]): Engine {
  const key = keyOf(setting, device, backendPath)
  return claim(setting, key, known(setting, key) ?? keep(setting, key, setting.binding.createEngine(nativeOptions(setting, device, backendPath))), device, rejected)
}

/** An engine of the CPU, at once. */
export function openCpuEngine(options: EngineOptions = {}): Engine {
  return openHere(settingOf(options), 'cpu', undefined, [])
}

/**
An engine on the device of the options, 'auto' without one. Nothing but the CPU's is opened before this has returned to its caller.

@throws ERR_VIN_BACKEND_UNAVAILABLE for a device that cannot be had, ERR_VIN_OUT_OF_MEMORY for one that is full
*/
export async function openEngine(options: EngineOptions = {}): Promise<Engine> {
  const device = options.device ?? 'auto'
  const testFile = isTestDevice(device) ? testBackend(device) : undefined
  const setting = settingOf(options)
  if (device === 'cpu' || testFile !== undefined) return openHere(setting, device, testFile, [])
  const ordinal = device === 'auto' || device === 'cuda' ? 'cuda:0' : device
  const { opened, rejected } = await openPlugin(ordinal, { ...setting, logger: loggerOf(options), signal: options.signal }, (backendPath) => openOn(setting, ordinal, backendPath))
  if (opened !== undefined) {
    opened.entry.holders--
    return claim(setting, opened.key, opened.entry, ordinal, rejected)
  }
  if (device !== 'auto') throw unavailable(device, rejected)
  return openHere(setting, 'cpu', undefined, rejected)
}

/** Engines that are being opened, so that those who ask at the same time get one. */
const opening = new Map<string, Promise<NativeEngine>>()

interface Opened {
  key: string
  entry: Shared
  hardware: DeviceInfo | undefined
  /** Gives back the claim that it is held by until somebody else has one. */
  close(): Promise<void>
}

async function openOn(setting: Setting, device: string, backendPath: string): Promise<Opened> {
  const key = keyOf(setting, device, backendPath)
  let entry = known(setting, key)
  if (entry === undefined) {
    const pending = opening.get(key) ?? setting.binding.openEngine(nativeOptions(setting, device, backendPath))
    opening.set(key, pending)
    try {
      const engine = await pending
      entry = known(setting, key) ?? keep(setting, key, engine)
    } finally {
      opening.delete(key)
    }
  }
  entry.holders++
  const held = entry
  return { key, entry, hardware: entry.engine.info.hardware, close: () => giveBack(key, held) }
}

let common: Engine | undefined

/** The engine of functions that name no device (randn, schedulers on plain data): the CPU with all cores, held as long as the process lives. */
export function commonEngine(): Engine {
  if (common === undefined || common.released) common = openCpuEngine()
  return common
}
