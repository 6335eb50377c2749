// Finding the addon, in child processes with an installed copy of the package that has a prebuilt addon and no build/.
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../support/addon.js'

const tuple = `${process.platform}-${process.arch}`
let folder: string, installed: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vin-load-'))
  installed = join(folder, 'node_modules', 'vin-native')
  mkdirSync(join(installed, 'prebuilds', tuple), { recursive: true })
  for (const name of ['package.json', 'dist']) cpSync(join(root, name), join(installed, name), { recursive: true })
  symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'))
  copyFileSync(join(root, 'build/Release/vin-native.node'), join(installed, 'prebuilds', tuple, 'vin-native.node'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VIN_|^npm_|^NODE_OPTIONS$|^VITEST/i.test(name)))

/** Runs a program that sees the package as `vin`; `answer` is the JSON that it prints. */
function run(body: string, flags: string[] = []): { answer: unknown; stderr: string } {
  const file = join(folder, 'program.mjs')
  const entry = pathToFileURL(join(installed, 'dist/esm/index.js')).href
  writeFileSync(file, `const vin = await import(${JSON.stringify(entry)})\nconst print = (value) => console.log(JSON.stringify(value))\n${body}\n`)
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, file], { cwd: folder, encoding: 'utf8', env: clean })
  expect(status, stderr).toBe(0)
  return { answer: JSON.parse(stdout), stderr }
}

test('a prebuilt addon is found without a diagnostic report, which would look up the name of every socket', () => {
  const { answer } = run(`
const calls = []
const { getReport } = process.report
process.report.getReport = (...args) => { calls.push(process.report.excludeNetwork === true); return getReport.apply(process.report, args) }
await vin.randn({ seed: 7, shape: [2] })
const report = await vin.doctor()
print({ ok: report.ok, lookups: calls.filter((excluded) => !excluded).length })`)
  expect(answer).toEqual({ ok: true, lookups: 0 })
})
