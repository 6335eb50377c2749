// Every output of every op of ops.def, made wrong in one element by test/native/faulty_backend.cpp, has to turn tests of that op red.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../run.mjs'
import { root } from '../stamp.mjs'
import { runTests } from './vitest.mjs'

/** Faults of ops.def as `{ fault: '<op>.<output>', op, file }`. */
export function faultsOf(text, ops = []) {
  const faults = []
  for (const [, op, fields] of text.matchAll(/^VIN_OP\((\w+),(.*)\)$/gm)) {
    if (ops.length > 0 && !ops.includes(op)) continue
    const file = `test/ops/${op.replace(/_backward$/, '')}.test.ts`
    for (const [, output] of fields.matchAll(/VIN_OUT\((\w+)\)/g)) faults.push({ fault: `${op}.${output}`, op, file })
  }
  return faults
}

/** What the tests of each op said without a fault and with each: 'red', or why the fault does not count as found. */
export function verdicts(faults, tests) {
  return faults.map(({ fault, op, file }) => {
    const own = (device) => tests.filter(({ name }) => name.startsWith(`${op} on ${device} `))
    const failed = own(fault).find(({ passed }) => !passed)
    if (own('none').length === 0 || own(fault).length === 0) return { fault, file, verdict: 'did not run' }
    if (own('none').some(({ passed }) => !passed)) return { fault, file, verdict: 'red without a fault' }
    return failed ? { fault, file, verdict: 'red', reason: failed.message } : { fault, file, verdict: 'green' }
  })
}

async function buildFaultyBackend(library) {
  const release = join(root, 'build/Release')
  const kernels = existsSync(release) ? readdirSync(release).filter((name) => /^cpu-.*\.a$/.test(name)) : []
  if (kernels.length === 0) throw new Error('Expected the kernels of build/Release; `npm run build` makes them')
  // What the addon has of the CPU backend beside the kernels.
  const core = execFileSync(process.execPath, [join(root, 'tools/sources.cjs'), 'core'], { encoding: 'utf8' }).split('\n')
  const sources = ['test/native/faulty_backend.cpp', ...core.filter((file) => file.startsWith('csrc/cpu/'))]
  const flags = ['-std=c++17', '-O1', '-fPIC', '-shared', '-fvisibility=hidden', '-Wall', '-Wextra', ...(process.platform === 'linux' ? ['-Wl,-z,defs'] : [])]
  const code = await run(process.env.CXX ?? 'c++', [...flags, '-o', library, ...sources, ...kernels.map((name) => join(release, name))], { cwd: root })
  if (code !== 0) throw new Error('test/native/faulty_backend.cpp does not compile: see the first error above')
}

/** Prints a line per fault; the exit code. */
export async function testOps(ops) {
  const faults = faultsOf(readFileSync(join(root, 'csrc/ops.def'), 'utf8'), ops)
  const unknown = ops.filter((name) => !faults.some(({ op }) => op === name))
  if (unknown.length > 0) throw new Error(`Expected ops of csrc/ops.def but received ${unknown.join(', ')}`)
  const folder = mkdtempSync(join(tmpdir(), 'vin-mutants-'))
  try {
    const library = join(folder, 'libvin_faulty.so')
    await buildFaultyBackend(library)
    const files = [...new Set(faults.map(({ file }) => file))]
    const { tests, problem } = await runTests(root, files, { env: { VIN_TEST_BACKEND: library, VIN_TEST_FAULTS: faults.map(({ fault }) => fault).join() } })
    if (problem) console.error(problem)
    const results = verdicts(faults, tests)
    for (const { fault, file, verdict, reason = '' } of results) console.log(`${fault.padEnd(44)} ${file.padEnd(42)} ${verdict}  ${reason}`.trimEnd())
    const red = results.filter(({ verdict }) => verdict === 'red').length
    console.log(`${red} of ${results.length} faults in ${new Set(faults.map(({ op }) => op)).size} ops are found`)
    return !problem && red === results.length ? 0 : 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
