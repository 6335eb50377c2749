// Writes prebuilds/ with prebuildify. It builds in a copy of the sources, because prebuildify starts with `node-gyp rebuild`, which empties build/.
// CUDA plug-ins that lie under build-backends/stage are taken along.
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { run } from './run.mjs'
import { root, say } from './stamp.mjs'
import { buildEnvironment } from './toolchain.cjs'

const tree = join(root, 'build-backends', 'prebuild-tree')
rmSync(tree, { recursive: true, force: true })
mkdirSync(tree, { recursive: true })
for (const name of ['package.json', 'binding.gyp', 'csrc', 'tools']) cpSync(join(root, name), join(tree, name), { recursive: true })
symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))

const stage = join(root, 'build-backends', 'stage')
const args = ['--napi', '--strip', '--tag-libc', '--name', 'vin-native', '-t', process.versions.node, '--out', root]
if (existsSync(stage)) args.push('--artifacts', stage)
say(`compiling prebuilds/ with ${args.join(' ')} …`)
const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js')
const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js')
process.exitCode = await run(process.execPath, [prebuildify, '--node-gyp', nodeGyp, ...args], { cwd: tree, env: buildEnvironment() })
if (process.exitCode === 0) rmSync(tree, { recursive: true, force: true })
