// Prebuilt addons by name: what fits a machine, what does not and why, and which one the loader takes.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describePrebuilds } from '../../lib/cli/inspect/prebuilds.js'
import { listPrebuilds, thisMachine } from '../../lib/native/prebuilds.js'
import type { MachineTarget } from '../../lib/native/prebuilds.js'

const machine: MachineTarget = { platform: 'linux', arch: 'x64', libc: 'glibc', runtime: 'node', abi: '115' }
const files = [
  'darwin-x64+arm64/vin-native.node',
  'linux-arm64/vin-native.armv8.glibc.node',
  'linux-x64/backends/manifest.json',
  'linux-x64/electron.abi120.node',
  'linux-x64/libvin_cuda.so',
  'linux-x64/node.napi.node',
  'linux-x64/vin-native.abi108.node',
  'linux-x64/vin-native.glibc.node',
  'linux-x64/vin-native.musl.node',
  'linux-x64/vin-native.node',
  'linux-x64-cuda13/vin-native.node',
  'readme.txt'
]

let root = ''
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vin-prebuilds-'))
  for (const file of files) {
    await mkdir(dirname(join(root, 'prebuilds', file)), { recursive: true })
    await writeFile(join(root, 'prebuilds', file), 'x'.repeat(10))
  }
})
afterAll(() => rm(root, { recursive: true, force: true }))

test('every addon is listed, with every reason against it', () => {
  const { prebuilds, chosen } = listPrebuilds(root, machine)
  expect(Object.fromEntries(prebuilds.map(({ file, refused }) => [file, refused]))).toEqual({
    'prebuilds/darwin-x64+arm64/vin-native.node': ['is for platform darwin, this is linux'],
    'prebuilds/linux-arm64/vin-native.armv8.glibc.node': ['is for architecture arm64, this is x64'],
    'prebuilds/linux-x64/electron.abi120.node': ['is for runtime electron, this is node', 'is for ABI 120, this is 115'],
    'prebuilds/linux-x64/node.napi.node': [],
    'prebuilds/linux-x64/vin-native.abi108.node': ['is for ABI 108, this is 115'],
    'prebuilds/linux-x64/vin-native.glibc.node': [],
    'prebuilds/linux-x64/vin-native.musl.node': ['is for libc musl, this is glibc'],
    'prebuilds/linux-x64/vin-native.node': []
  })
  expect(prebuilds.every(({ bytes }) => bytes === 10)).toBe(true)
  expect(chosen).toBe('prebuilds/linux-x64/node.napi.node')
})

test('other machines', () => {
  const fitting = (other: Partial<MachineTarget>): string[] => listPrebuilds(root, { ...machine, ...other }).prebuilds.filter(({ refused }) => refused.length === 0).map(({ file }) => file)
  expect(fitting({ platform: 'win32' })).toEqual([])
  expect(fitting({ platform: 'darwin', arch: 'arm64' })).toEqual(['prebuilds/darwin-x64+arm64/vin-native.node'])
  expect(fitting({ libc: 'musl' })).toEqual(['prebuilds/linux-x64/node.napi.node', 'prebuilds/linux-x64/vin-native.musl.node', 'prebuilds/linux-x64/vin-native.node'])
  expect(fitting({ runtime: 'electron', abi: '120' })).toContain('prebuilds/linux-x64/electron.abi120.node')
})

test.skipIf(process.platform !== 'linux' || process.arch !== 'x64')('the chosen one is the one that the loader finds (made for linux-x64)', async () => {
  const nodeGypBuild = createRequire(import.meta.url)('node-gyp-build') as { resolve(folder: string): string }
  const { chosen } = listPrebuilds(root, thisMachine())
  expect(nodeGypBuild.resolve(root)).toBe(join(root, chosen!))
  await rm(join(root, 'prebuilds', 'linux-x64', 'node.napi.node'))
  const next = listPrebuilds(root, thisMachine()).chosen
  expect(next).not.toBe(chosen)
  expect(nodeGypBuild.resolve(root)).toBe(join(root, next!))
})

test('in words', async () => {
  const text = describePrebuilds({ ...listPrebuilds(root, machine), used: undefined })
  expect(text).toMatch(/^this machine: linux x64, glibc, node with ABI 115\n/)
  expect(text).toContain('prebuilds/linux-x64/vin-native.musl.node (0.0 MiB): is for libc musl, this is glibc\n')
  expect(text).toContain('prebuilds/linux-x64/vin-native.glibc.node (0.0 MiB): fits this machine\n')
  expect(text).toContain('prebuilds/linux-x64/vin-native.node (0.0 MiB): fits this machine, but another one fits better\n')
  expect(text).toMatch(/no addon is found: npx vin-native doctor says more$/)
  await rm(join(root, 'prebuilds'), { recursive: true })
  expect(describePrebuilds({ ...listPrebuilds(root, machine), used: 'x.node' })).toContain('no prebuilt addon in the package')
})
