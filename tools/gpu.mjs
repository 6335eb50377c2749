// npm run test:gpu: runs test/gpu on this machine's GPU, with the plug-in that build:cuda has made, else one that this machine's nvcc makes for its GPU. Needs
// nothing from npm but a built addon, so that it runs where no package registry can be reached. VIN_SANITIZE=1 runs the tests under compute-sanitizer too.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { buildCuda, stage } from './cuda.mjs'
import { isMain, root, which } from './stamp.mjs'

function call(command, args, options = {}) {
  const { status, error, stdout } = spawnSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['inherit', options.read ? 'pipe' : 'inherit', 'inherit'], env: { ...process.env, ...options.env } })
  if (error !== undefined) throw new Error(`Expected ${command} on PATH but it cannot be run: ${error.message}`)
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`)
  return stdout
}

export async function testGPU() {
  const [gpu] = call('nvidia-smi', ['--query-gpu=name,driver_version,compute_cap', '--format=csv,noheader'], { read: true }).split('\n')
  console.log(`${gpu}, ${new Date().toISOString().slice(0, 10)}`)
  const plugin = join(stage, 'cuda13', 'libvin_cuda.so')
  if (!existsSync(plugin)) {
    process.env.CUDACXX ??= which('nvcc')
    const capability = gpu.split(',').at(-1).trim().replace('.', '')
    await buildCuda({ toolkits: ['13'], architectures: [capability === '90' ? '90a' : capability] })
  }
  const tests = readdirSync(join(root, 'test', 'gpu')).filter((name) => name.endsWith('.test.mjs')).map((name) => join(root, 'test', 'gpu', name))
  const env = { VIN_GPU_BACKEND: plugin }
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
    await testGPU()
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
