// From a fresh clone to the real command, with nothing but node: installs, compiles what changed, starts it. Used by the scripts of package.json:
//   start [prompt] [options] · test [vitest options] · test:long · bench [options] · build · run FILE [arguments]
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { benchHelp, readBenchArguments } from './bench.mjs'
import { withLock } from './lock.mjs'
import { run } from './run.mjs'
import { fingerprint, root, say, step, which } from './stamp.mjs'
import { howToInstall, missingPrograms } from './toolchain.cjs'

const demoPrompt = 'a large red circle and a small blue square bounce over the meadow'

class Stop extends Error {}

const must = (code, text) => {
  if (code !== 0) throw new Stop(`${text} (exit code ${code})`)
}

// ---- packages ----

/** True when node_modules holds what package-lock.json asks for. npm keeps its own record of what it installed. */
function isInstalled() {
  const record = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(record)) return false
  const asked = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
  const found = JSON.parse(readFileSync(record, 'utf8')).packages
  return Object.entries(asked).every(
    ([path, { version, optional, devOptional, peer }]) => path === '' || (found[path] ? found[path].version === version : optional || devOptional || peer)
  )
}

async function install() {
  say('installing packages (npm ci) …')
  const npm = process.env.npm_execpath
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund']
  const code = npm && /\.c?js$/.test(npm) ? await run(process.execPath, [npm, ...args], { cwd: root }) : await run('npm', args, { cwd: root })
  must(code, 'npm ci failed: see its message above; the first start needs the package registry')
}

// ---- compiling ----

const compilers = () => [process.env.CXX ?? 'c++', process.env.CC ?? 'cc']
const toolchain = () => [process.version, process.arch, ...compilers().map(fingerprint), process.env.CXXFLAGS ?? '']

function requireCompiler() {
  const missing = missingPrograms()
  if (missing.length > 0) throw new Stop(`The addon cannot be compiled because ${missing.join(' and ')} was not found on PATH. ${howToInstall(missing)}`)
}

const native = step({
  inputs: ['binding.gyp', 'csrc', 'tools/sources.cjs', 'tools/node-gyp.mjs', 'tools/toolchain.cjs'],
  extra: toolchain,
  outputs: ['build/Release/vin-native.node'],
  stamp: 'build/stamp',
  async run() {
    requireCompiler()
    say('compiling the addon (build/Release/vin-native.node); the first time takes some minutes …')
    const { nodeGyp } = await import('./node-gyp.mjs')
    must(await nodeGyp(['configure', 'build', '--loglevel=error']), 'Compiling the addon failed: see the first error above')
  }
})

const typeScript = step({
  inputs: ['lib', 'models/demo/recipe', 'models/demo/evaluation', 'package.json', 'tsconfig.json', 'tsconfig.esm.json', 'tsconfig.cjs.json', 'tsconfig.demo.json', 'package-lock.json', 'tools/typescript.mjs'],
  outputs: ['dist/esm/index.js', 'dist/cjs/index.js', 'build-ts/demo/recipe/train.js', 'build-ts/demo/evaluation/evaluate.js'],
  stamp: 'build-ts/stamp',
  async run() {
    say('compiling TypeScript (dist/) …')
    const { buildTypeScript } = await import('./typescript.mjs')
    must(await buildTypeScript(), 'Compiling TypeScript failed: see the errors above')
  }
})

const emulated = step({
  inputs: ['cuda', 'csrc/backend.h', 'csrc/ops.def', 'csrc/core/glibc.cpp', 'tools/emu.mjs'],
  extra: toolchain,
  outputs: ['build-backends/emu/libvin_cuda.so'],
  stamp: 'build-backends/emu/stamp',
  async run() {
    say('compiling the emulated CUDA backend (build-backends/emu/libvin_cuda.so) …')
    const { buildEmulated } = await import('./emu.mjs')
    must(await buildEmulated(), 'Compiling the emulated CUDA backend failed: see the first error above')
  }
})

/** Does what is needed, alone; without need it takes no lock. */
async function prepare(steps) {
  if (isInstalled() && steps.every((each) => each.fresh())) return
  const wait = (id) => say(`waiting for another build of this folder (process ${id}) …`)
  await withLock(
    join(root, '.vin-native.lock'),
    async () => {
      const start = Date.now()
      if (!isInstalled()) await install()
      for (const each of steps) await each.build()
      say(`ready after ${((Date.now() - start) / 1000).toFixed(1)} s`)
    },
    wait
  )
}

// ---- commands ----

const node = (file, args, options) => run(process.execPath, [file, ...args], options)

/** The person's own folder: npm runs scripts in the folder of package.json. */
const callersFolder = process.env.INIT_CWD ?? process.cwd()

async function start(args) {
  await prepare([native, typeScript])
  const prompt = args[0] !== undefined && !args[0].startsWith('-') ? [] : [demoPrompt]
  const output = args.some((arg) => /^(-o|--out(put)?(=|$))/.test(arg)) ? [] : ['-o', 'vin-demo.mp4']
  const frames = args.some((arg) => /^--(num-)?frames(=|$)/.test(arg)) ? [] : ['--frames', '256']
  return node(join(root, 'dist/esm/cli/index.js'), ['generate', ...prompt, ...args, ...frames, ...output], { cwd: callersFolder })
}

const vitest = (project, args, env = process.env) => node(join(root, 'node_modules/vitest/vitest.mjs'), ['run', '--project', project, ...args], { cwd: root, env })

async function tests(project, args) {
  const hasCMake = process.arch === 'x64' && which('cmake') !== undefined
  await prepare(hasCMake ? [native, typeScript, emulated] : [native, typeScript])
  const code = await vitest(project, args)
  if (!hasCMake) say('The tests of the emulated CUDA backend did not run: they need x86-64 and CMake (Debian, Ubuntu: apt-get install cmake)')
  return code
}

async function bench(args) {
  const { help, settings, rest } = readBenchArguments(args)
  if (help) {
    console.log(benchHelp)
    return 0
  }
  // A name is looked up on PATH, a path is the caller's.
  if (settings.python?.includes('/')) settings.python = resolve(callersFolder, settings.python)
  await prepare([native, typeScript])
  return vitest('bench', ['--reporter=verbose', ...rest], { ...process.env, VIN_BENCH: JSON.stringify(settings) })
}

const commands = {
  start,
  test: (args) => tests('unit', args),
  'test:long': (args) => tests('long', args),
  bench,
  build: async () => {
    await prepare([native, typeScript])
    return 0
  },
  run: async ([file, ...args]) => {
    await prepare([native, typeScript])
    return node(join(root, file), args, { cwd: callersFolder })
  }
}

const [name, ...args] = process.argv.slice(2)
try {
  if (Number(process.versions.node.split('.')[0]) < 20) throw new Stop(`vin-native needs Node 20 or later, this is ${process.version}`)
  if (!Object.hasOwn(commands, name ?? '')) throw new Stop(`Expected one of ${Object.keys(commands).join(', ')} but received ${name}`)
  process.exitCode = await commands[name](args)
} catch (error) {
  if (!(error instanceof Stop || error instanceof RangeError)) throw error
  console.error(`vin-native: ${error.message}`)
  process.exitCode = 1
}
