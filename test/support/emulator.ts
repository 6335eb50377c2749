// The emulated device as tests set it: what is asked for counts from the next context that opens, which is when no engine of this process is left on the device.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { NativeEngine } from '../../lib/native/binding.js'
import { binding, emulatedBackend } from './addon.js'

export const executors = ['fifo', 'lifo', 'random:1', 'random:2', 'random:3', 'starve', 'last-moment']

/** Counters of cuda/emu/driver.cpp, of this process and since it began. */
export interface Counters {
  launches: number
  uploads: number
  downloads: number
  /** Of threads that also queue work. */
  waits: number
  allocations: number
  /** Allocated now, on all devices. */
  bytes: number
  /** Since a context has opened: streams that had a launch which could run, at most; waits of streams for events. */
  readyStreams: number
  streamWaits: number
}

const folder = mkdtempSync(join(tmpdir(), 'vin-emulated-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
const file = join(folder, 'counters')
process.env['VIN_EMU_COUNTERS'] = file
process.env['VIN_EMU_DEVICES'] = '2'

export function counters(): Counters {
  const [launches, uploads, downloads, waits, allocations, bytes, readyStreams, streamWaits] = Array.from(new BigUint64Array(new Uint8Array(readFileSync(file)).buffer), Number) as [number, number, number, number, number, number, number, number]
  return { launches, uploads, downloads, waits, allocations, bytes, readyStreams, streamWaits }
}

export interface Emulated {
  executor?: string
  /** Microseconds that a launch takes beside its work. */
  delay?: number
  /** Bytes of the device. */
  memory?: number
  fault?: string
}

export function setEmulator({ executor, delay, memory, fault }: Emulated): void {
  const set = (name: string, value: string | number | undefined): void => {
    process.env[name] = value === undefined ? '' : String(value)
  }
  set('VIN_EMU_EXECUTOR', executor)
  set('VIN_EMU_DELAY', delay)
  set('VIN_EMU_MEMORY', memory)
  set('VIN_EMU_FAULT', fault)
}

/** @param memoryBudget in bytes; 0: the engine's own, a share of what is free. By default the device's memory is the only bound. */
export function openEmulated(emulated: Emulated = {}, device = 'cuda-emu', memoryBudget = Number.MAX_SAFE_INTEGER): NativeEngine {
  setEmulator(emulated)
  return binding().createEngine({ device, threads: 1, backendPath: emulatedBackend!, memoryBudget })
}

export const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds))

/** The longest that a timer of 10 ms was late while `work` ran. */
export async function lateness<T>(work: () => Promise<T>): Promise<{ result: T; late: number }> {
  let before = performance.now(), late = 0
  const timer = setInterval(() => {
    const now = performance.now()
    late = Math.max(late, now - before - 10)
    before = now
  }, 10)
  try {
    return { result: await work(), late }
  } finally {
    clearInterval(timer)
  }
}
