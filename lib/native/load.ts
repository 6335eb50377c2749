// Finds and loads vin-native.node at the first use, never on import: the option nativeBinding, VIN_NATIVE_BINDING, then node-gyp-build
// (build/Release, build/Debug, prebuilds/). A failure lists every attempt with its reason and says what to do.

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { VinError, expected } from '../errors.js'
import { errorMessage } from '../realms.js'
import type { Binding } from './binding.js'
import { requireFrom } from './here.cjs'
import { packageRoot } from './package-root.js'

export interface LoadAttempt {
  path: string
  reason: string
}

/** A path to vin-native.node, or the loaded addon. */
export type NativeBinding = string | Binding

interface NodeGypBuild {
  resolve(folder: string): string
}

const loaded = new Map<string, Binding>()

/** The addon; loaded once per file. */
export function loadBinding(nativeBinding?: NativeBinding): Binding {
  if (typeof nativeBinding === 'object' && nativeBinding !== null) return checkBinding(nativeBinding, 'the object given as nativeBinding')
  if (nativeBinding !== undefined && typeof nativeBinding !== 'string') {
    throw expected('a path or the loaded addon', 'nativeBinding', nativeBinding, 'type')
  }
  const asked = nativeBinding ?? process.env['VIN_NATIVE_BINDING']
  const key = asked === undefined || asked === '' ? '' : resolve(asked)
  const known = loaded.get(key)
  if (known !== undefined) return known
  const binding = key === '' ? loadInstalled() : loadAsked(key, nativeBinding === undefined ? 'VIN_NATIVE_BINDING' : 'nativeBinding')
  loaded.set(key, binding)
  return binding
}

function loadAsked(path: string, source: string): Binding {
  try {
    return load(path)
  } catch (error) {
    throw unavailable([{ path: `${path} (${source})`, reason: reasonOf(error) }])
  }
}

function loadInstalled(): Binding {
  const root = packageRoot()
  const attempts: LoadAttempt[] = []
  for (const path of [join(root, 'build', 'Release', 'vin-native.node'), join(root, 'build', 'Debug', 'vin-native.node')]) {
    if (!existsSync(path)) {
      attempts.push({ path, reason: 'not there' })
      continue
    }
    try {
      return load(path)
    } catch (error) {
      attempts.push({ path, reason: reasonOf(error) })
    }
  }
  const libc = process.env['LIBC']
  const hidden = process.env['PREBUILDS_ONLY']
  try {
    // node-gyp-build knows musl only as Alpine or by LIBC; build/ was tried above.
    if (libc === undefined && isMusl()) process.env['LIBC'] = 'musl'
    process.env['PREBUILDS_ONLY'] = '1'
    const nodeGypBuild = requireFrom('node-gyp-build') as NodeGypBuild
    const path = nodeGypBuild.resolve(root)
    try {
      return load(path)
    } catch (error) {
      attempts.push({ path, reason: reasonOf(error) })
    }
  } catch (error) {
    attempts.push({ path: join(root, 'prebuilds', `${process.platform}-${process.arch}`), reason: reasonOf(error) })
  } finally {
    restore('LIBC', libc)
    restore('PREBUILDS_ONLY', hidden)
  }
  throw unavailable(attempts)
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
  return binding as Binding
}

/** The file of the addon in use, for reports. */
export function bindingPath(): string | undefined {
  const asked = process.env['VIN_NATIVE_BINDING']
  if (asked !== undefined && asked !== '') return resolve(asked)
  const root = packageRoot()
  const built = [join(root, 'build', 'Release', 'vin-native.node'), join(root, 'build', 'Debug', 'vin-native.node')].find((path) => existsSync(path))
  if (built !== undefined) return built
  try {
    return (requireFrom('node-gyp-build') as NodeGypBuild).resolve(root)
  } catch {
    return undefined
  }
}

/** A Linux without glibc. Asked of the program's own file: a diagnostic report would look up the name of every open socket's peer. */
export function isMusl(): boolean {
  return (requireFrom('detect-libc') as { isNonGlibcLinuxSync(): boolean }).isNonGlibcLinuxSync()
}

function reasonOf(error: unknown): string {
  const text = errorMessage(error)
  return text.split('\n')[0] ?? text
}

function unavailable(attempts: LoadAttempt[]): VinError {
  const list = attempts.map(({ path, reason }) => `  ${path}: ${reason}`).join('\n')
  const advice = attempts.some(({ reason }) => /no-addons|addons are disabled/i.test(reason))
    ? 'Start Node without --no-addons.'
    : 'Run `npx vin-native build` (needs Python 3, make and a C++17 compiler), or set VIN_NATIVE_BINDING to a built vin-native.node.'
  return new VinError(
    'ERR_VIN_BACKEND_UNAVAILABLE',
    `Expected a vin-native addon for ${process.platform}-${process.arch}, Node ${process.versions.node}, but none loads:\n${list}\n${advice}`,
    { attempts }
  )
}
