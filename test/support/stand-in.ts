// An installed copy with a handful of empty sources, and a stand-in for the compiler whose linker delivers this checkout's addon.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { builtAddon, installCopy } from './installed.js'
import type { Installed } from './installed.js'

const folders = ['core', 'ops', 'models', 'napi', 'cpu', 'cpu/gemm']

/** One file of each folder and the two plain ones of cpu once, those of cpu and cpu/gemm once for each instruction set. */
export const standInObjects = 6 + 2 * (process.arch === 'x64' ? 3 : 1)

export function installSources(): Installed {
  const installed = installCopy(['tools', 'binding.gyp'], false)
  for (const name of folders) {
    mkdirSync(join(installed.root, 'csrc', name), { recursive: true })
    writeFileSync(join(installed.root, 'csrc', name, `${name.replace('/', '-')}-part.cpp`), '')
  }
  for (const name of ['exports.map', 'cpu/backend.cpp', 'cpu/check.cpp']) writeFileSync(join(installed.root, 'csrc', name), '')
  return installed
}

/** A compiler that does `first`, then writes empty objects and, as linker, a copy of `addon`. */
export function standInCompiler(installed: Installed, first: string, addon = builtAddon): string {
  const file = join(installed.folder, 'c++')
  const parse = 'out=; dep=; link=yes\nwhile [ $# -gt 0 ]; do case "$1" in -o) out=$2; shift;; -MF) dep=$2; shift;; -c) link=;; esac; shift; done'
  writeFileSync(file, `#!/bin/sh\n${first}\n${parse}\n[ -n "$dep" ] && echo "$out:" > "$dep"\nif [ -n "$link" ]; then cp '${addon}' "$out"; else : > "$out"; fi\n`)
  chmodSync(file, 0o755)
  return file
}
