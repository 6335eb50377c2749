// Builds the host-emulated CUDA plug-in, build-backends/emu/libvin_cuda.so, from cuda/ with CMake and the C++ compiler alone.
import { copyFileSync, mkdirSync, renameSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { run } from './run.mjs'
import { isMain, root } from './stamp.mjs'
import { buildEnvironment } from './toolchain.cjs'

export async function buildEmulated() {
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
  const tree = join(root, 'build-backends', 'emu-tree')
  const env = buildEnvironment()
  const args = ['compile', '--log-level', 'warn', '-d', join(root, 'cuda'), '-O', tree, '--CDVIN_TOOLKIT=emu', '--parallel', env.JOBS]
  const code = await run(process.execPath, [cmakeJs, ...args], { cwd: root, env })
  if (code !== 0) return code
  const folder = join(root, 'build-backends', 'emu')
  mkdirSync(folder, { recursive: true })
  // Renamed into place: a process that has the old file mapped keeps it.
  copyFileSync(join(tree, 'libvin_cuda.so'), join(folder, 'libvin_cuda.so.new'))
  renameSync(join(folder, 'libvin_cuda.so.new'), join(folder, 'libvin_cuda.so'))
  return 0
}

if (isMain(import.meta.url)) process.exitCode = await buildEmulated()
