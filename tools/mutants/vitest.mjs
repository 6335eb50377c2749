// Runs test files of a folder and tells what each test said.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Resolves with `[{ name, file, passed, message }]`, one per test that ran, `problem` if there is no report, and the output. */
export async function runTests(root, files, { env = {}, bail = false } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'vin-tests-'))
  try {
    const report = join(folder, 'report.json')
    // Ten minutes a test and three tries: on a busy machine too, a test fails for what it found and not for the time it took.
    const patience = ['--testTimeout=600000', '--hookTimeout=600000', '--retry=2']
    const args = ['run', '--project', 'unit', '--reporter=json', `--outputFile=${report}`, ...patience, ...(bail ? ['--bail=1'] : []), ...files]
    // As from a shell, also when a test started this process.
    const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VITEST|^VIN_|^(TEST|NODE_ENV|NODE_OPTIONS)$/.test(name)))
    const output = await new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], { cwd: root, env: { ...clean, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
      let text = ''
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (text += part))
      child.on('error', reject).on('close', () => resolve(text))
    })
    if (!existsSync(report)) return { tests: [], problem: `vitest wrote no report:\n${output}` }
    const { testResults } = JSON.parse(readFileSync(report, 'utf8'))
    const tests = testResults.flatMap(({ name: file, assertionResults }) =>
      assertionResults
        .filter(({ status }) => status === 'passed' || status === 'failed')
        .map(({ fullName, status, failureMessages: [text = ''] }) => {
          return { name: fullName, file, passed: status === 'passed', message: text.split('\n')[0].replace(/^AssertionError: /, '').slice(0, 120) }
        })
    )
    // A file that cannot be loaded has a message and no tests.
    const broken = testResults.find(({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'))
    return broken ? { tests, problem: `${broken.name}: ${broken.message}` } : { tests }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
