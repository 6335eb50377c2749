// The folders where CUDA plug-ins may lie, what their manifests say (packaging.md §4), and whether a file is the one that its manifest means.

import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { VinError, show } from '../errors.js'
import { openToRead, readSmallFile } from '../files/small-file.js'
import { errorCode, errorMessage } from '../realms.js'
import { driverLibrary } from './driver.js'
import { isMusl } from './load.js'
import { packageRoot, packageVersion, resolveFrom, unknownVersion } from './package-root.js'
import { isDenied } from './permission.js'

/** Why a backend plug-in was not used. */
export interface RejectedBackend {
  /** The plug-in's file, or the folder in which there is none. */
  backend: string
  code:
    | 'not_found'
    | 'libc'
    | 'version'
    | 'abi'
    | 'corrupt'
    | 'dlopen'
    | 'symbol'
    | 'driver_missing'
    | 'driver_too_old'
    | 'wsl_driver'
    | 'no_device'
    | 'no_access'
    | 'no_code_for_device'
    | 'device_failed'
    | 'selftest_failed'
    | 'selftest_crashed'
    | 'selftest_timeout'
  /** A sentence: what was expected, what was found, what to do. */
  reason: string
}

/** A plug-in that a manifest names and whose file is there. */
export interface Plugin {
  id: string
  path: string
  /** Of the CUDA toolkit, such as '13.5'. */
  toolkit: string
  sha256: string | undefined
  bytes: number | undefined
}

/** VIN_ABI of csrc/backend.h. */
export const pluginAbi = 2
const maxManifestBytes = 1 << 20
/** Ten times what all plug-ins of a package may weigh. */
const maxPluginBytes = 2 ** 30

interface Place {
  folder: string
  /** By VIN_NATIVE_BACKEND_PATH. */
  isAsked?: boolean
}

/** Every place where CUDA plug-ins may lie, in the order in which they are looked at. */
function pluginFolders(): Place[] {
  const root = packageRoot()
  const asked = process.env['VIN_NATIVE_BACKEND_PATH'] ?? ''
  return [
    ...(asked === '' ? [] : [{ folder: resolve(asked), isAsked: true }]),
    // In a clone, by npm run build:cuda.
    ...[join(root, 'build-backends', 'stage', 'backends')].filter((folder) => existsSync(folder)).map((folder) => ({ folder })),
    { folder: join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'backends') },
    ...['cuda13', 'cuda12'].map((id) => ({ folder: optionalPackage(`@vin-native/${process.platform}-${process.arch}-${id}`) }))
  ]
}

function optionalPackage(name: string): string {
  try {
    return dirname(resolveFrom(`${name}/package.json`))
  } catch {
    return name
  }
}

/** What lies in those places: plug-ins, the newest toolkit of a folder first, and why there is none. */
export async function findPlugins(): Promise<(Plugin | RejectedBackend)[]> {
  return (await Promise.all(pluginFolders().map(readManifest))).flat()
}

/** A bundle may have left behind what knows; the plug-in itself then tells. */
function hasMusl(): boolean {
  try {
    return isMusl()
  } catch {
    return false
  }
}

async function readManifest({ folder, isAsked = false }: Place): Promise<(Plugin | RejectedBackend)[]> {
  const file = join(folder, 'manifest.json')
  const refuse = (code: RejectedBackend['code'], reason: string, backend = folder): RejectedBackend => ({ backend, code, reason: reason.replaceAll(/\p{Cc}+/gu, ' ') })
  const corrupt = (what: string, received: unknown): RejectedBackend[] => [refuse('corrupt', `Expected ${what} in ${file} but found ${show(received)}; ${again}`)]
  const missing = absence(file)
  if (missing !== undefined) {
    if (!isAsked && isNowhere(missing)) return [refuse('not_found', 'no CUDA plug-in is installed there')]
    const wanted = `Expected a folder with manifest.json${isAsked ? ' for VIN_NATIVE_BACKEND_PATH' : ''} but`
    if (!isNowhere(missing)) return [refuse('not_found', `${wanted} ${folder} cannot be looked into (${errorMessage(missing)}); ${adviceFor(missing, folder)}`)]
    return [refuse('not_found', `${wanted} ${errorCode(missing) === 'ENOENT' ? 'there is none' : `${folder} is no folder`}; set it to the folder of a manifest.json, or unset it`)]
  }
  if (hasMusl()) return [refuse('libc', 'Expected glibc but this Linux has musl, for which there is no CUDA plug-in; use a system with glibc')]
  let manifest: unknown
  try {
    manifest = JSON.parse((await readSmallFile(file, maxManifestBytes)).toString())
  } catch (error) {
    return [refuse('corrupt', unread('a manifest', file, error))]
  }
  if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) return corrupt('an object', manifest)
  const { version, abi, backends } = manifest as { version?: unknown; abi?: unknown; backends?: unknown }
  if (typeof abi !== 'number') return corrupt('a number for abi', abi)
  if (abi !== pluginAbi) return [refuse('abi', `Expected plug-ins of ABI ${pluginAbi} but ${file} is for ABI ${abi}; install those of vin-native ${packageVersion()}`)]
  if (typeof version !== 'string') return corrupt('a text for version', version)
  if (![version, unknownVersion].includes(packageVersion())) return [refuse('version', `Expected plug-ins of vin-native ${packageVersion()} but ${file} is of ${version}; install those of this version`)]
  if (!Array.isArray(backends)) return corrupt('a list of backends, each with id, file and toolkit,', backends)
  if (backends.length === 0) return [refuse('not_found', `Expected a plug-in in ${file} but its list is empty; ${again}`)]
  for (const [i, backend] of backends.entries()) {
    if (typeof backend !== 'object' || backend === null) return corrupt(`an object for backends[${i}]`, backend)
    const fields = backend as Record<string, unknown>
    const wrong = (Object.keys(entryFields) as (keyof Entry)[]).find((name) => !entryFields[name].holds(fields[name]))
    if (wrong !== undefined) return corrupt(`${entryFields[wrong].what} for ${wrong} of backends[${i}]`, fields[wrong])
  }
  const newestFirst = (a: Entry, b: Entry): number => Number.parseFloat(b.toolkit) - Number.parseFloat(a.toolkit)
  return [...(backends as Entry[])].sort(newestFirst).map((entry) => {
    const path = join(folder, entry.file)
    if (entry.libc !== undefined && entry.libc !== 'glibc') return refuse('libc', `Expected a plug-in for glibc but ${entry.id} is for ${entry.libc}; install the one for this system`, path)
    // One that is there and cannot be read says why as it is read.
    if (isNowhere(absence(path))) return refuse('not_found', `${file} names it, but it is not there; ${again}`, path)
    const { id, toolkit, sha256, bytes } = entry
    return { id, path, toolkit, sha256, bytes }
  })
}

const again = 'install the plug-ins again'

/** What speaks against there being a file, the system's error; undefined: there is one. */
function absence(path: string): unknown {
  try {
    statSync(path)
    return undefined
  } catch (error) {
    return error
  }
}

const isNowhere = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')

function adviceFor(error: unknown, path: string): string {
  if (isDenied(error)) return `start Node with --allow-fs-read=${path}`
  if (errorCode(error) === 'EACCES') return 'let this user read it'
  return errorCode(error) === 'ELOOP' ? 'remove the link that leads to itself' : again
}

/** A sentence about a file that is there and cannot be used. What is wrong with its kind or size is one already. */
function unread(what: string, file: string, error: unknown): string {
  return error instanceof VinError ? `${error.message}; ${again}` : `Expected ${what} that can be read in ${file} but ${errorMessage(error)}; ${adviceFor(error, file)}`
}

interface Entry {
  id: string
  file: string
  toolkit: string
  libc?: string
  sha256?: string
  bytes?: number
}

const isText = (value: unknown): value is string => typeof value === 'string'
const isTextOrNone = (value: unknown): boolean => value === undefined || isText(value)

/** Of a manifest's entry; other fields are for people. */
const entryFields: Record<keyof Entry, { what: string; holds: (value: unknown) => boolean }> = {
  id: { what: "a name such as 'cuda13'", holds: (id) => isText(id) && /^[\w.-]{1,64}$/.test(id) },
  file: { what: 'a path inside its folder', holds: (file) => isText(file) && file !== '' && !/\p{Cc}/u.test(file) && !isAbsolute(file) && !file.split(/[/\\]/).includes('..') },
  toolkit: { what: "a version such as '13.5'", holds: (toolkit) => isText(toolkit) && Number.isFinite(Number.parseFloat(toolkit)) },
  libc: { what: 'a text', holds: isTextOrNone },
  sha256: { what: 'a text', holds: isTextOrNone },
  bytes: { what: 'a whole number from 0', holds: (bytes) => bytes === undefined || (Number.isSafeInteger(bytes) && (bytes as number) >= 0) }
}

interface PluginFile {
  sha256: string
  /** It opens NVIDIA's driver as it is loaded; that of tests does not. */
  needsDriver: boolean
}

const known = new Map<string, PluginFile>()

/** What is in the file, unloaded. Of a plug-in that is not what its manifest says, why it is refused: it is never loaded, since a file that was cut off ends the process. */
export async function checkPluginFile({ path, bytes, sha256 }: Plugin): Promise<PluginFile | RejectedBackend> {
  const corrupt = (reason: string): RejectedBackend => ({ backend: path, code: 'corrupt', reason })
  const damaged = (what: string): RejectedBackend => corrupt(`Expected ${what}; the file is damaged, install it again`)
  try {
    const { handle, size } = await openToRead(path, maxPluginBytes)
    try {
      if (bytes !== undefined && size !== bytes) return damaged(`${bytes} bytes as its manifest says but found ${size}`)
      const key = JSON.stringify([path, size, (await handle.stat()).mtimeMs])
      const found = known.get(key) ?? describe(await handle.readFile())
      known.set(key, found)
      return sha256 === undefined || found.sha256 === sha256 ? found : damaged(`sha256 ${sha256} as its manifest says but found ${found.sha256}`)
    } finally {
      await handle.close()
    }
  } catch (error) {
    return corrupt(unread('a plug-in', path, error))
  }
}

const describe = (content: Buffer): PluginFile => ({ sha256: createHash('sha256').update(content).digest('hex'), needsDriver: content.includes(driverLibrary) })
