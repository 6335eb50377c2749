// Where this package lies on disk.

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { here } from './here.cjs'

interface PackageJson {
  name?: string
  version?: string
}

interface Package {
  root: string
  version: string
}

function find(): Package {
  for (let folder = here; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json')
    if (existsSync(file)) {
      const { name, version = '0.0.0' } = JSON.parse(readFileSync(file, 'utf8')) as PackageJson
      if (name === 'vin-native') return { root: folder, version }
    }
    // A bundle has left the package behind: paths then count from the bundle itself.
    if (dirname(folder) === folder) return { root: here, version: '0.0.0' }
  }
}

let found: Package | undefined

/** The folder of vin-native's package.json. */
export function packageRoot(): string {
  found ??= find()
  return found.root
}

export function packageVersion(): string {
  found ??= find()
  return found.version
}
