// Where this package lies on disk, and what is loaded from there when it is needed.

import { existsSync, readFileSync } from 'node:fs'
import Module from 'node:module'
import { dirname, join } from 'node:path'
import { here } from './here.cjs'

export const unknownVersion = '0.0.0'

interface Package {
  root: string
  version: string
}

/** The package at a folder; undefined: another one, or none. */
function packageAt(folder: string): Package | undefined {
  const file = join(folder, 'package.json')
  if (!existsSync(file)) return undefined
  const { name, version = unknownVersion } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string }
  return name === 'vin-native' ? { root: folder, version } : undefined
}

function above(start: string): Package | undefined {
  for (let folder = start; ; folder = dirname(folder)) {
    const found = packageAt(folder)
    if (found !== undefined || dirname(folder) === folder) return found
  }
}

/** require as a module in this folder has it. By this name, because webpack resolves the calls of an imported createRequire when it bundles. */
const requireOf = (folder: string): NodeJS.Require => Module.createRequire(join(folder, 'package.json'))

/** The package as a module in this folder would find it. */
function installedFor(folder: string): Package | undefined {
  try {
    return packageAt(dirname(requireOf(folder).resolve('vin-native/package.json')))
  } catch {
    return undefined
  }
}

/** A bundle has left the package behind, which then is looked for where the bundle or the program would import it from; paths count from there where it is not. */
function find(): Package {
  const inside = here === undefined ? undefined : above(here)
  if (inside !== undefined) return inside
  const program = process.argv[1] === undefined ? undefined : dirname(process.argv[1])
  const places = [here, program, process.cwd()].filter((place) => place !== undefined)
  return places.map(installedFor).find((found) => found !== undefined) ?? { root: places[0] as string, version: unknownVersion }
}

let found: Package | undefined

/** The folder of vin-native's package.json. */
export function packageRoot(): string {
  found ??= find()
  return found.root
}

/** Whether the package is a developer's clone: what is installed comes without its TypeScript. */
export function isClone(): boolean {
  return existsSync(join(packageRoot(), 'lib', 'index.ts'))
}

/** Of a bundle that the package does not lie beside, `unknownVersion`. */
export function packageVersion(): string {
  found ??= find()
  return found.version
}

/**
Loads CommonJS by name or path, as from this package's folder: `.node` files, node-gyp-build, sharp. Bundlers do not look into it: what it loads is either
not there at all, or has to stay a file.
*/
export function requireFrom(id: string): unknown {
  return requireOf(packageRoot())(id)
}

/** The file that `requireFrom` would load; throws where there is none. */
export function resolveFrom(id: string): string {
  return requireOf(packageRoot()).resolve(id)
}
