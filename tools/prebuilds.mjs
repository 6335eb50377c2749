// Writes prebuilds/ with prebuildify. It builds in a copy of the sources, because prebuildify starts with `node-gyp rebuild`, which empties build/.
// The CUDA plug-ins that npm run build:cuda has put under build-backends/stage are taken along.
import { cpSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { stage, stageProblem } from './cuda.mjs'
import { run } from './run.mjs'
import { root, say } from './stamp.mjs'
import { buildEnvironment } from './toolchain.cjs'

const tree = join(root, 'build-backends', 'prebuild-tree')
rmSync(tree, { recursive: true, force: true })
mkdirSync(tree, { recursive: true })
for (const name of ['package.json', 'binding.gyp', 'csrc', 'tools']) cpSync(join(root, name), join(tree, name), { recursive: true })
symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))

const args = ['--napi', '--strip', '--tag-libc', '--name', 'vin-native', '-t', process.versions.node, '--out', root]
// prebuildify adds to a folder: a plug-in of an earlier call would stay.
rmSync(join(root, 'prebuilds', `${process.platform}-${process.arch}`), { recursive: true, force: true })
const problem = stageProblem()
if (problem === undefined) args.push('--artifacts', dirname(stage))
else say(`no CUDA plug-ins in prebuilds/: ${problem}`)
say(`compiling prebuilds/ with ${args.join(' ')} …`)
const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js')
const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js')
process.exitCode = await run(process.execPath, [prebuildify, '--node-gyp', nodeGyp, ...args], { cwd: tree, env: buildEnvironment() })
if (process.exitCode === 0) rmSync(tree, { recursive: true, force: true })
