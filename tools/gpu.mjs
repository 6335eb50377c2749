// npm run test:gpu: builds the CUDA plug-in with the nvcc and cmake of this machine and runs test/gpu on its GPU. Needs nothing from npm but a built addon, so
// that it runs where no package registry can be reached. VIN_SANITIZE=1 runs the tests under compute-sanitizer too.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isMain, root } from './stamp.mjs'

const tree = join(root, 'build-backends', 'gpu-tree')

function call(command, args, options = {}) {
  const { status, error, stdout } = spawnSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['inherit', options.read ? 'pipe' : 'inherit', 'inherit'], env: { ...process.env, ...options.env } })
  if (error !== undefined) throw new Error(`Expected ${command} on PATH but it cannot be run: ${error.message}`)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`)
  return stdout
}

export function testGPU() {
  const nvcc = process.env.CUDACXX ?? 'nvcc'
  const version = call(nvcc, ['--version'], { read: true })
  const toolkit = /release (\d+)\.(\d+)/.exec(version)
  if (toolkit === null) throw new Error(`Expected a release in what ${nvcc} --version prints but received ${version.trim()}`)
  const [gpu] = call('nvidia-smi', ['--query-gpu=name,driver_version,compute_cap', '--format=csv,noheader'], { read: true }).split('\n')
  console.log(`${gpu}, CUDA ${toolkit[1]}.${toolkit[2]}, ${new Date().toISOString().slice(0, 10)}`)
  call('cmake', ['-S', join(root, 'cuda'), '-B', tree, `-DVIN_TOOLKIT=${toolkit[1]}`])
  call('cmake', ['--build', tree, '--parallel'])
  const tests = readdirSync(join(root, 'test', 'gpu')).filter((name) => name.endsWith('.test.mjs')).map((name) => join(root, 'test', 'gpu', name))
  const env = { VIN_GPU_BACKEND: join(tree, 'libvin_cuda.so') }
  call(process.execPath, ['--test', '--test-reporter=spec', ...tests], { env })
  if (process.env.VIN_SANITIZE) {
    for (const tool of ['memcheck', 'initcheck', 'racecheck', 'synccheck']) {
      console.log(`compute-sanitizer ${tool}`)
      // A test file by itself is a program: no child processes, whose errors the sanitizer would have to follow.
      for (const test of tests) call('compute-sanitizer', ['--tool', tool, '--error-exitcode', '9', process.execPath, test], { env })
    }
  }
}

if (isMain(import.meta.url)) {
  try {
    testGPU()
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
