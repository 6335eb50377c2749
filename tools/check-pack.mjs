// Reads the report of `npm pack --json` and fails when a file that programs need is missing, one that they do not need is there, or the tarball is too large.
import { readFileSync } from 'node:fs'
import { say } from './stamp.mjs'

const needed = [
  'LICENSE', 'THIRD_PARTY.md', 'README.md', 'package.json', 'binding.gyp', 'csrc/backend.h', 'csrc/ops.def', 'csrc/exports.map', 'cuda/package.json', 'cuda/CMakeLists.txt',
  'tools/install.cjs', 'tools/sources.cjs', 'tools/node-gyp.mjs', 'dist/esm/index.js', 'dist/esm/index.d.ts', 'dist/cjs/index.js', 'dist/cjs/index.d.ts',
  'dist/cjs/package.json', 'dist/esm/cli/index.js', 'models/demo/model_index.json', 'models/demo/transformer/', 'models/demo/vae/', 'prebuilds/README.md', `prebuilds/${process.platform}-${process.arch}/`,
  ...(process.platform === 'linux' && process.arch === 'x64' ? ['manifest.json', 'cuda12/libvin_cuda.so', 'cuda13/libvin_cuda.so'].map((name) => `prebuilds/linux-x64/backends/${name}`) : [])
]
// Of models/demo its data alone.
const unwanted = /^(test|lib|node_modules|build|build-ts|build-backends|\.ci|\.github)\/|\.tsbuildinfo$|\.test\.|^models\/.*\.[cm]?[jt]s$|^dist\/.*\/demo[./]|^prebuilds\/.*\/emu\//
const limit = 100e6  // bytes packed: the registry refuses packages of about twice that

const [{ files, size }] = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const paths = files.map(({ path }) => path)
const problems = [
  ...needed.filter((name) => !paths.some((path) => (name.endsWith('/') ? path.startsWith(name) : path === name))).map((name) => `${name} is missing`),
  ...paths.filter((path) => unwanted.test(path)).map((path) => `${path} does not belong there`),
  ...(size > limit ? [`the tarball has ${size} bytes, the limit is ${limit}`] : [])
]
for (const problem of problems) console.error(`vin-native: package: ${problem}`)
say(`package: ${paths.length} files, ${(size / 1e6).toFixed(1)} MB packed`)
process.exitCode = problems.length > 0 ? 1 : 0
