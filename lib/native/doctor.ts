// What a person needs to know when something does not work: each check has an id, a status, what was found and what to do.

import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { access, constants, statfs } from 'node:fs/promises'
import { arch, cpus, freemem, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { VinError } from '../errors.js'
import { makeFolders } from '../files/disk.js'
import { errorCode, errorMessage } from '../realms.js'
import { examinePlugins, versionOf, worthTelling, type RejectedBackend } from './backends.js'
import { openCpuEngine, type Engine } from './engine.js'
import { bindingPath, loadAddon, loadBinding, type LoadAttempt } from './load.js'
import { coresAvailable, glibcFloor, memoryAvailable } from './machine.js'
import { collectOutput, findProgram, loadSharp } from './optional.js'
import { packageRoot, packageVersion } from './package-root.js'
import { isDenied } from './permission.js'
import { cacheFolder } from './proof.js'

export interface DoctorCheck {
  id: string
  status: 'ok' | 'warning' | 'broken'
  /** What was found. */
  detail: string
  /** What to do about it. */
  fix?: string
}

export interface DoctorReport {
  /** Nothing is broken. */
  ok: boolean
  version: string
  checks: DoctorCheck[]
}

type Finding = Omit<DoctorCheck, 'id'>

const ok = (detail: string): Finding => ({ status: 'ok', detail })
const warning = (detail: string, fix: string): Finding => ({ status: 'warning', detail, fix })
const broken = (detail: string, fix: string): Finding => ({ status: 'broken', detail, fix })

const checks: Record<string, (signal: AbortSignal | undefined) => Finding | Promise<Finding>> = {
  node: checkNode,
  platform: checkPlatform,
  libc: checkLibc,
  container: checkContainer,
  addon: checkAddon,
  isa: checkIsa,
  memory: checkMemory,
  cuda: checkCuda,
  selftest: checkNumbers,
  model: checkModel,
  encoders: checkEncoders,
  cache: checkCache,
  disk: checkDisk,
  environment: checkEnvironment
}

/** Without an addon these would only repeat its error. */
const needAddon = new Set(['isa', 'cuda', 'selftest'])

export interface DoctorOptions {
  /** Ends the waiting for a GPU that hangs; the promise then rejects with its reason. */
  signal?: AbortSignal
}

/** Checks this machine and installation. Never throws for what it finds. */
export async function doctor({ signal }: DoctorOptions = {}): Promise<DoctorReport> {
  const results: DoctorCheck[] = []
  for (const [id, check] of Object.entries(checks)) {
    if (needAddon.has(id) && results.some((result) => result.id === 'addon' && result.status === 'broken')) {
      results.push({ id, ...warning('not checked, because the addon does not load', 'see addon') })
      continue
    }
    try {
      results.push({ id, ...(await check(signal)) })
    } catch (error) {
      signal?.throwIfAborted()
      results.push({ id, ...unchecked(error) })
    }
  }
  return { ok: results.every(({ status }) => status !== 'broken'), version: packageVersion(), checks: results }
}

function unchecked(error: unknown): Finding {
  const text = errorMessage(error)
  if (isDenied(error)) return warning(`not checked, because Node's permission model forbids it: ${text}`, 'start Node with --allow-fs-read=*')
  return broken(text, errorCode(error) === 'ERR_OUT_OF_RANGE' ? 'give the environment variable such a value, or unset it' : 'see the message')
}

function checkNode(): Finding {
  const { node, napi } = process.versions
  const detail = `Node ${node}, Node-API ${napi ?? 'none'}, vin-native ${packageVersion()}`
  if (Number(node.split('.')[0]) < 20) return broken(detail, 'install Node 20 or later')
  if (Number(napi) < 9) return broken(detail, 'install a Node with Node-API 9')
  return ok(detail)
}

function checkPlatform(): Finding {
  const detail = `${process.platform} ${release()} ${arch()}, ${cpus()[0]?.model ?? 'unknown CPU'}`
  return process.platform === 'linux' && arch() === 'x64' ? ok(detail) : warning(detail, 'tested on Linux x64 only; elsewhere the addon is compiled from source')
}

async function checkLibc(): Promise<Finding> {
  if (process.platform !== 'linux') return ok('not Linux')
  const { family, version } = await import('detect-libc')
  const [name, found] = [await family(), await version()]
  const detail = `${name ?? 'unknown libc'} ${found ?? ''}`.trim()
  if (name === 'musl') return warning(detail, 'musl has no prebuilt addon and no CUDA: build from source')
  const [major = 0, minor = 0] = (found ?? '').split('.').map(Number)
  const [floorMajor = 0, floorMinor = 0] = glibcFloor.split('.').map(Number)
  if (major > floorMajor || (major === floorMajor && minor >= floorMinor)) return ok(detail)
  return warning(`${detail}, older than glibc ${glibcFloor}, which the prebuilt addon needs`, 'npx vin-native build compiles one for this machine')
}

function checkContainer(): Finding {
  const found = [
    existsSync('/.dockerenv') || existsSync('/run/.containerenv') ? 'container' : '',
    /microsoft/i.test(release()) ? 'WSL' : '',
    'electron' in process.versions ? 'Electron' : '',
    'bun' in process.versions ? 'Bun' : ''
  ].filter((name) => name !== '')
  return ok(found.length === 0 ? 'none' : found.join(', '))
}

function checkAddon(): Finding {
  try {
    loadBinding()
  } catch (error) {
    if (!(error instanceof VinError)) throw error
    const { attempts = [], advice } = error.details as { attempts?: LoadAttempt[]; advice?: string }
    return broken(`no addon loads: ${attempts.map(({ path, reason }) => `${path}: ${reason}`).join('; ')}`, advice ?? error.message)
  }
  const path = bindingPath()
  if (path === undefined) return ok('loaded')
  const hash = createHash('sha256').update(readFileSync(path)).digest('hex')
  const detail = `${path}, sha256 ${hash.slice(0, 16)}…`
  const shadows = path.startsWith(join(packageRoot(), 'build')) && existsSync(join(packageRoot(), 'prebuilds', `${process.platform}-${process.arch}`))
  return shadows ? warning(detail, 'build/ is used instead of prebuilds/; remove build/ if that is not meant') : ok(detail)
}

/** Runs with a CPU engine, which is given back. */
async function withEngine<R>(use: (engine: Engine) => R | Promise<R>): Promise<R> {
  const engine = openCpuEngine()
  try {
    return await use(engine)
  } finally {
    await engine.release()
  }
}

async function checkIsa(): Promise<Finding> {
  const available = loadBinding().cpuFeatures()
  const { isa, threads } = await withEngine(({ runtime }) => runtime)
  const detail = `${isa} of ${available.join(', ')}; ${threads} threads`
  return isa === 'portable' ? warning(detail, 'a CPU with AVX2 is several times faster') : ok(detail)
}

function checkMemory(): Finding {
  const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`
  const available = memoryAvailable()
  const detail = `${gibibytes(available)} available to this process, ${gibibytes(freemem())} of ${gibibytes(totalmem())} free on the machine, ${coresAvailable()} of ${cpus().length} cores`
  return available < 2 ** 30 ? warning(detail, 'the built-in model needs about 1 GiB') : ok(detail)
}

/** Every plug-in and what it says, tested now. */
async function checkCuda(signal: AbortSignal | undefined): Promise<Finding> {
  const { binding, path } = loadAddon()
  const found = await examinePlugins({ binding, addon: path, signal })
  const gibibytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(1)
  const lines = found.map((each) => {
    if ('code' in each) return `${each.backend}: ${each.code}, ${each.reason}`
    const devices = each.devices.map(({ name, uuid, arch, driver, totalBytes, freeBytes }) => `${name} (sm_${arch}, driver for CUDA ${versionOf(driver)}, ${gibibytes(freeBytes)} of ${gibibytes(totalBytes)} GiB free, GPU-${uuid})`)
    return `${each.backend}: usable, CUDA ${each.toolkit}, ${devices.join(', ')}`
  })
  const list = lines.join('; ')
  if (found.some((each) => 'devices' in each)) return ok(`runs on cuda:0; ${list}`)
  // That there is no GPU is the machine's matter: the CPU serves.
  const refused = worthTelling(found.filter((each): each is RejectedBackend => 'code' in each))
  return refused.length === 0 ? ok(`runs on the CPU; ${list}`) : warning(`runs on the CPU; ${list}`, [...new Set(refused.map(({ reason }) => reason))].join('; '))
}

/** A small matrix product of exact numbers: proves the whole way from upload over an op to read. */
async function checkNumbers(): Promise<Finding> {
  return withEngine(async ({ native: engine }) => {
    const x = engine.upload(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])
    const weight = engine.upload(Float32Array.of(1, 0, -1, 2, 1, 0), [2, 3])
    const { y } = engine.op('linear', { y: { shape: [2, 2] }, x, weight, activation: 0 })
    if (y === undefined) return broken('the op linear gave no output', 'build the addon again')
    const { data } = await y.read()
    for (const tensor of [x, weight, y]) tensor.dispose()
    const found = [...data].join(' ')
    return found === '-2 4 -2 13' ? ok('CPU: a matrix product is exact') : broken(`CPU: a matrix product gave ${found} instead of -2 4 -2 13`, 'build the addon again, and report this')
  })
}

function checkModel(): Finding {
  const folder = join(packageRoot(), 'models', 'demo')
  return existsSync(join(folder, 'transformer')) ? ok(folder) : warning(`no built-in model at ${folder}`, 'npm run train:demo makes one; other models are given by their folder')
}

async function checkEncoders(): Promise<Finding> {
  const found = ['mp4 (h264-mp4-encoder)', 'gif (gifenc)', 'png, apng (fast-png)']
  const ffmpeg = await findProgram('ffmpeg')
  if (ffmpeg !== undefined) {
    if ((await findProgram('ffprobe')) === undefined) return warning(`${found.join(', ')}; ffmpeg without ffprobe`, 'install the ffprobe that comes with ffmpeg: videos are read with both')
    try {
      const version = (await collectOutput(ffmpeg, ['-version'])).toString().split('\n')[0] ?? ''
      found.push(version.split(' ').slice(0, 3).join(' '))
    } catch (error) {
      return warning(`${found.join(', ')}; ${errorMessage(error)}`, 'without ffmpeg no videos are read, and without sharp no .webp and JPEG either')
    }
  }
  const { sharp, refused } = await loadSharp()
  if (sharp !== undefined) found.push('webp, JPEG (sharp)')
  const detail = found.join(', ')
  if (refused !== undefined) return warning(`${detail}; the installed sharp does not load: ${refused}`, ffmpeg === undefined ? 'npm install --include=optional sharp, or install ffmpeg' : 'ffmpeg serves instead; npm install --include=optional sharp mends it')
  return ffmpeg === undefined && sharp === undefined ? warning(`${detail}; neither ffmpeg nor sharp`, 'npm install sharp for .webp and JPEG, ffmpeg to read videos') : ok(detail)
}

async function checkCache(): Promise<Finding> {
  const folder = await cacheFolder()
  if (folder === undefined) return warning('none, since neither XDG_CACHE_HOME nor HOME is an absolute path: a GPU is tested anew by each process', 'set XDG_CACHE_HOME to a folder that can be written')
  try {
    await makeFolders(folder)
    await access(folder, constants.W_OK)
    return ok(folder)
  } catch (error) {
    return warning(`${folder}: ${errorMessage(error)}`, 'set XDG_CACHE_HOME to a folder that can be written')
  }
}

async function checkDisk(): Promise<Finding> {
  const { bavail, bsize } = await statfs(process.cwd())
  const gibibytes = (bavail * bsize) / 2 ** 30
  const detail = `${gibibytes.toFixed(1)} GiB free in ${process.cwd()}`
  return gibibytes < 1 ? warning(detail, 'videos and saved states need room') : ok(detail)
}

function checkEnvironment(): Finding {
  const names = Object.keys(process.env).filter((name) => /^(VIN_NATIVE_|CUDA_VISIBLE_DEVICES$|NODE_OPTIONS$|UV_THREADPOOL_SIZE$)/.test(name))
  return ok(names.length === 0 ? 'no variable in force' : names.map((name) => `${name}=${process.env[name] ?? ''}`).join(' '))
}
