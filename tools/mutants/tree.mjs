// Plants the faults of list.mjs one at a time in a copy of this folder, builds what depends on the file, and runs the tests of its area.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withLock } from '../lock.mjs'
import { run } from '../run.mjs'
import { root, say, which } from '../stamp.mjs'
import { mutants } from './list.mjs'
import { runTests } from './vitest.mjs'

/** The tools that compile a mutant for the tests that see it. Tests import lib/ as it is, but for what runs in a process or thread of its own. */
function buildersOf({ file, dist = false }) {
  if (file.startsWith('csrc/')) return [['node-gyp.mjs', 'build', '--loglevel=error']]
  if (file.startsWith('cuda/')) return [['emu.mjs']]
  return dist ? [['typescript.mjs']] : []
}

/** The sources as they are here, committed or not, with times, so that builds go on from those of this folder. */
async function copyTree(to) {
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean)
  const copy = (path) => cpSync(join(root, path), join(to, path), { recursive: true, preserveTimestamps: true })
  for (const file of files) if (existsSync(join(root, file))) copy(file)
  symlinkSync(join(root, 'node_modules'), join(to, 'node_modules'))
  await withLock(join(root, '.vin-native.lock.gyp'), () => {
    for (const folder of ['build', 'build-ts', 'dist']) if (existsSync(join(root, folder))) copy(folder)
  })
}

/** Builds in the copy; false where something does not compile. */
async function build(tree, builders) {
  for (const [tool, ...args] of builders) if ((await run(process.execPath, [join('tools', tool), ...args], { cwd: tree, quiet: true })) !== 0) return false
  return true
}

/**
Runs the tests of a file's area with the fault in it, after building that and `stale`, what the mutant before has left. Tests that fail without a fault too, `unsound`,
do not count. 'red', or why the fault does not count as found.
*/
async function tryMutant(tree, mutant, stale, unsound) {
  const path = join(tree, mutant.file)
  const text = readFileSync(path, 'utf8')
  writeFileSync(path, text.replace(mutant.from, () => mutant.to))
  try {
    const own = buildersOf(mutant)
    if (!(await build(tree, [...stale.filter(([tool]) => !own.some(([other]) => other === tool)), ...own]))) return { verdict: 'does not compile' }
    const { tests, problem } = await runTests(tree, mutant.tests, { bail: unsound.size === 0 })
    const failed = tests.find(({ passed, name }) => !passed && !unsound.has(name))
    if (failed) return { verdict: 'red', reason: failed.name }
    return { verdict: problem ? `no test fails, but ${problem}` : tests.length > 0 ? 'green' : 'did not run' }
  } finally {
    writeFileSync(path, text)
  }
}

/** Prints a line per mutant; the exit code. */
export async function testMutants(only) {
  const chosen = only.length > 0 ? mutants.filter(({ name }) => only.includes(name)) : mutants
  const unknown = only.filter((name) => !mutants.some((mutant) => mutant.name === name))
  if (unknown.length > 0) throw new Error(`Expected names of tools/mutants/list.mjs but received ${unknown.join(', ')}`)
  if (which('cmake') === undefined && chosen.some(({ file }) => file.startsWith('cuda/'))) throw new Error('Mutants of cuda/ need CMake (Debian, Ubuntu: apt-get install cmake)')
  for (const { name, file, from } of chosen) {
    if (readFileSync(join(root, file), 'utf8').split(from).length !== 2) throw new Error(`Expected the text of ${name} once in ${file}; tools/mutants/list.mjs has to follow`)
  }
  const tree = mkdtempSync(join(tmpdir(), 'vin-mutants-'))
  try {
    await copyTree(tree)
    const needed = new Set(chosen.flatMap((mutant) => buildersOf(mutant).map(([tool]) => tool)))
    say(`building an unchanged copy in ${tree} …`)
    // Configured anew, the copy's compile commands would name its folder, and every object would be made again.
    const configured = existsSync(join(tree, 'build/Makefile'))
    const first = [['node-gyp.mjs', ...(configured ? [] : ['configure']), 'build', '--loglevel=error'], ...['typescript.mjs', 'emu.mjs'].filter((tool) => needed.has(tool)).map((tool) => [tool])]
    if (!(await build(tree, first))) throw new Error('The unchanged copy does not compile')
    const files = [...new Set(chosen.flatMap(({ tests }) => tests))]
    say(`${files.length} test files without a fault …`)
    const { tests, problem } = await runTests(tree, files)
    if (problem) throw new Error(`The tests of the unchanged copy cannot run: ${problem}`)
    const wrong = tests.filter(({ passed }) => !passed)
    for (const { name, message } of wrong) say(`fails without a fault, and does not count: ${name}: ${message}`)
    const unsound = new Set(wrong.map(({ name }) => name))

    let red = 0
    let stale = []
    for (const mutant of chosen) {
      const start = Date.now()
      const { verdict, reason = '' } = await tryMutant(tree, mutant, stale, unsound)
      stale = buildersOf(mutant)
      if (verdict === 'red') red += 1
      const seconds = String(Math.round((Date.now() - start) / 1000)).padStart(4)
      console.log(`${mutant.name.padEnd(22)} ${mutant.area.padEnd(36)} ${mutant.tests.join(' ').padEnd(40)} ${seconds} s  ${verdict}  ${reason}`.trimEnd())
    }
    console.log(`${red} of ${chosen.length} mutants in ${new Set(chosen.map(({ area }) => area)).size} areas are found${wrong.length > 0 ? `, ${wrong.length} tests fail without a fault` : ''}`)
    return red === chosen.length && wrong.length === 0 ? 0 : 1
  } finally {
    rmSync(tree, { recursive: true, force: true })
  }
}
