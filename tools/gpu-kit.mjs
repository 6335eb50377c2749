// The kit of `npm run test:gpu`: one file with all that a machine without a compiler and a registry lacks beside the tracked files. Packed there where addon and plug-in were
// built; unpacked where it is found and packages are missing.
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib'
import { root, say } from './stamp.mjs'
import { which } from './toolchain.cjs'

export const kitFile = join('build-backends', 'gpu-kit.tar.br')

/** Tests need these two beside the package's own dependencies. */
const testing = ['vitest', 'fast-check']
/** No test that runs there needs these, and they are large: style sheets, and videos without ffmpeg. */
const leftOut = ['lightningcss', 'h264-mp4-encoder']

/** Folders of packages and of what they depend on, as npm has put them. */
function packagesBelow(names) {
  const found = new Set()
  const visit = (name, from, required) => {
    if (leftOut.includes(name) || name.startsWith('@types/')) return
    for (let folder = from; ; folder = dirname(folder)) {
      const path = join(folder, 'node_modules', name)
      if (existsSync(join(root, path, 'package.json'))) {
        if (found.has(path)) return
        found.add(path)
        const { dependencies = {}, optionalDependencies = {} } = JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8'))
        for (const each of Object.keys({ ...dependencies, ...optionalDependencies })) visit(each, path, !(each in optionalDependencies))
        return
      }
      if (folder === '.') break
    }
    if (required) throw new Error(`Expected the package ${name} in node_modules, for the tests, but it is not there: npm ci`)
  }
  for (const name of names) visit(name, '.', true)
  return [...found].sort()
}

/** Of what travels, sources of other forms and descriptions stay. */
const isNeeded = (path) => !/\.(map|md|d\.[cm]?ts)$/.test(path)

export function packKit({ rehearse = false, out = join(root, kitFile) }) {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const plugins = rehearse ? join('build-backends', 'emu') : join('build-backends', 'stage')
  for (const [path, advice] of [['build/Release/vin-native.node', 'npm run build'], ['dist/esm', 'npm run build'], [plugins, rehearse ? 'npm run build:emu' : 'npm run build:cuda']]) {
    if (!existsSync(join(root, path))) throw new Error(`Expected ${path} but it is not there: ${advice}`)
  }
  const folder = mkdtempSync(join(tmpdir(), 'vin-kit-'))
  try {
    for (const path of packagesBelow([...testing, ...Object.keys(dependencies).filter((name) => !leftOut.includes(name))])) {
      // Packages inside of it are packages by themselves.
      cpSync(join(root, path), join(folder, path), { recursive: true, dereference: true, filter: (source) => isNeeded(source) && !source.slice(join(root, path).length).startsWith('/node_modules') })
    }
    cpSync(join(root, plugins), join(folder, plugins), { recursive: true })
    cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true, filter: isNeeded })
    const addon = join('build', 'Release', 'vin-native.node')
    mkdirSync(dirname(join(folder, addon)), { recursive: true })
    copyFileSync(join(root, addon), join(folder, addon))
    if (which('strip') !== undefined) spawnSync('strip', [join(folder, addon)])
    const git = (...args) => spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout?.trim() ?? ''
    const note = { commit: `${git('rev-parse', '--short', 'HEAD') || 'unknown'}${git('status', '--porcelain') === '' ? '' : ' with changes'}`, node: process.version, packed: new Date().toISOString() }
    writeFileSync(join(folder, 'build-backends', 'gpu-kit.json'), `${JSON.stringify(note)}\n`)
    const tar = execFileSync('tar', ['-cf', '-', '--owner=0', '--group=0', ...readdirSync(folder)], { cwd: folder, maxBuffer: 1 << 30 })
    const packed = brotliCompressSync(tar, { params: { [constants.BROTLI_PARAM_QUALITY]: rehearse ? 1 : 5, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: tar.length } })
    writeFileSync(`${out}.new`, packed)
    renameSync(`${out}.new`, out)
    const tracked = git('ls-files', '-z').split('\0').filter((path) => path !== '' && existsSync(join(root, path))).reduce((sum, path) => sum + statSync(join(root, path)).size, 0)
    const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`
    say(`${out}: ${megabytes(packed.length)} (${megabytes(tar.length)} unpacked); the tracked files beside it: ${megabytes(tracked)}. There: node tools/gpu.mjs`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export function unpackKit() {
  const file = join(root, kitFile)
  if (existsSync(join(root, testing.map((name) => `node_modules/${name}/package.json`)[0])) || !existsSync(file)) return
  say(`unpacking ${kitFile} …`)
  const { status, error, stderr } = spawnSync('tar', ['-xf', '-', '--no-same-owner'], { cwd: root, input: brotliDecompressSync(readFileSync(file)), encoding: 'utf8', maxBuffer: 1 << 26 })
  if (error !== undefined || status !== 0) throw new Error(`Expected tar to unpack ${kitFile} but ${error?.message ?? stderr.trim()}`)
}
