// The floor of Linux addons and of CUDA plug-ins: those of this checkout keep it, and one that is linked wrongly on purpose is found out.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { versionSync } from 'detect-libc'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { glibcFloor } from '../../lib/native/machine.js'
import { root } from '../support/addon.js'
import { builtAddon } from '../support/installed.js'

const { symbolProblems } = (await import(join(root, 'tools', 'check-symbols.mjs'))) as { symbolProblems(file: string, options?: { glibc?: string }): string[] }
const compiler = process.env['CC'] ?? 'cc'
const emulator = join(root, 'build-backends', 'emu', 'libvin_cuda.so')
const canRun = process.platform === 'linux' && [compiler, 'readelf'].every((program) => spawnSync(program, ['--version']).status === 0)

describe.runIf(canRun)('the floor of C libraries', () => {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vin-symbols-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const module = 'int napi_register_module_v1(void) { return 0; }\nint node_api_module_get_api_version_v1(void) { return 9; }\n'
  const link = (source: string, ...flags: string[]): string[] => linkAs('addon.node', source, ...flags)
  const linkAs = (name: string, source: string, ...flags: string[]): string[] => {
    const file = join(folder, name)
    writeFileSync(join(folder, 'addon.c'), source)
    execFileSync(compiler, ['-shared', '-fPIC', '-o', file, join(folder, 'addon.c'), ...flags])
    return symbolProblems(file)
  }

  // A release is built on Debian 12; what a younger system's headers bring in is that system's own matter.
  const [major = 0, minor = 0] = (versionSync() ?? '').split('.').map(Number)
  test.runIf(major === 2 && minor <= 36)('the addon needs no newer libraries than the ones that it is promised for', () => {
    expect(symbolProblems(builtAddon, { glibc: glibcFloor })).toEqual([])
  })

  test.runIf(major === 2 && minor <= 36 && existsSync(emulator))('so does a CUDA plug-in', () => {
    expect(symbolProblems(emulator, { glibc: glibcFloor })).toEqual([])
  })

  test('README names the floor that doctor knows', () => {
    expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain(`glibc ${glibcFloor} or later`)
  })

  test('a newer function, a stray library and export, an addon that can be unloaded, an executable stack', () => {
    expect(link(module, '-Wl,-z,nodelete')).toEqual([])
    expect(link(module)).toEqual(['is not linked with -z nodelete'])
    expect(link('int stray(void) { return 1; }', '-Wl,-z,nodelete')).toEqual(['exports stray', 'does not export napi_register_module_v1', 'does not export node_api_module_get_api_version_v1'])
    expect(link(module, '-Wl,-z,nodelete', '-Wl,-z,execstack')).toEqual(['has an executable stack'])
    expect(link(module, '-Wl,-z,nodelete', '-Wl,--no-as-needed', '-lresolv')).toEqual(['needs the library libresolv.so.2'])
    expect(linkAs('libvin_cuda.so', module, '-Wl,-z,nodelete')).toEqual(['exports napi_register_module_v1', 'exports node_api_module_get_api_version_v1', 'does not export vin_backend_entry'])
    const floor = symbolProblems(builtAddon, { glibc: '2.10' })
    expect(floor).toEqual(expect.arrayContaining([expect.stringMatching(/^needs \w+ of GLIBC_2\.14, newer than GLIBC_2\.10$/)]))
    expect(floor.every((problem) => /of GLIBC_2\.(1[1-9]|2[0-8]), newer than/.test(problem))).toBe(true)
  })
})
