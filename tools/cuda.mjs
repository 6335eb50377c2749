// npm run build:cuda: the CUDA plug-ins, build-backends/stage/backends/cuda{12,13}/libvin_cuda.so and their manifest, on a machine without a GPU.
//   npm run build:cuda -- --toolkit 13 --arch 80,90a
// Each .cu file becomes one image for all architectures: CUDA 13 by nvcc, with PTX of CUDA 13.0 for GPUs to come, CUDA 12 by NVRTC. A kernel that keeps registers in
// memory, or that the source does not name, ends the build.
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs, promisify } from 'node:util'
import { fatbinary, nvcc, nvccOfPtx, nvrtc } from './cuda-toolkits.mjs'
import { run } from './run.mjs'
import { isMain, root, say } from './stamp.mjs'
import { buildEnvironment } from './toolchain.cjs'

const toolkits = {
  12: { version: '12.9', minDriver: 12000, architectures: ['70', '75', '80', '86', '89', '90a', '100', '120'], ptx: null },
  13: { version: '13.5', minDriver: 13000, architectures: ['75', '80', '86', '89', '90a', '100', '120'], ptx: { arch: '80', isa: '9.0', minDriver: 13000 } }
}

const cuda = join(root, 'cuda')
/** Where plug-ins and manifest lie. */
export const stage = join(root, 'build-backends', 'stage', 'backends')
/** As nvcc has them; NVRTC takes them with two dashes. */
const options = ['-std=c++17']
const execute = promisify(execFile)

/** Name, registers, bytes of spills and of stack of each kernel, from what ptxas says. */
export function kernelsOf(log) {
  const kernels = []
  for (const line of log.split('\n')) {
    const entry = /Compiling entry function '(\w+)'/.exec(line)
    if (entry !== null) kernels.push({ name: entry[1], registers: 0, spills: 0, stack: 0 })
    const kernel = kernels.at(-1)
    if (kernel === undefined) continue
    const stack = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line)
    if (stack !== null) Object.assign(kernel, { stack: Number(stack[1]), spills: Number(stack[2]) + Number(stack[3]) })
    const registers = /Used (\d+) registers/.exec(line)
    if (registers !== null) kernel.registers = Number(registers[1])
  }
  return kernels
}

/** Kernels that a source defines. */
export const namesOf = (text) => [...text.matchAll(/^VIN_EMULATED_KERNEL\((\w+)\)/gm)].map(([, name]) => name).sort()

/** compile(source, architecture, output) → what the compiler says. */
async function compilerOf(toolkit) {
  if (toolkit === '13') {
    const program = await nvcc()
    return {
      compile: async (source, architecture, output) => (await execute(program, ['-O3', ...options, '-cubin', `-arch=sm_${architecture}`, '-Xptxas', '-v', source, '-o', output], { maxBuffer: 1 << 26 })).stderr,
      close() {}
    }
  }
  const child = spawn('python3', [join(root, 'tools', 'nvrtc.py'), await nvrtc()], { stdio: ['pipe', 'pipe', 'inherit'] })
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  // One after another: the process compiles one at a time.
  let last = Promise.resolve()
  return {
    compile(source, architecture, output) {
      const answer = last.then(async () => {
        child.stdin.write(`${JSON.stringify({ source, architecture: `sm_${architecture}`, options: options.map((option) => `-${option}`).concat('--ptxas-options=-v'), output })}\n`)
        const { value } = await answers.next()
        const { status, log } = JSON.parse(value)
        if (status !== 0) throw new Error(`NVRTC refuses ${source} for sm_${architecture}: ${log}`)
        return log
      })
      last = answer.catch(() => {})
      return answer
    },
    close: () => child.stdin.end()
  }
}

/** Does `work` for all items, so many at once. */
async function forAll(items, jobs, work) {
  const queue = [...items]
  await Promise.all(Array.from({ length: jobs }, async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
  }))
}

/** One image file a source, and what its kernels take on each architecture. Kept while the sources are what they were. */
async function compileImages(toolkit, architectures, ptx, folder, jobs) {
  // What device code includes; the .h files are the launchers'.
  const headers = [...readdirSync(cuda).filter((name) => name.endsWith('.cuh')).sort(), '../csrc/core/philox.h']
  const shared = createHash('sha256')
  for (const name of headers) shared.update(name).update(readFileSync(join(cuda, name)))
  shared.update(JSON.stringify([options, toolkits[toolkit].version, architectures, ptx]))
  const key = shared.digest('hex')
  mkdirSync(folder, { recursive: true })
  const compiler = await compilerOf(toolkit)
  const images = []
  try {
    await forAll(readdirSync(cuda).filter((name) => name.endsWith('.cu')).sort(), jobs, async (name) => {
      const source = join(cuda, name)
      const text = readFileSync(source, 'utf8')
      const file = join(folder, `${basename(name, '.cu')}.fatbin`)
      const record = `${file}.json`
      const hash = createHash('sha256').update(key).update(text).digest('hex')
      const kept = existsSync(record) && existsSync(file) ? JSON.parse(readFileSync(record, 'utf8')) : undefined
      if (kept?.hash === hash) return void images.push({ file, ...kept })
      const parts = []
      const resources = {}
      for (const architecture of architectures) {
        const output = file.replace(/fatbin$/, `sm_${architecture}.cubin`)
        resources[architecture] = kernelsOf(await compiler.compile(source, architecture, output))
        parts.push(`--image3=kind=elf,sm=${architecture},file=${output}`)
      }
      if (ptx !== null) {
        const output = file.replace(/fatbin$/, `compute_${ptx.arch}.ptx`)
        await execute(await nvccOfPtx(), ['-O3', ...options, '-ptx', `-arch=compute_${ptx.arch}`, source, '-o', output])
        parts.push(`--image3=kind=ptx,sm=${ptx.arch},file=${output}`)
      }
      await execute(await fatbinary(), ['-64', '--compress-all', `--create=${file}`, ...parts])
      const image = { hash, kernels: namesOf(text), resources }
      writeFileSync(record, JSON.stringify(image))
      images.push({ file, ...image })
    })
  } finally {
    compiler.close()
  }
  return images.sort((a, b) => (a.file < b.file ? -1 : 1))
}

/** Throws for a kernel that the source does not name, one that is missing, and one that spills. */
export function checkKernels(images) {
  for (const { file, kernels, resources } of images) {
    for (const [architecture, compiled] of Object.entries(resources)) {
      const names = compiled.map(({ name }) => name).sort()
      if (names.join() !== kernels.join()) throw new Error(`Expected the kernels ${kernels.join(', ')} in ${file} for sm_${architecture} but found ${names.join(', ')}`)
      for (const { name, spills } of compiled) if (spills > 0) throw new Error(`Expected ${name} to keep its registers on sm_${architecture} but it spills ${spills} bytes`)
    }
  }
}

/** The images as assembly, and the table of kernels: what CMake takes. */
function writeSources(images, folder) {
  const label = ({ file }) => `vin_image_${basename(file, '.fatbin')}`
  const assembly = images.flatMap((image) => [`    .globl ${label(image)}`, `    .hidden ${label(image)}`, '    .balign 64', `${label(image)}:`, `    .incbin "${image.file}"`])
  writeFileSync(join(folder, 'images.S'), ['    .section .rodata', ...assembly, '    .section .note.GNU-stack, "", @progbits', ''].join('\n'))
  const rows = images.flatMap((image) => image.kernels.map((kernel) => `    {"${kernel}", ${label(image)}},`))
  const declarations = images.map((image) => `extern "C" const unsigned char ${label(image)}[];`)
  writeFileSync(join(folder, 'images.cpp'), ['#include "images.h"', ...declarations, 'namespace vin {', 'namespace cuda {', 'const KernelImage kernel_images[] = {', ...rows, '    {nullptr, nullptr}};', '}', '}', ''].join('\n'))
}

const hashOfFile = (path) => createHash('sha256').update(readFileSync(path)).digest('hex')

/** Builds one plug-in and returns its row of the manifest. */
async function buildPlugin(toolkit, wanted, jobs) {
  const { version, minDriver, ...all } = toolkits[toolkit]
  const architectures = wanted ?? all.architectures
  const ptx = wanted === undefined ? all.ptx : null
  const unknown = architectures.find((architecture) => !all.architectures.includes(architecture))
  if (unknown !== undefined) throw new Error(`Expected --arch of ${all.architectures.join(', ')} for CUDA ${toolkit} but received ${unknown}`)
  const tree = join(root, 'build-backends', `cuda${toolkit}-tree`)
  const folder = join(tree, 'images')
  say(`compiling kernels for CUDA ${toolkit}: ${architectures.map((name) => `sm_${name}`).join(' ')}${ptx === null ? '' : ` and PTX for sm_${ptx.arch} and later`} …`)
  const images = await compileImages(toolkit, architectures, ptx, folder, jobs)
  checkKernels(images)
  writeSources(images, folder)
  const settings = { VIN_TOOLKIT: toolkit, VIN_TOOLKIT_VERSION: version, VIN_IMAGES: folder }
  for (const args of [['-S', cuda, '-B', tree, ...Object.entries(settings).map(([name, value]) => `-D${name}=${value}`)], ['--build', tree, '--parallel', String(jobs)]]) {
    const code = await run('cmake', args, { cwd: root, quiet: true })
    if (code !== 0) throw new Error(`Expected CMake to build the plug-in for CUDA ${toolkit} but it ended with ${code}`)
  }
  const file = `cuda${toolkit}/libvin_cuda.so`
  mkdirSync(join(stage, `cuda${toolkit}`), { recursive: true })
  // Renamed into place: a process that has the old file mapped keeps it.
  copyFileSync(join(tree, 'libvin_cuda.so'), join(stage, `${file}.new`))
  renameSync(join(stage, `${file}.new`), join(stage, file))
  const kernels = images.flatMap(({ resources }) => Object.values(resources).flat())
  say(`${file}: ${images.length} images, ${images.reduce((sum, image) => sum + image.kernels.length, 0)} kernels, at most ${Math.max(...kernels.map(({ registers }) => registers))} registers, no spills, ${statSync(join(stage, file)).size} bytes`)
  return { id: `cuda${toolkit}`, file, sha256: hashOfFile(join(stage, file)), bytes: statSync(join(stage, file)).size, libc: 'glibc', toolkit: version, minDriver, sm: architectures, ptx }
}

function readManifest(folder) {
  const file = join(folder, 'manifest.json')
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
}

/** Version and ABI that this checkout's plug-ins have. */
const current = () => ({
  version: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
  abi: Number(/#define VIN_ABI (\d+)/.exec(readFileSync(join(root, 'csrc', 'backend.h'), 'utf8'))[1])
})

export function writeManifest(folder, backends) {
  const newestFirst = [...backends].sort((a, b) => (a.id > b.id ? -1 : 1))
  writeFileSync(join(folder, 'manifest.json'), `${JSON.stringify({ ...current(), backends: newestFirst }, null, 2)}\n`)
}

/** Why what is staged cannot go into a package; undefined: it can. */
export function stageProblem(folder = stage) {
  const found = readManifest(folder)
  if (found === undefined) return 'none is built; npm run build:cuda makes them'
  const { version, abi } = current()
  if (found.version !== version || found.abi !== abi) return `those built are of version ${found.version} and ABI ${found.abi}, this is ${version} and ABI ${abi}; npm run build:cuda makes new ones`
  const changed = found.backends.find(({ file, sha256 }) => !existsSync(join(folder, file)) || hashOfFile(join(folder, file)) !== sha256)
  return changed && `${changed.file} is not what its manifest says; npm run build:cuda makes it anew`
}

/** Builds the plug-ins of the given toolkits, for all architectures or those given. */
export async function buildCuda({ toolkits: names = Object.keys(toolkits), architectures } = {}) {
  const unknown = names.find((name) => !(name in toolkits))
  if (unknown !== undefined) throw new Error(`Expected --toolkit of ${Object.keys(toolkits).join(', ')} but received ${unknown}`)
  const jobs = Number(buildEnvironment().JOBS)
  const backends = []
  for (const name of [...names].sort().reverse()) backends.push(await buildPlugin(name, architectures, jobs))
  const { version, abi } = current()
  // A plug-in that another call has built stays, if it is that one still.
  const before = readManifest(stage) ?? { backends: [] }
  if (before.version === version && before.abi === abi) {
    const others = before.backends.filter(({ id, file }) => !backends.some((built) => built.id === id) && existsSync(join(stage, file)))
    backends.push(...others.filter(({ file, sha256 }) => hashOfFile(join(stage, file)) === sha256))
  }
  writeManifest(stage, backends)
}

if (isMain(import.meta.url)) {
  try {
    const list = (text) => text?.split(',').filter((part) => part !== '')
    const { values } = parseArgs({ options: { toolkit: { type: 'string' }, arch: { type: 'string' } } })
    await buildCuda({ toolkits: list(values.toolkit), architectures: list(values.arch) })
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
