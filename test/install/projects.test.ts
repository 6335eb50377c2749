// The installed library inside other people's tools: each folder here is a small project of Jest, vitest or bundlers that runs the scenario and must see what it
// gives in this process. The package is this checkout's, in the form that npm would install it; nothing is asked of a registry.
import { execFile } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { transformSync } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import * as vin from '../../lib/index.js'
import { root } from '../support/addon.js'
import { scenario } from './scenario.mjs'

vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

const addon = join(root, 'build/Release/vin-native.node')
const tool = (path: string): string => join(root, 'node_modules', path)
let folder: string
let seen: unknown

beforeAll(async () => {
  expect([existsSync(join(root, 'dist/esm/index.js')), existsSync(addon)], 'npm run build makes dist/ and the addon').toEqual([true, true])
  seen = JSON.parse(JSON.stringify(await scenario(vin)))
  folder = mkdtempSync(join(tmpdir(), 'vin-projects-'))
  const modules = join(folder, 'node_modules')
  const installed = join(modules, 'vin-native')
  cpSync(join(root, 'dist'), join(installed, 'dist'), { recursive: true })
  copyFileSync(join(root, 'package.json'), join(installed, 'package.json'))
  mkdirSync(join(installed, 'prebuilds', `${process.platform}-${process.arch}`), { recursive: true })
  copyFileSync(addon, join(installed, 'prebuilds', `${process.platform}-${process.arch}`, 'vin-native.node'))
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }
  // Without sharp: that a bundler does not ask for it is part of what is tested.
  for (const name of [...Object.keys(dependencies), 'vitest', 'esbuild', 'webpack', 'rollup', '@rollup/plugin-commonjs', '@rollup/plugin-node-resolve']) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(tool(name), join(modules, name))
  }
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A copy of the project beside the installed package. */
function project(name: string): string {
  const place = join(folder, name)
  rmSync(place, { recursive: true, force: true })
  cpSync(join(import.meta.dirname, name), place, { recursive: true })
  const text = readFileSync(join(import.meta.dirname, 'scenario.mjs'), 'utf8')
  writeFileSync(join(place, 'scenario.mjs'), text)
  writeFileSync(join(place, 'scenario.cjs'), transformSync(text, { format: 'cjs' }).code)
  writeFileSync(join(place, 'expected.json'), JSON.stringify(seen))
  writeFileSync(join(place, 'package.json'), '{ "private": true }')
  return place
}

const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VIN_|^npm_|^NODE_OPTIONS$|^NODE_ENV$|^VITEST|^JEST|^TEST$/i.test(name)))

async function node(cwd: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, { cwd, env: { ...clean, ...env }, maxBuffer: 2 ** 26 }, (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }))
  })
}

const passed = ({ code, stdout, stderr }: { code: number | null; stdout: string; stderr: string }, tests: number): void => {
  expect(code, stdout + stderr).toBe(0)
  expect(JSON.parse(stdout.slice(stdout.indexOf('{')))).toMatchObject({ success: true, numPassedTests: tests, numTotalTests: tests })
}

test('the scenario meets no error that it did not ask for', () => {
  expect(seen).toMatchObject({
    own: true,
    broken: [],
    errors: { argument: 'RangeError ERR_OUT_OF_RANGE', format: 'VinError ERR_VIN_FORMAT', disk: 'VinError ERR_VIN_DISK', missing: 'VinError ERR_VIN_MISSING_COMPONENT', aborted: 'AbortError' }
  })
})

describe('Jest', () => {
  test('with its defaults', async () => {
    passed(await node(project('jest'), [tool('jest/bin/jest.js'), '--watchman=false', '--json', 'commonjs']), 1)
  })

  test('with VM modules, CommonJS and ES modules', async () => {
    passed(await node(project('jest'), ['--experimental-vm-modules', '--no-warnings', tool('jest/bin/jest.js'), '--watchman=false', '--json']), 2)
  })
})

describe('vitest', () => {
  test.each(['threads', 'forks', 'vmThreads', 'vmForks'])('in %s', async (pool) => {
    passed(await node(project('vitest'), [tool('vitest/vitest.mjs'), 'run', '--pool', pool, '--reporter=json']), 2)
  })
})

describe.each(['esbuild', 'webpack', 'rollup'])('bundled by %s', (name) => {
  let place: string
  const bundles = (): string[] => readdirSync(join(place, 'out')).filter((file) => file.startsWith(name))

  test('without an error, a warning, or sharp', async () => {
    place = project('bundlers')
    const { code, stderr } = await node(place, [`${name}.mjs`])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(bundles()).toEqual([`${name}-cjs.cjs`, `${name}-esm.mjs`])
  })

  test('it runs beside the installed package', async () => {
    for (const file of bundles()) {
      const { code, stdout, stderr } = await node(place, [join('out', file)])
      expect({ file, code, stderr }).toEqual({ file, code: 0, stderr: '' })
      expect(JSON.parse(stdout), file).toEqual(seen)
    }
  })

  test('it runs where nothing but it and the addon is, and says what encoders need', async () => {
    const alone = mkdtempSync(join(tmpdir(), 'vin-bundle-'))
    try {
      cpSync(join(place, 'out'), alone, { recursive: true })
      copyFileSync(addon, join(alone, 'vin-native.node'))
      const env = { VIN_NATIVE_BINDING: join(alone, 'vin-native.node'), SCENARIO: JSON.stringify({ formats: ['mp4'], image: false }) }
      const { image, ...rest } = seen as Record<string, unknown>
      for (const file of bundles()) {
        const { code, stdout, stderr } = await node(alone, [file], env)
        expect({ file, code, stderr }).toEqual({ file, code: 0, stderr: '' })
        expect(JSON.parse(stdout), file).toEqual({ ...rest, files: { mp4: 'ERR_VIN_MISSING_COMPONENT' } })
      }
    } finally {
      rmSync(alone, { recursive: true, force: true })
    }
  })
})
