// The packed package in empty services, one ESM and one CommonJS: it is found, typed, loads nothing on import, and works once an addon fits.
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../support/addon.js'

const built = existsSync(join(root, 'dist/esm/index.js')) && existsSync(join(root, 'build/Release/vin-native.node'))

describe.runIf(built)('the packed package', () => {
  let folder: string, installed: string
  const dependencies = Object.keys((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }).dependencies)

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vin-pack-'))
    const npm = process.env['npm_execpath']
    const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder]
    const output = npm?.endsWith('.js') ? execFileSync(process.execPath, [npm, ...args], { cwd: root, stdio: 'pipe' }) : execFileSync('npm', args, { cwd: root, stdio: 'pipe' })
    const [{ filename }] = JSON.parse(String(output)) as [{ filename: string }]
    const modules = join(folder, 'node_modules')
    mkdirSync(modules)
    execFileSync('tar', ['-xzf', join(folder, filename), '-C', modules])
    installed = join(modules, 'vin-native')
    execFileSync('mv', [join(modules, 'package'), installed])
    // What npm would install beside it, from this checkout.
    for (const name of [...dependencies, '@types/node', 'undici-types']) {
      if (name.includes('/')) mkdirSync(join(modules, name.split('/')[0]!), { recursive: true })
      symlinkSync(join(root, 'node_modules', name), join(modules, name))
    }
    writeFileSync(join(folder, 'package.json'), '{ "name": "service", "private": true }')
  }, 120_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const prebuilds = () => join(installed, 'prebuilds', `${process.platform}-${process.arch}`)
  const withAddon = () => {
    rmSync(join(installed, 'prebuilds'), { recursive: true, force: true })
    mkdirSync(prebuilds(), { recursive: true })
    copyFileSync(join(root, 'build/Release/vin-native.node'), join(prebuilds(), 'vin-native.node'))
  }
  const withoutAddon = () => rmSync(join(installed, 'prebuilds'), { recursive: true, force: true })

  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VIN_|^npm_|^NODE_OPTIONS$|^VITEST/i.test(name)))
  const run = (name: string, source: string, env: NodeJS.ProcessEnv = {}) => {
    writeFileSync(join(folder, name), source)
    return spawnSync(process.execPath, [name], { cwd: folder, encoding: 'utf8', env: { ...clean, ...env } })
  }
  const value = ({ status, stdout, stderr }: { status: number | null; stdout: string; stderr: string }): unknown => {
    expect(stderr).toBe('')
    expect(status).toBe(0)
    return JSON.parse(stdout)
  }

  const names = ['generate', 'VideoPipeline', 'Trainer', 'VinError', 'randn', 'DDIMScheduler']
  const addonLoaded = "process.report.getReport().sharedObjects.some((file) => file.includes('vin-native'))"

  test('import and require give the same names and load no addon', () => {
    withAddon()
    const module = value(run('a.mjs', `import * as vin from 'vin-native'; console.log(JSON.stringify({ names: Object.keys(vin).sort(), loaded: ${addonLoaded} }))`))
    const required = value(run('a.cjs', `const vin = require('vin-native'); console.log(JSON.stringify({ names: Object.keys(vin).sort(), loaded: ${addonLoaded} }))`))
    expect(module).toEqual(required)
    expect(module).toMatchObject({ names: expect.arrayContaining(names), loaded: false })
  })

  test('a prebuilt addon is found from both', () => {
    withAddon()
    const body = `vin.randn({ seed: 7, shape: [2, 3] }).then(async (t) => console.log(JSON.stringify(Array.from((t.data ? t : await t.read()).data))))`
    const module = value(run('b.mjs', `import * as vin from 'vin-native'; await ${body}`))
    expect(module).toHaveLength(6)
    expect(new Set(module as number[]).size).toBe(6)
    expect(value(run('b.cjs', `const vin = require('vin-native'); ${body}`))).toEqual(module)
  })

  test('without an addon the first use says what to do', () => {
    withoutAddon()
    const result = run('c.mjs', `import { randn } from 'vin-native'; try { await randn({ seed: 7, shape: [2] }) } catch (error) { console.log(JSON.stringify({ code: error.code, message: error.message })) }`)
    expect(value(result)).toMatchObject({ code: expect.stringMatching(/^ERR_VIN_/), message: expect.stringContaining('vin-native build') })
  })

  test('VIN_NATIVE_BINDING names a file', () => {
    withoutAddon()
    const result = run('d.mjs', `import { randn } from 'vin-native'; await randn({ seed: 7, shape: [2] }); console.log(${addonLoaded})`, {
      VIN_NATIVE_BINDING: join(root, 'build/Release/vin-native.node')
    })
    expect(value(result)).toBe(true)
  })

  test('the install script is silent when a prebuilt addon fits, and never fails', () => {
    const install = (path: string) => spawnSync(process.execPath, ['tools/install.cjs'], { cwd: installed, encoding: 'utf8', env: { ...clean, PATH: path } })
    withAddon()
    expect(install('')).toMatchObject({ status: 0, stdout: '', stderr: '' })
    withoutAddon()
    const { status, stdout, stderr } = install('')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout.trimEnd().split('\n')).toEqual([expect.stringContaining('npx vin-native build')])
  })

  test('types resolve from ESM and from CommonJS', () => {
    const source = `import { generate, VideoPipeline, VinError } from 'vin-native'\nexport const job = generate({ prompt: 'a shape moves', seed: 7 })\nexport type Pipeline = VideoPipeline\nexport const error: typeof VinError = VinError\n// @ts-expect-error numFrames is a number\ngenerate({ prompt: '', numFrames: '7' })\n`
    for (const name of ['types.mts', 'types.cts']) writeFileSync(join(folder, name), source)
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const { status, stdout } = spawnSync(
      process.execPath,
      [tsc, '--noEmit', '--strict', '--module', 'node16', '--target', 'es2022', '--lib', 'es2023,esnext.disposable', '--skipLibCheck', 'types.mts', 'types.cts'],
      { cwd: folder, encoding: 'utf8' }
    )
    expect(stdout).toBe('')
    expect(status).toBe(0)
  })

  test('the command answers --help', () => {
    const { status, stdout } = spawnSync(process.execPath, [join(installed, 'dist/esm/cli/index.js'), '--help'], { encoding: 'utf8', env: clean })
    expect(stdout).toContain('generate')
    expect(status).toBe(0)
  })

  test('holds the sources of a later build and nothing of the workshop', () => {
    for (const path of ['binding.gyp', 'csrc/ops.def', 'cuda/CMakeLists.txt', 'cuda/package.json', 'tools/sources.cjs']) expect(existsSync(join(installed, path)), path).toBe(true)
    expect(readdirSync(installed).filter((name) => /^(test|lib|node_modules|build|build-ts|build-backends|\.ci)$/.test(name))).toEqual([])
  })
})
