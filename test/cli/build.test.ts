// vin-native build in an installed copy with a handful of empty sources and a stand-in for the compiler, whose linker delivers this checkout's addon.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Installed } from '../support/installed.js'
import { installSources, standInCompiler, standInObjects as objects } from '../support/stand-in.js'
import { events } from './support.js'

let installed: Installed
beforeAll(() => {
  installed = installSources()
})
afterAll(() => installed.remove())
beforeEach(() => rmSync(join(installed.root, 'build'), { recursive: true, force: true }))

const compiler = (first: string, addon?: string): string => standInCompiler(installed, first, addon)

const build = (args: string[], env: NodeJS.ProcessEnv) => installed.node([join(installed.root, 'dist/esm/cli/index.js'), 'build', ...args], { JOBS: '2', ...env })

test('compiles with visible progress, tries the addon, and the library then finds it', () => {
  const { status, stdout, stderr } = build(['--json'], { CXX: compiler('') })
  expect(stderr).toBe('')
  expect(status).toBe(0)
  const all = events(stdout)
  const file = join(installed.root, 'build', 'Release', 'vin-native.node')
  expect(all.at(-1)).toEqual({ type: 'result', file, seconds: expect.any(Number) as number, version: expect.any(String) as string, selftest: expect.stringContaining('a matrix product is exact') as string })
  const progress = all.filter(({ type }) => type === 'progress')
  expect(progress.at(-1)).toMatchObject({ stage: 'compiling', done: objects, total: objects })
  expect(progress[0]).toMatchObject({ done: 0, total: objects, detail: expect.stringMatching(/\.cpp \(.+\)$/) as string })
  expect(installed.run('const report = await vin.doctor(); print(report.checks.find(({ id }) => id === "addon"))').answer).toMatchObject({ status: 'ok', detail: expect.stringContaining(file) as string })
})

test('each file has its line on a screen without a cursor; --jobs is what the compiler gets', () => {
  const seen = join(installed.folder, 'jobs')
  const { status, stdout, stderr } = build(['--jobs', '1'], { CXX: compiler(`echo "$JOBS" > '${seen}'`) })
  expect(stdout).toMatch(/^compiled .*vin-native\.node in \d+ s; .*a matrix product is exact\n$/)
  expect(stderr).toMatch(new RegExp(`compiling 0/${objects} 0 %, csrc/.*\\.cpp`))
  expect(stderr).toContain(`compiling ${objects}/${objects} 100 %`)
  expect(readFileSync(seen, 'utf8')).toBe('1\n')
  expect(status).toBe(0)
})

test('a compiler that runs out of memory gets one file at a time', () => {
  const { status, stderr } = build([], { CXX: compiler('if [ "$JOBS" != 1 ]; then echo "c++: fatal error: Killed signal terminated program cc1plus" >&2; exit 1; fi') })
  expect(stderr).toContain('warning: the compiler ran out of memory; once more with one file at a time')
  expect(status).toBe(0)
})

describe('says what is wrong', () => {
  test('each program that is missing, with what to install, and nothing is written', () => {
    const { status, stdout, stderr } = build([], { PATH: '', CXX: '', PYTHON: '' })
    expect(stderr).toMatch(/^vin-native: Expected a compiler, make and Python 3 to compile the addon but found no g\+\+ and no make and no python3 on PATH\. Debian, Ubuntu: apt-get install g\+\+ make python3 /)
    expect({ status, stdout }).toEqual({ status: 4, stdout: '' })
    expect(existsSync(join(installed.root, 'build'))).toBe(false)
  })

  test('the first error of the compiler, and where the rest is', () => {
    const log = join(installed.root, 'build', 'build.log')
    const { status, stderr } = build([], { CXX: compiler('echo "csrc/ops/ops.cpp:3:1: error: no such luck" >&2; exit 1') })
    expect(stderr).toContain(`vin-native: Expected the addon to compile but it did not: csrc/ops/ops.cpp:3:1: error: no such luck; the whole output is in ${log}`)
    expect(readFileSync(log, 'utf8')).toContain('no such luck')
    expect(status).toBe(4)
  })

  test('an addon that does not load', () => {
    const nothing = join(installed.folder, 'nothing.node')
    writeFileSync(nothing, 'not an addon')
    const { status, stderr } = build([], { CXX: compiler('', nothing) })
    expect(stderr).toMatch(/Expected the compiled addon to work but addon is broken: .*vin-native\.node/s)
    expect(status).toBe(4)
  })

  test('--jobs', () => {
    const { status, stderr } = build(['--jobs', '0'], {})
    expect(stderr).toBe('vin-native: Expected an integer from 1 to 999 for --jobs but received "0"\n')
    expect(status).toBe(2)
  })
})
