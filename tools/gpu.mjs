// npm run test:gpu: proves the CUDA plug-in on this machine's GPU, in ten minutes and without a network: the tests of ops, models and training with the GPU as their device,
// `generate` against the CPU, throughput beside measured ceilings and PyTorch, compute-sanitizer. Addon and plug-in have been built before. The report is written as results
// come: a line of JSON each, and a page. Exit code 0: all that ran has passed, and what did not run is not installed here.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { partsOf } from '../test/gpu/parts.mjs'
import { Report } from '../test/gpu/report.mjs'
import { good, killAll, runPart } from '../test/gpu/run.mjs'
import { stage, writeManifest } from './cuda.mjs'
import { kitFile, packKit, unpackKit } from './gpu-kit.mjs'
import { isMain, root, say } from './stamp.mjs'

const help = `npm run test:gpu [-- options], or node tools/gpu.mjs [options] where there is no npm

  --report DIR     where report.jsonl and report.md are written (default: test/gpu/reports/<date>-<gpu>)
  --only A,B       these parts alone: device, choose, ops, large, models, training, generate, throughput, pytorch, memcheck, racecheck, initcheck, synccheck
  --minutes N      ends after N minutes (default 10, 30 to rehearse); what is left is named
  --plugin FILE    the plug-in (default: build-backends/stage/backends/cuda13/libvin_cuda.so, then cuda12)
  --python PATH    the Python that may have PyTorch (default: python3)
  --stall N        seconds after which an item that says nothing counts as hung
  --rehearse       on the emulated device, with small sizes
  --kit            packs what a machine without compiler and registry needs beside the tracked files, and runs nothing
  --out FILE       where --kit packs it (default: ${kitFile})
`

/** Plug-ins that may drive the device, the newest toolkit first. */
function pluginsOf({ plugin, rehearse }, scratch) {
  if (plugin !== undefined) return [resolve(plugin)]
  if (!rehearse) return ['cuda13', 'cuda12'].map((id) => join(stage, id, 'libvin_cuda.so')).filter((file) => existsSync(file))
  // The emulated one, with a manifest as build:cuda writes it.
  const built = join(root, 'build-backends', 'emu', 'libvin_cuda.so')
  if (!existsSync(built)) return []
  const folder = join(scratch, 'backends')
  const file = 'cuda13/libvin_cuda.so'
  const bytes = readFileSync(built)
  mkdirSync(join(folder, 'cuda13'), { recursive: true })
  writeFileSync(join(folder, file), bytes)
  writeManifest(folder, [{ id: 'cuda13', file, sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length, libc: 'glibc', toolkit: '13.5' }])
  return [join(folder, file)]
}

function nameOfGPU() {
  const { status, stdout } = spawnSync('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader'], { encoding: 'utf8', timeout: 15_000 })
  return status === 0 ? stdout.split('\n')[0].trim() : undefined
}

/** Of a folder that is no clone the kit knows. */
function commit() {
  const git = (...args) => spawnSync('git', args, { cwd: root, encoding: 'utf8' })
  const { status, stdout } = git('rev-parse', '--short', 'HEAD')
  if (status === 0) return `${stdout.trim()}${git('status', '--porcelain').stdout.trim() === '' ? '' : ' with changes'}`
  const note = join(root, 'build-backends', 'gpu-kit.json')
  return existsSync(note) ? JSON.parse(readFileSync(note, 'utf8')).commit : 'unknown'
}

function freeFolder(folder) {
  for (let n = 1; ; n++) {
    const name = n === 1 ? folder : `${folder}-${n}`
    if (!existsSync(name)) return name
  }
}

export async function testGPU(values) {
  const { rehearse = false, python = 'python3' } = values
  const minutes = Number(values.minutes ?? (rehearse ? 30 : 10))
  const start = performance.now()
  const remaining = () => minutes * 60 - (performance.now() - start) / 1000
  unpackKit()
  const scratch = mkdtempSync(join(tmpdir(), 'vin-gpu-'))
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
  const plugins = pluginsOf(values, scratch)
  if (plugins.length === 0) throw new Error(`Expected a plug-in but none was built: npm run ${rehearse ? 'build:emu' : 'build:cuda'}, before a GPU is waited for`)
  for (const [file, advice] of [['build/Release/vin-native.node', 'npm run build'], ['dist/esm/index.js', 'npm run build'], ['node_modules/vitest/vitest.mjs', 'npm ci']]) {
    if (!existsSync(join(root, file))) throw new Error(`Expected ${file} but it is not there: ${advice}, or carry ${kitFile} here, which npm run test:gpu -- --kit packs`)
  }
  const parts = partsOf({ root, rehearse, python })
  const only = values.only?.split(',')
  const unknown = only?.find((name) => !parts.some((part) => part.name === name))
  if (unknown !== undefined) throw new Error(`Expected parts of ${parts.map(({ name }) => name).join(', ')} for --only but received ${unknown}`)
  if (values.stall !== undefined) for (const part of parts) part.stall = Number(values.stall)

  const gpu = rehearse ? 'the emulated device, small sizes' : (nameOfGPU() ?? 'unknown')
  const date = new Date().toISOString()
  const folder = values.report ?? freeFolder(join(root, 'test', 'gpu', 'reports', `${date.slice(0, 10)}-${gpu.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`))
  const report = new Report(rehearse && values.report === undefined ? join(root, 'build-backends', 'gpu-rehearsal') : folder, root, parts.map(({ name }) => name))
  say(`the report comes to ${report.page}`)
  report.add({ kind: 'start', date, gpu, commit: commit(), node: process.version, cpu: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`, command: ['test:gpu', ...process.argv.slice(2)].join(' ') })

  const stop = (signal) => {
    killAll()
    report.add({ kind: 'end', good: false, reason: `ended by ${signal}` })
    process.exit(1)
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  // Until the device has opened: the newest. The library looks where it lies, before all other places.
  let [plugin] = plugins
  let well = true
  let opened = true
  const take = (row) => {
    if (row.kind === 'device') plugin = row.plugin
    report.add(row)
  }
  for (const part of parts) {
    let result
    if (only !== undefined && !only.includes(part.name)) result = { part: part.name, status: 'not run', reason: 'not among those of --only' }
    else if (!opened) result = { part: part.name, status: 'not run', reason: 'the device did not open' }
    else if (remaining() < 1) result = { part: part.name, status: 'cut off', reason: `the ${minutes} minutes were over` }
    else {
      say(`${part.name} …`)
      const job = { plugin, plugins, rehearse }
      process.env.VIN_NATIVE_BACKEND_PATH = dirname(dirname(plugin))
      result = await runPart(part, { cwd: root, job, records: join(scratch, 'records'), remaining: remaining(), take, say: (text) => process.stdout.write(text) })
    }
    report.add({ kind: 'part', ...result })
    say(`${part.name}: ${result.status}${result.reason === undefined ? '' : `, ${result.reason}`}`)
    if (!good.includes(result.status)) well = false
    if (part.name === 'device' && result.status !== 'passed' && result.reason !== 'not among those of --only') opened = false
  }
  report.add({ kind: 'end', good: well, seconds: Math.round((performance.now() - start) / 1000) })
  return well ? 0 : 1
}

if (isMain(import.meta.url)) {
  try {
    const text = { type: 'string' }
    const flag = { type: 'boolean' }
    const { values } = parseArgs({ options: { report: text, only: text, minutes: text, plugin: text, out: text, python: text, stall: text, rehearse: flag, kit: flag, help: { ...flag, short: 'h' } } })
    if (values.help) console.log(help)
    else if (values.kit) packKit(values)
    else process.exitCode = await testGPU(values)
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
