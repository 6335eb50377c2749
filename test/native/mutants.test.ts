// The proof that tests can fail (tools/mutants.mjs), in a form short enough to run with them: some ops on the faulty backend, how verdicts are reached, and that every
// listed source fault still has its place.
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { root } from '../support/addon.js'

interface Fault {
  fault: string
  op: string
  file: string
}
const { faultsOf, verdicts } = (await import(join(root, 'tools/mutants/ops.mjs'))) as {
  faultsOf(text: string, ops?: string[]): Fault[]
  verdicts(faults: Fault[], tests: { name: string; passed: boolean; message: string }[]): { fault: string; verdict: string; reason?: string }[]
}
const { mutants } = (await import(join(root, 'tools/mutants/list.mjs'))) as { mutants: { name: string; area: string; file: string; from: string; to: string; tests: string[] }[] }

describe('one wrong element', () => {
  test('is found in each output of an addition, a norm and a gradient', async () => {
    const ops = ['add', 'layer_norm_modulate', 'gated_residual_backward', 'to_pixels']
    const { code, output } = await new Promise<{ code: unknown; output: string }>((resolve) =>
      execFile(process.execPath, [join(root, 'tools/mutants.mjs'), '--ops', ...ops], (error, stdout, stderr) => resolve({ code: error?.code ?? 0, output: stdout + stderr }))
    )
    expect(output).toContain('6 of 6 faults in 4 ops are found')
    expect(code).toBe(0)
  }, 300_000)

  const text = 'VIN_OP(gelu, VIN_OUT(y) VIN_IN(x))\nVIN_OP(gelu_backward, VIN_OUT(dx) VIN_IN(dy))\nVIN_OP(pair, VIN_OUT(a) VIN_OUT(b) VIN_I32(n))\n'
  const passed = (name: string) => ({ name, passed: true, message: '' })
  const failed = (name: string) => ({ name, passed: false, message: 'a[3] is 2' })

  test('has a place in every output of ops.def', () => {
    expect(faultsOf(text).map(({ fault, file }) => [fault, file])).toEqual([
      ['gelu.y', 'test/ops/gelu.test.ts'], ['gelu_backward.dx', 'test/ops/gelu.test.ts'], ['pair.a', 'test/ops/pair.test.ts'], ['pair.b', 'test/ops/pair.test.ts']
    ])
    expect(faultsOf(text, ['pair'])).toHaveLength(2)
  })

  test('counts as found when a test of its op fails with it and all pass without it', () => {
    const result = verdicts(faultsOf(text, ['pair', 'gelu']), [
      passed('pair on none odd'), failed('pair on pair.a odd'), passed('pair on pair.b odd'), passed('gelu on none odd'), failed('pair on gelu.y odd')
    ])
    expect(result.map(({ fault, verdict }) => [fault, verdict])).toEqual([['gelu.y', 'did not run'], ['pair.a', 'red'], ['pair.b', 'green']])
    expect(verdicts(faultsOf(text, ['pair']), [failed('pair on none odd'), failed('pair on pair.a odd'), failed('pair on pair.b odd')]).map(({ verdict }) => verdict)).toEqual(
      ['red without a fault', 'red without a fault']
    )
  })
})

describe('source faults', () => {
  test('there are at least twenty, one for each area at least', () => {
    expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length)
    expect(new Set(mutants.map(({ area }) => area)).size).toBeGreaterThanOrEqual(20)
  })

  test.each(mutants)('$name has its place', ({ file, from, to, tests }) => {
    expect(readFileSync(join(root, file), 'utf8').split(from), `tools/mutants/list.mjs names text of ${file}`).toHaveLength(2)
    expect(to).not.toBe(from)
    for (const path of tests) expect(existsSync(join(root, path)), path).toBe(true)
  })
})
