// The folders where CUDA plug-ins may lie, what their manifests say (packaging.md §4), and whether a file is the one that its manifest means.

import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { openToRead, readSmallFile } from '../files/small-file.js'
import { errorMessage } from '../realms.js'
import { isMusl } from './load.js'
import { packageRoot, packageVersion, resolveFrom, unknownVersion } from './package-root.js'

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
    { folder: join(root, 'build-backends', 'stage', 'backends') },
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
  const refuse = (code: RejectedBackend['code'], reason: string, backend = folder): RejectedBackend => ({ backend, code, reason })
  if (!existsSync(file)) return [refuse('not_found', isAsked ? 'Expected a folder with manifest.json for VIN_NATIVE_BACKEND_PATH but there is none' : 'no CUDA plug-in is installed there')]
  if (hasMusl()) return [refuse('libc', 'Expected glibc but this Linux has musl, for which there is no CUDA plug-in; use a system with glibc')]
  let manifest: { version?: unknown; abi?: unknown; backends?: unknown }
  try {
    manifest = JSON.parse((await readSmallFile(file, maxManifestBytes)).toString()) as typeof manifest
  } catch (error) {
    return [refuse('corrupt', `Expected a manifest in ${file} but ${errorMessage(error)}; install the plug-ins again`)]
  }
  if (typeof manifest !== 'object' || manifest === null) return [refuse('corrupt', `Expected an object in ${file} but found ${JSON.stringify(manifest)}; install the plug-ins again`)]
  const { version, abi, backends } = manifest
  if (abi !== pluginAbi) return [refuse('abi', `Expected plug-ins of ABI ${pluginAbi} but ${file} is for ABI ${String(abi)}; install those of vin-native ${packageVersion()}`)]
  if (![version, unknownVersion].includes(packageVersion())) return [refuse('version', `Expected plug-ins of vin-native ${packageVersion()} but ${file} is of ${String(version)}; install those of this version`)]
  if (!Array.isArray(backends) || !backends.every(isEntry)) return [refuse('corrupt', `Expected a list of backends, each with id, file and toolkit, in ${file} but found something else; install the plug-ins again`)]
  const newestFirst = (a: Entry, b: Entry): number => Number.parseFloat(b.toolkit) - Number.parseFloat(a.toolkit)
  return [...backends].sort(newestFirst).map((entry) => {
    const path = join(folder, entry.file)
    if (entry.libc !== undefined && entry.libc !== 'glibc') return refuse('libc', `Expected a plug-in for glibc but ${entry.id} is for ${entry.libc}; install the one for this system`, path)
    if (!existsSync(path)) return refuse('not_found', `${file} names it, but it is not there; install the plug-ins again`, path)
    const { id, toolkit, sha256, bytes } = entry
    return { id, path, toolkit, sha256, bytes }
  })
}

interface Entry {
  id: string
  file: string
  toolkit: string
  libc?: string
  sha256?: string
  bytes?: number
}

function isEntry(value: unknown): value is Entry {
  if (typeof value !== 'object' || value === null) return false
  const { id, file, toolkit, libc, sha256, bytes } = value as Record<keyof Entry, unknown>
  const isOptional = (field: unknown, type: string): boolean => field === undefined || typeof field === type
  if (typeof id !== 'string' || typeof file !== 'string' || typeof toolkit !== 'string' || !Number.isFinite(Number.parseFloat(toolkit))) return false
  return isOptional(libc, 'string') && isOptional(sha256, 'string') && isOptional(bytes, 'number') && !isAbsolute(file) && !file.split(/[/\\]/).includes('..')
}

const hashes = new Map<string, string>()

/** The file's sha256. Of a plug-in that is not what its manifest says, why it is refused: it is never loaded, since a file that was cut off ends the process. */
export async function checkPluginFile({ path, bytes, sha256 }: Plugin): Promise<{ sha256: string } | RejectedBackend> {
  const corrupt = (what: string): RejectedBackend => ({ backend: path, code: 'corrupt', reason: `Expected ${what}; the file is damaged, install it again` })
  try {
    const { handle, size } = await openToRead(path)
    try {
      if (bytes !== undefined && size !== bytes) return corrupt(`${bytes} bytes as its manifest says but found ${size}`)
      const key = JSON.stringify([path, size, (await handle.stat()).mtimeMs])
      const found = hashes.get(key) ?? createHash('sha256').update(await handle.readFile()).digest('hex')
      hashes.set(key, found)
      return sha256 === undefined || found === sha256 ? { sha256: found } : corrupt(`sha256 ${sha256} as its manifest says but found ${found}`)
    } finally {
      await handle.close()
    }
  } catch (error) {
    return corrupt(`a file that can be read but ${errorMessage(error)}`)
  }
}
