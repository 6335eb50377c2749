// The prebuilt addons of a package: which of them this machine can load, and why it cannot load the others. Names are read as node-gyp-build reads them:
// prebuilds/linux-x64/vin-native.glibc.node is a platform, an architecture, and tags.

import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { bindingPath, isMusl } from './load.js'
import { packageRoot, requireFrom } from './package-root.js'

/** What a prebuilt addon must fit. */
export interface MachineTarget {
  platform: string
  arch: string
  libc: string
  runtime: string
  /** Of V8; an addon of Node-API does not depend on it. */
  abi: string
}

export interface Prebuild {
  /** From the package's folder. */
  file: string
  bytes: number
  /** Why this machine cannot load it; empty: it can. */
  refused: string[]
}

export interface PrebuildReport {
  machine: MachineTarget
  prebuilds: Prebuild[]
  /** The prebuilt addon that is loaded where none has been compiled in build/. */
  chosen: string | undefined
  /** The addon that is loaded. */
  used: string | undefined
}

interface Tags {
  file: string
  runtime?: string
  abi?: string
  napi?: boolean
  uv?: string
  armv?: string
  libc?: string
}

interface NodeGypBuild {
  parseTuple(name: string): { name: string; platform: string; architectures: string[] } | undefined
  parseTags(file: string): Tags | undefined
  compareTags(runtime: string): (a: Tags, b: Tags) => number
}

export function thisMachine(): MachineTarget {
  const { platform, arch, versions } = process
  return { platform, arch, libc: isMusl() ? 'musl' : 'glibc', runtime: 'electron' in versions ? 'electron' : 'node', abi: versions.modules }
}

function refusals(tags: Tags, tuple: { platform: string; architectures: string[] }, machine: MachineTarget): string[] {
  const wrong: string[] = []
  const need = (what: string, wanted: string, found: string): void => void (wanted === found || wrong.push(`is for ${what} ${wanted}, this is ${found}`))
  need('platform', tuple.platform, machine.platform)
  if (!tuple.architectures.includes(machine.arch)) need('architecture', tuple.architectures.join(' and '), machine.arch)
  if (tags.libc !== undefined) need('libc', tags.libc, machine.libc)
  if (tags.runtime !== undefined && !(tags.runtime === 'node' && tags.napi === true)) need('runtime', tags.runtime, machine.runtime)
  if (tags.abi !== undefined && tags.napi !== true) need('ABI', tags.abi, machine.abi)
  return wrong
}

export function listPrebuilds(root: string = packageRoot(), machine: MachineTarget = thisMachine()): PrebuildReport {
  const { parseTuple, parseTags, compareTags } = requireFrom('node-gyp-build') as NodeGypBuild
  const folder = join(root, 'prebuilds')
  const found = (existsSync(folder) ? readdirSync(folder).sort() : []).flatMap((name) => {
    const tuple = parseTuple(name)
    if (tuple === undefined || !statSync(join(folder, name)).isDirectory()) return []
    return readdirSync(join(folder, name)).sort().flatMap((file) => {
      const tags = parseTags(file)
      if (tags === undefined) return []
      const path = join(folder, name, file)
      return [{ tags, prebuild: { file: relative(root, path), bytes: statSync(path).size, refused: refusals(tags, tuple, machine) } }]
    })
  })
  const [chosen] = found.filter(({ prebuild }) => prebuild.refused.length === 0).sort((a, b) => compareTags(machine.runtime)(a.tags, b.tags))
  return { machine, prebuilds: found.map(({ prebuild }) => prebuild), chosen: chosen?.prebuild.file, used: bindingPath() }
}
