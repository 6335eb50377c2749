// Builds the host-emulated CUDA plug-in, build-backends/emu/libvin_cuda.so, from cuda/ with CMake and the C++ compiler alone.
import { copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, renameSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { run } from './run.mjs'
import { isMain, root as here } from './stamp.mjs'
import { buildEnvironment } from './toolchain.cjs'

/** Whether CMake configured `tree` for `source`. A tree that was copied or moved with its folder goes on building the folder that it was made for. */
function isTreeOf(tree, source) {
  const cache = readFileSync(join(tree, 'CMakeCache.txt'), 'utf8')
  const recorded = (name) => new RegExp(`^${name}:INTERNAL=(.*)$`, 'm').exec(cache)?.[1]
  const same = (name, path) => existsSync(recorded(name) ?? '') && realpathSync(recorded(name)) === realpathSync(path)
  return same('CMAKE_HOME_DIRECTORY', source) && same('CMAKE_CACHEFILE_DIR', tree)
}

/** Of the repository `root` (another one in tests). */
export async function buildEmulated(root = here) {
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
  const tree = join(root, 'build-backends', 'emu-tree')
  const source = join(root, 'cuda')
  if (existsSync(join(tree, 'CMakeCache.txt')) && !isTreeOf(tree, source)) rmSync(tree, { recursive: true })
  const env = buildEnvironment()
  const args = ['compile', '--log-level', 'warn', '-d', source, '-O', tree, '--CDVIN_TOOLKIT=emu', '--parallel', env.JOBS]
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
