// What keeps the sources compilable on other machines, told without one: `npm run test:arm64` compiles and runs them in an emulated linux-arm64.
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from '../support/addon.js'

interface Target {
  target_name: string
  cflags?: string[]
  xcode_settings?: { OTHER_CFLAGS?: string[] }
  conditions?: [string, Target][]
}

test('what only one processor or system has stands inside a condition that names it', () => {
  const needs: [RegExp, RegExp][] = [
    [/__builtin_ia32|__builtin_cpu_supports|immintrin|__asm__ volatile\("(pause|isb)/, /__x86_64__|__aarch64__/],
    [/\bSYS_\w+|sys\/(syscall|sysinfo)\.h|\bMADV_|\bsysinfo\(/, /__linux__|__GLIBC__/],
    [/\bsysctlbyname|pthread_threadid_np/, /./]
  ]
  const wrong: string[] = []
  let seen = 0
  for (const file of readdirSync(join(root, 'csrc'), { recursive: true, encoding: 'utf8' }).filter((name) => /\.(cpp|h)$/.test(name))) {
    const open: string[] = []
    for (const [i, line] of readFileSync(join(root, 'csrc', file), 'utf8').split('\n').entries()) {
      if (/^\s*#\s*if/.test(line)) open.push(line)
      else if (/^\s*#\s*el/.test(line)) open.push(`${open.pop()!} ${line}`)
      else if (/^\s*#\s*endif/.test(line)) open.pop()
      for (const [what, guard] of needs) {
        if (!what.test(line) || /^\s*\/\//.test(line)) continue
        seen++
        if (!open.some((condition) => guard.test(condition))) wrong.push(`${file}:${i + 1}: ${line.trim()}`)
      }
    }
  }
  expect(wrong).toEqual([])
  expect(seen).toBeGreaterThan(5)
})

test('flags of an instruction set reach Linux and macOS alike', () => {
  const text = execFileSync('python3', ['-c', 'import ast, json, sys; print(json.dumps(ast.literal_eval(sys.stdin.read())))'], { input: readFileSync(join(root, 'binding.gyp')), encoding: 'utf8' })
  const { targets, conditions } = JSON.parse(text) as { targets: Target[]; conditions: [string, { targets: Target[] }][] }
  const places = [...targets, ...conditions.flatMap(([, { targets: more }]) => more)].flatMap((target) => [target, ...(target.conditions ?? []).map(([, part]) => part)])
  const linux = places.map(({ cflags = [] }) => cflags.filter((flag) => flag.startsWith('<@')))
  expect(linux.filter((flags) => flags.length > 0)).toHaveLength(3)
  expect(places.map(({ xcode_settings: { OTHER_CFLAGS = [] } = {} }) => OTHER_CFLAGS)).toEqual(linux)
  // A bare -m flag would be one that macOS does not see.
  expect(places.flatMap(({ cflags = [] }) => cflags.filter((flag) => flag.startsWith('-m')))).toEqual([])
})
