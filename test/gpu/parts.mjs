// What `npm run test:gpu` runs, in order of value. Each part is a program of its own with a time limit of its own.
import { readFileSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { which } from '../../tools/toolchain.cjs'
import { worksOf } from './works.mjs'

const here = import.meta.dirname

const testsBelow = (root, folder) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length + 1))
    .sort()

/** Files whose tests run on every device: those that take them from support/devices.ts, or from what does. */
const takesDevices = (root) => (file) => /support\/devices\.js'|from '\.\/test-op\.js'/.test(readFileSync(join(root, file), 'utf8'))

/** A test's name, where its device is the plug-in that VIN_GPU_BACKEND names. */
const named = '\\bcuda\\b(?!-)'

/** Tests of the tree as they are, those alone that name the device. */
function vitest(name, seconds, { root, rehearse }, folders, few) {
  const files = folders.flatMap((folder) => testsBelow(root, folder)).filter(takesDevices(root))
  const chosen = rehearse ? files.filter((file) => few.files.test(file)) : files
  return {
    name, seconds, stall: rehearse ? 120 : 60, tests: true,
    command: (job) => {
      const left = chosen.filter((file) => !job.done.includes(file))
      if (left.length === 0) return undefined
      const args = [
        join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--project', 'unit', `--reporter=${join(here, 'reporter.mjs')}`,
        '-t', rehearse ? few.names.replace('DEVICE', named) : named, ...left
      ]
      return { command: process.execPath, args, env: { ...process.env, NO_COLOR: '1', VIN_TEST_WORKERS: String(Math.max(2, Math.min(4, Math.floor(availableParallelism() / 4)))), VIN_GPU_JOB: JSON.stringify(job), VIN_GPU_BACKEND: job.plugin } }
    }
  }
}

const program = (name, seconds, stall, file, { before = [], command = process.execPath, more = {}, read } = {}) => ({
  name, seconds, stall, read,
  command: (job) => {
    const [first, ...args] = [...before, command, join(here, file)]
    return { command: first, args, env: { ...process.env, VIN_GPU_JOB: JSON.stringify({ ...job, ...more }) } }
  }
})

const tools = ['memcheck', 'racecheck', 'initcheck', 'synccheck']

/** What compute-sanitizer has found: how much, and in which kernels. */
export function readSanitizer(output, complete) {
  const summary = /={9} (?:ERROR SUMMARY: (\d+) errors?|RACECHECK SUMMARY: (\d+) hazards?)/.exec(output)
  if (summary === null) return !complete ? undefined : { reason: `compute-sanitizer gave no summary: ${output.trim().split('\n').slice(-3).join(' | ')}` }
  const found = Number(summary[1] ?? summary[2])
  const kernels = [...new Set([...output.matchAll(/\b(\w+_kernel)\b/g)].map(([, kernel]) => kernel))]
  return found === 0 ? undefined : { reason: `${found} reports${kernels.length > 0 ? `, in ${kernels.join(', ')}` : ''}` }
}

/** context: { root, rehearse, python } */
export function partsOf(context) {
  const parts = listOf(context)
  // An emulator on a busy machine is no measure of a GPU.
  return context.rehearse ? parts.map((part) => ({ ...part, seconds: 4 * part.seconds })) : parts
}

function listOf(context) {
  const { rehearse, python } = context
  const pause = rehearse ? 60 : 30
  const sanitizer = which('compute-sanitizer') ?? '/usr/local/cuda/bin/compute-sanitizer'
  const works = worksOf(rehearse ? 'small' : 'full').map(({ name, op, in: inputs, out, scalars }) => ({ name, op, in: inputs, out, scalars }))
  return [
    program('device', 40, 40, 'device.mjs'),
    program('choose', 40, 40, 'choose.mjs'),
    vitest('ops', 90, context, ['test/ops'], { files: /\/(gelu|linear)\.test/, names: 'DEVICE' }),
    program('large', 80, pause, 'large.mjs'),
    vitest('models', 120, context, ['test/models'], { files: /models\/(components|evaluation)/, names: '(T5|factorised).*DEVICE' }),
    vitest('training', 120, context, ['test/training'], { files: /trainer\.test/, names: 'factorised.*DEVICE.*context weight 1' }),
    vitest('generate', 90, context, ['test/pipeline', 'test/cuda'], { files: /pipeline\/generate/, names: 'factorised.*DEVICE.*mid fusion' }),
    program('throughput', 90, pause, 'throughput.mjs'),
    program('pytorch', 100, 90, 'peer.py', { command: python, more: { works } }),
    ...tools.map((tool) => program(tool, 60, 40, 'kernels.mjs', { before: [sanitizer, '--tool', tool, '--error-exitcode', '9', '--print-limit', '20'], read: readSanitizer }))
  ]
}
