// Finds and loads vin-native.node at the first use, never on import: the option nativeBinding, VIN_NATIVE_BINDING, then node-gyp-build
// (build/Release, build/Debug, prebuilds/). A failure lists every attempt with its reason and says what to do.

import { existsSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { VinError, expected } from '../errors.js'
import { errorCode, errorMessage } from '../realms.js'
import type { Binding } from './binding.js'
import { packageRoot, requireFrom } from './package-root.js'
import { isDenied } from './permission.js'

export interface LoadAttempt {
  path: string
  reason: string
  /** Node's word for it: ERR_DLOPEN_FAILED, ERR_DLOPEN_DISABLED, ERR_ACCESS_DENIED, … */
  code?: string | undefined
}

/** A path to vin-native.node, or the loaded addon. */
export type NativeBinding = string | Binding

/** The addon's sources need g++ or clang; Windows has WSL for both. */
export const windowsAdvice = 'vin-native does not run on Windows itself; it runs in WSL 2 (in PowerShell: wsl --install), where Node and vin-native are installed as on Linux'

interface NodeGypBuild {
  resolve(folder: string): string
}

interface LoadedAddon {
  binding: Binding
  /** Absent: the program gave the addon as an object. */
  path?: string | undefined
  /** What was tried before. */
  attempts: readonly LoadAttempt[]
}

const loaded = new Map<string, LoadedAddon>()

/** What the option named last: the addon of functions that take no such option, where no other one is found. */
let given: LoadedAddon | undefined

/** The addon; loaded once per file. */
export function loadBinding(nativeBinding?: NativeBinding): Binding {
  return loadAddon(nativeBinding).binding
}

/** The addon with where it comes from. */
export function loadAddon(nativeBinding?: NativeBinding): LoadedAddon {
  if (typeof nativeBinding === 'object' && nativeBinding !== null) return (given = { binding: checkBinding(nativeBinding, 'the object given as nativeBinding'), attempts: [] })
  if (nativeBinding !== undefined && typeof nativeBinding !== 'string') {
    throw expected('a path or the loaded addon', 'nativeBinding', nativeBinding, 'type')
  }
  const key = askedFile(nativeBinding)
  const addon = loaded.get(key) ?? (key === '' ? loadInstalled() : loadAsked(key, nativeBinding === undefined ? 'VIN_NATIVE_BINDING' : 'nativeBinding'))
  loaded.set(key, addon)
  if (nativeBinding !== undefined) given = addon
  return addon
}

/** The file that the program or the environment names; '': none. */
function askedFile(nativeBinding?: string): string {
  const asked = nativeBinding ?? process.env['VIN_NATIVE_BINDING'] ?? ''
  return asked === '' ? '' : resolve(asked)
}

function loadAsked(path: string, source: string): LoadedAddon {
  try {
    return { binding: load(path), path, attempts: [] }
  } catch (error) {
    throw unavailable([{ path: `${path} (${source})`, ...failure(error) }])
  }
}

/** What a build on this machine leaves. */
export function builtFiles(root: string): [release: string, debug: string] {
  return [join(root, 'build', 'Release', 'vin-native.node'), join(root, 'build', 'Debug', 'vin-native.node')]
}

function loadInstalled(): LoadedAddon {
  const root = packageRoot()
  const attempts: LoadAttempt[] = []
  for (const path of builtFiles(root)) {
    try {
      if (existsSync(path)) return { binding: load(path), path, attempts }
      attempts.push({ path, reason: 'not there' })
    } catch (error) {
      attempts.push({ path, ...failure(error) })
    }
  }
  let path = join(root, 'prebuilds', `${process.platform}-${process.arch}`)
  try {
    path = findPrebuilt(root)
    return { binding: load(path), path, attempts }
  } catch (error) {
    attempts.push({ path, ...failure(error) })
  }
  if (given !== undefined) return { ...given, attempts }
  throw unavailable(attempts)
}

/** node-gyp-build's choice among prebuilds/. It knows musl only by LIBC or as Alpine, by a file that Node's permission model may hide; and would look into build/ first. */
function findPrebuilt(root: string): string {
  const { LIBC, PREBUILDS_ONLY } = process.env
  try {
    process.env['LIBC'] = LIBC ?? (isMusl() ? 'musl' : 'glibc')
    process.env['PREBUILDS_ONLY'] = '1'
    return (requireFrom('node-gyp-build') as NodeGypBuild).resolve(root)
  } finally {
    restore('LIBC', LIBC)
    restore('PREBUILDS_ONLY', PREBUILDS_ONLY)
  }
}

function restore(name: string, value: string | undefined): void {
  if (value === undefined) delete process.env[name]
  else process.env[name] = value
}

function load(path: string): Binding {
  return checkBinding(requireFrom(path) as Partial<Binding>, path)
}

function checkBinding(binding: Partial<Binding>, source: string): Binding {
  if (typeof binding.createEngine !== 'function') {
    throw new VinError('ERR_VIN_BACKEND_UNAVAILABLE', `Expected the vin-native addon but ${source} has no createEngine`, { path: source })
  }
  binding.useErrors?.({ VinError, RangeError, DOMException })
  return binding as Binding
}

/** The file of the addon in use, or that would be used, for reports. */
export function bindingPath(): string | undefined {
  const key = askedFile()
  const known = loaded.get(key)
  if (known !== undefined) return known.path
  if (key !== '') return key
  const root = packageRoot()
  try {
    return builtFiles(root).find((path) => existsSync(path)) ?? findPrebuilt(root)
  } catch {
    return undefined
  }
}

/** A Linux without glibc. Asked of the program's own file: a diagnostic report would look up the name of every open socket's peer. */
export function isMusl(): boolean {
  return (requireFrom('detect-libc') as { isNonGlibcLinuxSync(): boolean }).isNonGlibcLinuxSync()
}

function failure(error: unknown): { reason: string; code: string | undefined } {
  const text = errorMessage(error)
  // Node says what it has kept back, but not in the message.
  const resource = isDenied(error) ? (error as { resource?: unknown }).resource : undefined
  return { reason: `${text.split('\n')[0] ?? text}${typeof resource === 'string' && resource !== '' ? ` (${resource})` : ''}`, code: errorCode(error) }
}

function unavailable(attempts: LoadAttempt[]): VinError {
  const list = attempts.map(({ path, reason }) => `  ${path}: ${reason}`).join('\n')
  const advice = adviceFor(new Set(attempts.map(({ code }) => code)))
  return new VinError(
    'ERR_VIN_BACKEND_UNAVAILABLE',
    `Expected a vin-native addon for ${process.platform}-${process.arch}, Node ${process.versions.node}, but none loads:\n${list}\n${advice}`,
    { attempts, advice }
  )
}

function adviceFor(codes: ReadonlySet<string | undefined>): string {
  if (codes.has('ERR_DLOPEN_DISABLED') || codes.has('ERR_ACCESS_DENIED')) {
    // Absent without --permission, whatever the types say.
    if ((process.permission as unknown) === undefined) return 'Start Node, or the worker, without --no-addons.'
    const root = packageRoot()
    const folder = basename(dirname(root)) === 'node_modules' ? dirname(root) : root
    return `Under Node's permission model, start it with --allow-addons and --allow-fs-read=${folder}`
  }
  if (process.platform === 'win32') return `${windowsAdvice}.`
  return 'Run `npx vin-native build` (needs Python 3, make and a C++17 compiler), or set VIN_NATIVE_BINDING to a built vin-native.node.'
}
