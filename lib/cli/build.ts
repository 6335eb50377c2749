// vin-native build: compiles the addon where no prebuilt one fits, says how far it is and what is missing, and tries the result in a process of its own.

import { execFile, spawn } from 'node:child_process'
import { access, constants, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { VinError, notSupported, rangeError } from '../errors.js'
import { builtFiles, windowsAdvice } from '../native/load.js'
import { packageRoot, packageVersion, requireFrom } from '../native/package-root.js'
import type { DoctorReport } from '../native/doctor.js'
import { defineCommand } from './command.js'
import { exitCodes } from './exit.js'
import type { StopOnSignal } from './interrupt.js'
import { outputArguments } from './options.js'
import { createReporter, type Reporter } from './output.js'

interface Toolchain {
  findNodeGyp(root: string): string | undefined
  headersPrefix(): string | undefined
  missingPrograms(): string[]
  howToInstall(missing: string[]): string
}

type Sources = Record<'core' | 'kernels', () => string[]>

export const buildCommand = defineCommand({
  meta: { name: 'build', description: 'compile the addon, where no prebuilt one fits this machine' },
  args: { jobs: { type: 'string', description: 'files that are compiled at once (the cores, as memory allows)', valueHint: 'n' }, ...outputArguments },
  async run({ args, data }): Promise<number> {
    const { signal } = data as StopOnSignal
    const root = packageRoot()
    const jobs = args.jobs
    if (jobs !== undefined && !/^[1-9]\d{0,2}$/.test(jobs)) throw rangeError(`Expected an integer from 1 to 999 for --jobs but received ${JSON.stringify(jobs)}`)
    const { headers } = await requireToolchain(root)
    const reporter = await createReporter(args.json)
    try {
      if (!headers) reporter.note(`Node's headers are not beside ${process.execPath}: node-gyp looks for them in its cache, else it fetches them`)
      const start = performance.now()
      let attempt = await compile(root, jobs, reporter, signal)
      if (attempt.code !== 0 && attempt.outOfMemory && jobs !== '1') {
        reporter.warning({ code: 'compiler_memory', message: 'the compiler ran out of memory; once more with one file at a time' })
        attempt = await compile(root, '1', reporter, signal)
      }
      const log = join(root, 'build', 'build.log')
      await mkdir(join(root, 'build'), { recursive: true })
      await writeFile(log, attempt.lines.join('\n') + '\n')
      if (attempt.code !== 0) {
        throw unavailable(`Expected the addon to compile but it did not: ${firstError(attempt.lines)}; the whole output is in ${log}`, { log, code: attempt.code })
      }
      reporter.note('trying the addon …')
      const verdict = await tryAddon(root)
      const [file] = builtFiles(root)
      const seconds = Math.round((performance.now() - start) / 1000)
      reporter.result(`compiled ${file} in ${seconds} s; ${verdict}`, { type: 'result', file, seconds, version: packageVersion(), selftest: verdict })
      return exitCodes.ok
    } finally {
      reporter.close()
    }
  }
})

function unavailable(message: string, details: Record<string, unknown>): VinError {
  return new VinError('ERR_VIN_BACKEND_UNAVAILABLE', message, details)
}

/** Everything that is missing, in one sentence, before any work. */
async function requireToolchain(root: string): Promise<{ headers: boolean }> {
  if (process.platform === 'win32') throw notSupported('win32', windowsAdvice)
  const { findNodeGyp, headersPrefix, howToInstall, missingPrograms } = requireFrom(join(root, 'tools', 'toolchain.cjs')) as Toolchain
  const missing = missingPrograms()
  if (missing.length > 0) throw unavailable(`Expected a compiler, make and Python 3 to compile the addon but found no ${missing.join(' and no ')} on PATH. ${howToInstall(missing)}`, { missing })
  if (findNodeGyp(root) === undefined) throw unavailable('Expected node-gyp, which npm brings along, to compile the addon but found none; run npm install node-gyp', { missing: ['node-gyp'] })
  try {
    await access(root, constants.W_OK)
  } catch (error) {
    throw new VinError('ERR_VIN_DISK', `Expected to write ${join(root, 'build')} but ${root} cannot be written; run this as the owner of that folder, or build elsewhere and set VIN_NATIVE_BINDING to the addon`, { path: root }, { cause: error })
  }
  return { headers: headersPrefix() !== undefined }
}

interface Attempt {
  code: number
  /** What the tools printed. */
  lines: string[]
  outOfMemory: boolean
}

/** Objects are counted as make names them; those that are up to date are not named. */
async function compile(root: string, jobs: string | undefined, reporter: Reporter, signal: AbortSignal): Promise<Attempt> {
  const { core, kernels } = requireFrom(join(root, 'tools', 'sources.cjs')) as Sources
  const total = core().length + kernels().length * (process.arch === 'x64' ? 3 : 1)
  const env = { ...process.env, ...(jobs === undefined ? {} : { JOBS: jobs }) }
  const child = spawn(process.execPath, [join(root, 'tools', 'node-gyp.mjs'), 'configure', 'build', '--loglevel=error'], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: string[] = []
  const start = performance.now()
  let done = 0
  const read = (line: string): void => {
    lines.push(line)
    const object = /^\s*CXX\(target\) \S*?obj\.target\/([^/]+)\/(\S+)\.o$/.exec(line)
    if (object !== null) {
      const etaMs = done === 0 ? undefined : ((performance.now() - start) / done) * (total - done)
      reporter.progress({ stage: 'compiling', done: done++, total, etaMs, detail: `${object[2]}.cpp (${object[1]})` })
    } else if (line.startsWith('vin-native: ')) reporter.note(line.slice('vin-native: '.length))
  }
  for (const input of [child.stdout, child.stderr]) createInterface({ input }).on('line', read)
  const stop = (): void => void child.kill('SIGTERM')
  signal.addEventListener('abort', stop, { once: true })
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (status) => resolve(status ?? 1))
    })
    signal.throwIfAborted()
    if (code === 0) reporter.progress({ stage: 'compiling', done: total, total })
    return { code, lines, outOfMemory: lines.some((line) => /Killed signal|out of memory|memory exhausted|Cannot allocate memory/i.test(line)) }
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function firstError(lines: readonly string[]): string {
  return (lines.find((line) => /\berror\b/i.test(line)) ?? lines.at(-1) ?? 'no output').trim()
}

/** What `doctor` says of the addon that was compiled, in a process that a crash may end. */
async function tryAddon(root: string): Promise<string> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VIN_NATIVE_(BINDING|ISA|PREBUILD)$/.test(name)))
  const report = await new Promise<DoctorReport | string>((resolve) => {
    execFile(process.execPath, [join(root, 'dist', 'esm', 'cli', 'index.js'), 'doctor', '--json'], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      try {
        resolve(JSON.parse(stdout) as DoctorReport)
      } catch {
        resolve(stderr.trim().split('\n').at(-1) || (error?.message ?? 'it printed nothing'))
      }
    })
  })
  const advice = 'try another compiler (CXX=…), and report this with build/build.log'
  if (typeof report === 'string') throw unavailable(`Expected the compiled addon to load but the process that tried it ended: ${report}; ${advice}`, { reason: report })
  const failed = report.checks.find(({ id, status }) => ['addon', 'selftest'].includes(id) && status === 'broken')
  if (failed !== undefined) throw unavailable(`Expected the compiled addon to work but ${failed.id} is broken: ${failed.detail}; ${advice}`, { check: failed })
  const detail = (id: string): string => report.checks.find((check) => check.id === id)?.detail ?? ''
  return `${detail('isa')}; ${detail('selftest')}`
}
