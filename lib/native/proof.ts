// Whether a plug-in's device computes what the CPU computes: tested in a child process, so that a driver that crashes or hangs costs nothing, and remembered in the cache
// folder (packaging.md §5.5). VIN_NATIVE_SELFTEST: fork (the default), inline (in this process), off (nothing is tested).

import { fork, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { VinError, abortReason, expected } from '../errors.js'
import { writeTextAtomically } from '../files/atomic-file.js'
import { makeFolders } from '../files/disk.js'
import { readSmallFile } from '../files/small-file.js'
import { errorMessage } from '../realms.js'
import type { Binding, DeviceInfo } from './binding.js'
import { abortable } from './cancel.js'
import { quietLogger, type Logger } from './log.js'
import { packageRoot, packageVersion } from './package-root.js'
import { permitted } from './permission.js'
import type { RejectedBackend } from './plugins.js'
import { selfTest } from './self-test.js'
import type { SelfTestAnswer, SelfTestTask } from './self-test-process.js'
import { onAbort } from './signals.js'

export interface ProofOptions {
  binding: Binding
  /** The addon's file, for the child; undefined: the program gave it as an object. */
  addon: string | undefined
  backendPath: string
  /** Of the plug-in's file. */
  sha256: string
  /** Which driver it would load (driver.ts); '': none. */
  driver: string
  /** 'cuda:0' */
  device: string
  logger?: Pick<Logger, 'debug'> | undefined
  signal?: AbortSignal | undefined
}

const modes = ['fork', 'inline', 'off'] as const

function selfTestMode(): (typeof modes)[number] {
  const asked = process.env['VIN_NATIVE_SELFTEST'] ?? ''
  if (asked === '') return 'fork'
  const mode = modes.find((name) => name === asked)
  if (mode === undefined) throw expected(`one of ${modes.join(', ')}`, 'VIN_NATIVE_SELFTEST', asked, 'range')
  return mode
}

function limitMs(): number {
  const asked = process.env['VIN_NATIVE_SELFTEST_SECONDS'] ?? ''
  const seconds = asked === '' ? 60 : Number(asked)
  if (!(seconds > 0 && seconds <= 3600)) throw expected('a number of seconds above 0, up to 3600,', 'VIN_NATIVE_SELFTEST_SECONDS', asked, 'range')
  return seconds * 1000
}

/** @throws RangeError for a wrong VIN_NATIVE_SELFTEST or VIN_NATIVE_SELFTEST_SECONDS, which says nothing of a device */
export function checkSelfTestVariables(): void {
  selfTestMode()
  limitMs()
}

/** What a refused plug-in is refused for; `details.reason` is the code of a RejectedBackend. */
function refusal(backendPath: string, reason: RejectedBackend['code'], message: string, details: object = {}): VinError {
  return new VinError('ERR_VIN_BACKEND_UNAVAILABLE', message, { file: backendPath, reason, ...details })
}

/** A test that gave neither numbers nor a plug-in's refusal; a reason may be a sentence of its own. */
const notRun = (device: string, reason: string): string =>
  `${reason.startsWith('Expected ') ? reason : `Expected the self-test of ${device} to run but ${reason === '' ? 'the device failed without a reason' : reason}`}; look for other programs on the GPU, and report this with the output of npx vin-native doctor --json`

/** The compiled program; `dist` also serves when this file itself runs from source (tests). A bundle has left it behind. */
const programFile = (): string => join(packageRoot(), 'dist', 'esm', 'native', 'self-test-process.js')

interface Outcome {
  hardware: DeviceInfo | undefined
  devices: DeviceInfo[]
}

/** Runs the self-test in a child process. @throws what the test throws, and ERR_VIN_BACKEND_UNAVAILABLE where the child crashes or does not end */
async function testInChild({ addon, backendPath, device, signal }: ProofOptions & { addon: string }, list: boolean, limit: number): Promise<Outcome> {
  signal?.throwIfAborted()
  let child: ChildProcess
  try {
    // Without the program's own flags: some of them, as --input-type, refuse a file.
    child = permitted('--allow-child-process', 'the self-test of a GPU', () => fork(programFile(), [], { execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] }))
  } catch (error) {
    throw refusal(backendPath, 'selftest_failed', `${errorMessage(error)}, or set VIN_NATIVE_SELFTEST=inline`, { ran: false })
  }
  const what = selfTestMode() === 'off' ? `the process that loads the driver of ${device} first` : `the self-test of ${device}`
  let words = ''
  child.stderr?.on('data', (chunk: Buffer) => (words = (words + chunk.toString()).slice(-500)))
  const last = (): string => (words.trim().split('\n').at(-1) ?? '').replaceAll(/\p{Cc}/gu, '').trim()
  let timer: NodeJS.Timeout | undefined
  let release = (): void => {}
  try {
    const answer = await new Promise<SelfTestAnswer>((resolve, reject) => {
      timer = setTimeout(() => reject(refusal(backendPath, 'selftest_timeout', `Expected ${what} to end within ${limit / 1000} s but it hangs; look for other programs on the GPU, start the machine or its driver again, or allow it longer (VIN_NATIVE_SELFTEST_SECONDS)`)), limit)
      release = onAbort(signal, () => reject(abortReason(signal) as Error))
      child.once('message', (message) => resolve(message as SelfTestAnswer))
      child.once('error', (error) => reject(refusal(backendPath, 'selftest_failed', `Expected to start the self-test of ${device} but ${errorMessage(error)}; set VIN_NATIVE_SELFTEST=inline to run it in this process`, { ran: false })))
      // Behind its last words.
      child.once('close', (code, killedBy) => {
        const said = last() === '' ? '' : ` (${last()})`
        reject(refusal(backendPath, 'selftest_crashed', `Expected ${what} to give an answer but the process ended with ${killedBy ?? `code ${String(code)}`}${said}; update the driver, and report this with the output of npx vin-native doctor --json`))
      })
      child.send({ addon, backendPath, device, list, limitMs: limit } satisfies SelfTestTask, () => {})
    })
    if ('devices' in answer) return answer
    throw answer.code?.startsWith('ERR_VIN_') === true
      ? new VinError(answer.code as VinError['code'], answer.message, answer.details)
      : refusal(backendPath, 'selftest_failed', notRun(device, answer.message))
  } finally {
    clearTimeout(timer)
    release()
    child.kill('SIGKILL')
  }
}

/** A test that is under way. */
interface Running {
  outcome: Promise<Outcome>
  waiters: number
  end(): void
}

const running = new Map<string, Running>()

/** One plug-in and one device. */
export class Proof {
  readonly #options: ProofOptions
  /** Under which verdicts are kept. */
  readonly #key: string
  readonly #trusted: boolean
  readonly #inChild: boolean
  readonly #limitMs: number

  /** @throws as `checkSelfTestVariables` */
  constructor(options: ProofOptions) {
    this.#options = options
    this.#key = keyOf(options)
    const { addon, logger = quietLogger } = options
    const mode = selfTestMode()
    this.#limitMs = limitMs()
    const missing = addon === undefined ? 'the addon was given as an object' : existsSync(programFile()) ? undefined : `${programFile()} is not there`
    this.#trusted = mode === 'off'
    this.#inChild = mode !== 'inline' && missing === undefined
    if (mode === 'fork' && missing !== undefined) logger.debug({ selftest: 'inline', backend: options.backendPath }, `the self-test of ${options.device} runs in this process: ${missing}`)
  }

  /** Whether this driver has opened the device of this number without harm, in another process or in this one. A refusal that is remembered is thrown. */
  async isKnown(): Promise<boolean> {
    if (this.#trusted) return true
    const { device, backendPath } = this.#options
    const refused = await readRefusal(this.#key, device)
    if (refused !== undefined) {
      throw refusal(backendPath, refused.code, `${refused.reason} (found at ${refused.at}; npx vin-native doctor tests again)`)
    }
    return (await acceptedNames(this.#key, device)).length > 0
  }

  /** Whether this very device has been tested, with this driver. */
  async accepts(hardware: DeviceInfo | undefined): Promise<boolean> {
    const { device } = this.#options
    return this.#trusted || (await acceptedNames(this.#key, device)).includes(acceptedName(device, hardware))
  }

  /** Tests the device and remembers what came of it. Who asks for the same at the same time gets the same; it ends when nobody waits for it. @throws what speaks against it */
  async test(list = false): Promise<Outcome> {
    const { device, signal } = this.#options
    const key = JSON.stringify([this.#key, device, list])
    const test = running.get(key) ?? this.#start(key, list)
    test.waiters++
    try {
      return await abortable(test.outcome, signal)
    } finally {
      test.waiters--
      if (test.waiters === 0) test.end()
    }
  }

  #start(key: string, list: boolean): Running {
    const stop = new AbortController()
    const test: Running = {
      outcome: this.#run(list, stop.signal),
      waiters: 0,
      end: () => {
        if (running.get(key) === test) running.delete(key)
        stop.abort()
      }
    }
    running.set(key, test)
    return test
  }

  async #run(list: boolean, stop: AbortSignal): Promise<Outcome> {
    const { addon, binding, device, logger = quietLogger, backendPath } = this.#options
    const began = performance.now()
    try {
      const outcome = this.#inChild && addon !== undefined ? await testInChild({ ...this.#options, addon, signal: stop }, list, this.#limitMs) : await this.#testHere(binding, list)
      logger.debug({ ...outcome.hardware, backend: backendPath }, `self-test of ${device} passed in ${Math.round(performance.now() - began)} ms`)
      await remember(this.#key, acceptedName(device, outcome.hardware), { accepted: true, at: new Date().toISOString(), ...outcome.hardware }, logger)
      await forget(this.#key, refusedName(device))
      return outcome
    } catch (thrown) {
      if (stop.aborted) throw thrown
      // A full device is a matter of its own: the caller learns of it.
      const known = thrown instanceof VinError && ['ERR_VIN_BACKEND_UNAVAILABLE', 'ERR_VIN_OUT_OF_MEMORY'].includes(thrown.code)
      const error = known ? thrown : refusal(backendPath, 'selftest_failed', notRun(device, errorMessage(thrown)))
      const { reason, ran } = error.details
      if (isKept(reason) && ran !== false) {
        await remember(this.#key, refusedName(device), { accepted: false, at: new Date().toISOString(), code: reason, reason: error.message }, logger)
      }
      throw error
    }
  }

  async #testHere(binding: Binding, list: boolean): Promise<Outcome> {
    const { backendPath } = this.#options
    const hardware = await selfTest(binding, this.#options)
    return { hardware, devices: list ? binding.describeBackend({ backendPath }).devices : [] }
  }
}

// ---- what is remembered: a folder for each plug-in, driver and version of the package, a file for each verdict, which is written whole and never changed ----

interface Refused {
  code: RejectedBackend['code']
  reason: string
  at: string
}

/** Refusals count for a day: the machine may have been mended. */
const refusedMs = 24 * 3600 * 1000
const maxVerdictBytes = 8192

/** A test may take a minute each time, and a driver's age is the file's. What else a driver says of itself comes quickly, and may change with the next start. */
const isKept = (code: unknown): code is RejectedBackend['code'] => typeof code === 'string' && (code.startsWith('selftest_') || code === 'driver_too_old')

/** What this process knows, also where there is no folder to write to. */
const memory = new Map<string, Map<string, object>>()

const digest = (text: string, length: number): string => createHash('sha256').update(text).digest('hex').slice(0, length)
const keyOf = ({ sha256, driver }: ProofOptions): string => digest(`${packageVersion()} ${sha256} ${driver}`, 32)
/** CUDA_VISIBLE_DEVICES says which GPU a number means. */
const numberOf = (device: string): string => `${device.replace(':', '-')}-${digest(process.env['CUDA_VISIBLE_DEVICES'] ?? '', 8)}`
const acceptedStart = (device: string): string => `accepted-${numberOf(device)}-`
const acceptedName = (device: string, hardware: DeviceInfo | undefined): string => `${acceptedStart(device)}${hardware?.driver ?? 0}-${(hardware?.uuid ?? 'none').replaceAll(/[^\w-]/g, '_')}.json`
const refusedName = (device: string): string => `refused-${numberOf(device)}.json`

/** The library's folder for what can be made again. undefined: there is none, since neither XDG_CACHE_HOME nor the home folder is an absolute path. */
export async function cacheFolder(): Promise<string | undefined> {
  try {
    const { default: envPaths } = await import('env-paths')
    const { cache } = envPaths('vin-native', { suffix: '' })
    // A relative XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification).
    return [cache, join(homedir(), '.cache', 'vin-native')].find(isAbsolute)
  } catch {
    // A user without an entry in the system's list has no home.
    return undefined
  }
}

async function verdictFolder(key: string): Promise<string | undefined> {
  const cache = await cacheFolder()
  return cache === undefined ? undefined : join(cache, 'selftest', key)
}

async function remember(key: string, name: string, verdict: object, logger: Pick<Logger, 'debug'>): Promise<void> {
  memory.set(key, (memory.get(key) ?? new Map<string, object>()).set(name, verdict))
  try {
    const folder = await verdictFolder(key)
    if (folder === undefined) return
    await makeFolders(folder)
    await writeTextAtomically(join(folder, name), JSON.stringify(verdict))
  } catch (error) {
    // The next process tests again.
    logger.debug({ key, name }, `the verdict of a self-test is not kept: ${errorMessage(error)}`)
  }
}

async function forget(key: string, name: string): Promise<void> {
  memory.get(key)?.delete(name)
  const folder = await verdictFolder(key)
  if (folder !== undefined) await rm(join(folder, name), { force: true }).catch(() => {})
}

/** A verdict that is whole; undefined: none. */
async function verdict(key: string, name: string): Promise<Record<string, unknown> | undefined> {
  const known = memory.get(key)?.get(name)
  if (known !== undefined) return known as Record<string, unknown>
  const folder = await verdictFolder(key)
  if (folder === undefined) return undefined
  try {
    const found: unknown = JSON.parse((await readSmallFile(join(folder, name), maxVerdictBytes)).toString())
    return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

async function acceptedNames(key: string, device: string): Promise<string[]> {
  const names = new Set(memory.get(key)?.keys() ?? [])
  const folder = await verdictFolder(key)
  try {
    if (folder !== undefined) for (const name of await readdir(folder)) names.add(name)
  } catch {
    // None has been kept.
  }
  const accepted: string[] = []
  for (const name of names) if (name.startsWith(acceptedStart(device)) && (await verdict(key, name))?.['accepted'] === true) accepted.push(name)
  return accepted
}

async function readRefusal(key: string, device: string): Promise<Refused | undefined> {
  const found = await verdict(key, refusedName(device))
  const { code, reason, at } = found ?? {}
  if (!isKept(code) || typeof reason !== 'string' || typeof at !== 'string') return undefined
  const age = Date.now() - Date.parse(at)
  return age >= 0 && age < refusedMs ? { code, reason, at } : undefined
}
