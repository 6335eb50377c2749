// npm run test:gpu with the emulated device in the GPU's place, as a machine without compiler and registry would run it: the tracked files, the kit, node and tar.
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { NativeEngine, NativeTensor } from '../../lib/native/binding.js'
import { binding, emulatedBackend, root } from '../support/addon.js'
import { counters, openEmulated, setEmulator } from '../support/emulator.js'

interface Row {
  kind: string
  part: string
  item: string
  status: string
  reason?: string
  [field: string]: unknown
}
interface Work {
  name: string
  op: string
  in: Record<string, object>
  out: Record<string, object>
  scalars: Record<string, number>
  bytes: number
}
const load = async <T>(path: string): Promise<T> => (await import(join(root, path))) as T
interface Prepared {
  outputs: Record<string, NativeTensor>
  call(): void
  dispose(): void
}
const { prepare, worksOf } = await load<{ worksOf(size: string): Work[]; prepare(engine: NativeEngine, work: Work): Prepared }>('test/gpu/works.mjs')
const { which } = await load<{ which(command: string): string | undefined }>('tools/toolchain.cjs')
const { readSanitizer } = await load<{ readSanitizer(output: string, complete: boolean): { reason: string } | undefined }>('test/gpu/parts.mjs')
const { pageOf } = await load<{ pageOf(records: object[], parts: string[]): string }>('test/gpu/report.mjs')

test.each(['small', 'large', 'full'])('each op is a work, of fields that it has: %s', (size) => {
  const works = worksOf(size)
  expect(works.filter(({ name, op }) => name === op).map(({ op }) => op).sort()).toEqual(binding().ops().map(({ name }) => name).sort())
  const fieldsOf = new Map(binding().ops().map(({ name, fields }) => [name, fields]))
  for (const { op, in: inputs, out, scalars, bytes } of works) {
    const fields = fieldsOf.get(op)!
    const named = (...kinds: string[]) => fields.filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name)
    expect(named('out'), op).toEqual(expect.arrayContaining(Object.keys(out)))
    expect(named('in', 'opt'), op).toEqual(expect.arrayContaining(Object.keys(inputs)))
    expect(Object.keys(inputs), op).toEqual(expect.arrayContaining(named('in')))
    expect(Object.keys(scalars).sort(), op).toEqual(named('i32', 'f32', 'f64').sort())
    expect(bytes, op).toBeGreaterThan(0)
  }
})

test.runIf(emulatedBackend)('each kernel of cuda/ runs in a small work', async () => {
  const names = readdirSync(join(root, 'cuda')).filter((file) => file.endsWith('.cu')).flatMap((file) => [...readFileSync(join(root, 'cuda', file), 'utf8').matchAll(/^VIN_EMULATED_KERNEL\((\w+)\)/gm)].map(([, name]) => name!))
  const found = new Set<string>()
  const run = async (work: Work, fault?: string): Promise<{ before: number; after: number; failed: string }> => {
    const engine = openEmulated(fault === undefined ? {} : { fault })
    const start = counters().launches
    const { outputs, call, dispose } = prepare(engine, work)
    await engine.fence()
    const before = counters().launches - start
    call()
    const failed = await Promise.all(Object.values(outputs).map((tensor) => tensor.ready())).then(() => '', (error: Error) => error.message)
    const after = counters().launches - start
    dispose()
    await engine.dispose()
    return { before, after, failed }
  }
  for (const work of worksOf('small')) {
    const { before, after, failed } = await run(work)
    expect(failed, work.name).toBe('')
    for (let launch = before + 1; launch <= after; launch++) found.add(/(\w+) faults, as was asked for/.exec((await run(work, `launch:${launch}`)).failed)![1]!)
  }
  setEmulator({})
  expect([...found].sort()).toEqual(names.sort())
})

test('compute-sanitizer’s reports are read with their kernels', () => {
  const line = (text: string) => `========= ${text}\n`
  expect(readSanitizer(line('COMPUTE-SANITIZER') + line('ERROR SUMMARY: 0 errors'), true)).toBeUndefined()
  expect(readSanitizer(line('RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)'), true)).toBeUndefined()
  const found = line('Invalid __global__ read of size 4 bytes') + line('    at gelu_kernel+0x40') + line('    at gelu_kernel+0x80') + line('ERROR SUMMARY: 2 errors')
  expect(readSanitizer(found, true)).toEqual({ reason: '2 reports, in gelu_kernel' })
  expect(readSanitizer(line('RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)'), true)).toEqual({ reason: '1 reports' })
  expect(readSanitizer('Device not supported', true)).toEqual({ reason: 'compute-sanitizer gave no summary: Device not supported' })
  expect(readSanitizer('Segmentation fault', false)).toBeUndefined()
})

test('shares are of the best rate that this run has measured', () => {
  const item = { part: 'throughput', kind: 'item', status: 'passed', work: '8' }
  const page = pageOf(
    [
      { kind: 'start', date: 'today' }, { ...item, item: 'copy', bytes: 4e9, flops: 0, seconds: 2e-3 }, { ...item, item: 'gelu', bytes: 4e9, flops: 0, seconds: 4e-3 },
      { ...item, item: 'linear', bytes: 1, flops: 1e12, seconds: 0.1 }, { part: 'throughput', kind: 'item', item: 'add', status: 'hung', reason: 'said nothing' },
      { part: 'pytorch', kind: 'pytorch', version: '2', device: 'a GPU' }, { part: 'pytorch', kind: 'ceiling', ceiling: 'copy', what: 'PyTorch', rate: 4e12 },
      { part: 'pytorch', kind: 'ceiling', ceiling: 'matmul fp32', what: 'PyTorch', rate: 5e12 }, { part: 'pytorch', kind: 'item', item: 'gelu', status: 'passed', seconds: 6e-3 }
    ],
    ['throughput', 'pytorch']
  )
  expect(page).toContain('ceiling of copy: 4000 GB/s (PyTorch)')
  expect(page).toContain('ceiling of matmul fp32: 10.0 TFLOP/s (the op linear, 8)')
  expect(page).toContain('| gelu | 8 | 4.0 ms | 1000 | 25.0 % | – | – | 6.0 ms, 1.5 × |')
  expect(page).toContain('| add | hung | said nothing |')
  expect(page).toContain('**Not finished**')
})

describe.runIf(emulatedBackend)('a machine with node, tar and a stand-in for compute-sanitizer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vin-rehearsal-'))
  const there = join(folder, 'tree')
  const calls = join(folder, 'calls')
  const planted = join(folder, 'planted.cjs')
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  beforeAll(() => {
    const kit = join(there, 'build-backends', 'gpu-kit.tar.br')
    mkdirSync(dirname(kit), { recursive: true })
    for (const path of ['lib', 'tools', 'cuda', 'csrc', 'package.json', 'vitest.config.ts', ...['cuda', 'gpu', 'models', 'ops', 'pipeline', 'support', 'training', 'video'].map((name) => `test/${name}`)]) {
      cpSync(join(root, path), join(there, path), { recursive: true })
    }
    for (const path of ['test/fixtures', 'models']) symlinkSync(join(root, path), join(there, path))
    const packed = spawnSync(process.execPath, [join(root, 'tools/gpu.mjs'), '--kit', '--rehearse', '--out', kit], { encoding: 'utf8' })
    expect(packed.status, packed.stderr).toBe(0)
    // Beside 48 MB of tracked files, of 64 MiB.
    expect(statSync(kit).size).toBeLessThan(19e6)

    mkdirSync(join(folder, 'bin'))
    symlinkSync(process.execPath, join(folder, 'bin', 'node'))
    for (const name of ['tar', 'sh']) symlinkSync(which(name)!, join(folder, 'bin', name))
    const sanitizer = join(folder, 'bin', 'compute-sanitizer')
    const found = 'echo "========= Uninitialized __global__ memory read of size 4 bytes"; echo "=========     at gelu_kernel+0x40"; echo "========= ERROR SUMMARY: 1 error"; exit 9'
    writeFileSync(sanitizer, `#!/bin/sh
echo "$*" >> ${calls}
export STAND_IN=$2
shift 6
"$@" || exit
[ "$STAND_IN" = "$STAND_IN_FINDS" ] && { ${found}; }
case $STAND_IN in racecheck) echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)";; *) echo "========= ERROR SUMMARY: 0 errors";; esac
`)
    chmodSync(sanitizer, 0o755)

    // An addon whose device computes linear wrongly, ends the process in gelu (but not under synccheck), and never comes back from silu while large operands are compared.
    writeFileSync(planted, `
const real = require(${JSON.stringify(join(root, 'build/Release/vin-native.node'))})
const wrap = (engine) => new Proxy(engine, {
  get(target, key) {
    const value = target[key]
    if (key !== 'op') return typeof value === 'function' ? value.bind(target) : value
    return (name, args, times) => {
      if (name === 'gelu' && process.env.STAND_IN !== 'synccheck') process.kill(process.pid, 'SIGSEGV')
      if (name === 'silu' && process.argv[1].endsWith('large.mjs')) for (;;);
      const outputs = target.op(name, args, times)
      if (name === 'linear') target.op('linear_combination', { y: outputs.y, a: outputs.y, fa: 1.001, fb: 0, fc: 0, fd: 0 })
      return outputs
    }
  }
})
module.exports = { ...real, createEngine: (options) => (options.device === 'cpu' ? real.createEngine(options) : wrap(real.createEngine(options))) }
`)
  }, 120_000)

  const start = (name: string, args: string[], more: Record<string, string> = {}) => {
    const env = { PATH: join(folder, 'bin'), HOME: folder, TMPDIR: folder, ...more }
    return spawn(join(folder, 'bin', 'node'), ['tools/gpu.mjs', '--rehearse', '--report', join(folder, name), ...args], { cwd: there, env, stdio: ['ignore', 'pipe', 'pipe'] })
  }
  const rowsOf = (name: string): Row[] => readFileSync(join(folder, name, 'report.jsonl'), 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Row)
  const run = async (name: string, args: string[], more: Record<string, string> = {}) => {
    const child = start(name, args, more)
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve))
    const rows = rowsOf(name)
    const parts = Object.fromEntries(rows.filter(({ kind }) => kind === 'part').map((row) => [row.part, row]))
    return { code, output, rows, parts, page: readFileSync(join(folder, name, 'report.md'), 'utf8') }
  }
  const tools = ['memcheck', 'racecheck', 'initcheck', 'synccheck']

  test('every part runs, and what is not installed is named', { timeout: 300_000 }, async () => {
    const { code, output, rows, parts, page } = await run('whole', ['--python', join(folder, 'bin', 'python3')])
    expect(code, output).toBe(0)
    expect(Object.values(parts).map(({ part, status }) => `${part} ${status}`)).toEqual([
      ...['device', 'choose', 'ops', 'large', 'models', 'training', 'generate', 'throughput'].map((part) => `${part} passed`), 'pytorch not run', ...tools.map((part) => `${part} passed`)
    ])
    expect(parts['pytorch']!.reason).toBe('python3 is not installed')
    expect(rows.find(({ kind }) => kind === 'device')).toMatchObject({ addon: { backend: 'cuda-emu', arch: expect.any(Number), driver: expect.any(Number), uuid: expect.any(String), multiprocessors: expect.any(Number), totalBytes: expect.any(Number) } })
    expect(rows.find(({ kind }) => kind === 'choice')).toMatchObject({ device: 'cuda:0', plugins: expect.arrayContaining(['CUDA 13.5: can be used']) })
    const works = worksOf('small').map(({ name }) => name).sort()
    const items = (part: string) => rows.filter((row) => row.part === part && row.kind === 'item')
    for (const part of ['large', 'throughput', ...tools]) expect(items(part).map(({ item }) => item).sort(), part).toEqual(works)
    for (const { item, seconds } of items('throughput')) expect(seconds, item).toBeGreaterThan(0)
    for (const part of ['ops', 'models', 'training', 'generate']) for (const { item, passed } of items(part)) expect(passed, item).toBeGreaterThan(0)
    for (const name of works) expect(page).toMatch(new RegExp(`^\\| ${name} \\| .* \\| .* \\| .* % \\|`, 'm'))
    expect(page).toContain('**Passed**')
    const asked = readFileSync(calls, 'utf8').trim().split('\n')
    expect(asked).toEqual(tools.map((tool) => `--tool ${tool} --error-exitcode 9 --print-limit 20 ${process.execPath} ${join(there, 'test/gpu/kernels.mjs')}`))
  })

  test('a wrong result, a crash, a hang and a report of compute-sanitizer are named, and what follows them runs', { timeout: 120_000 }, async () => {
    const { code, rows, parts, page } = await run('planted', ['--only', 'device,large,throughput,initcheck,synccheck', '--stall', '10'], { VIN_NATIVE_BINDING: planted, STAND_IN_FINDS: 'synccheck' })
    expect(code).toBe(1)
    const of = (part: string) => Object.fromEntries(rows.filter((row) => row.part === part && row.kind === 'item' && row.status !== 'passed').map(({ item, status, reason }) => [item, `${status}: ${reason}`]))
    expect(of('large')).toEqual({
      linear: expect.stringMatching(/^failed: Expected y to be the CPU's within 0.000008 /),
      gelu: 'crashed: ended by SIGSEGV (11)',
      silu: 'hung: said nothing for 10 s'
    })
    expect(of('throughput')).toEqual({ gelu: 'crashed: ended by SIGSEGV (11)' })
    // A stand-in in front passes on how the program has ended.
    expect(of('initcheck')).toEqual({ gelu: expect.stringMatching(/^crashed: /) })
    const count = worksOf('small').length
    for (const part of ['large', 'throughput', 'initcheck', 'synccheck']) expect(rows.filter((row) => row.part === part && row.kind === 'item'), part).toHaveLength(count)
    expect(rows.find((row) => row.part === 'synccheck' && row.kind === 'said')).toMatchObject({ status: 'failed', reason: '1 reports, in gelu_kernel' })
    expect(parts).toMatchObject({ device: { status: 'passed' }, large: { status: 'hung' }, throughput: { status: 'crashed' }, initcheck: { status: 'crashed' }, ops: { status: 'not run' } })
    expect(page).toContain('**Failed**')
    expect(page).toMatch(/^\| large \| silu \| hung \| said nothing for 10 s \|$/m)
  })

  test('tests of a device that computes wrongly or ends the process fail by name', { timeout: 120_000 }, async () => {
    const { code, rows, parts } = await run('tests', ['--only', 'device,ops'], { VIN_NATIVE_BINDING: planted })
    expect(code).toBe(1)
    expect(parts['ops']!.status).not.toBe('passed')
    const items = Object.fromEntries(rows.filter(({ part, kind }) => part === 'ops' && kind === 'item').map((row) => [row.item, row]))
    expect(items['test/ops/linear.test.ts']).toMatchObject({ status: 'failed', failed: expect.any(Number) })
    expect(rows.find(({ kind, item }) => kind === 'test' && item === 'test/ops/linear.test.ts')).toMatchObject({ test: expect.stringMatching(/^linear on cuda /), reason: expect.stringContaining('times the tolerance') })
    expect(items['test/ops/gelu.test.ts']).toMatchObject({ status: expect.stringMatching(/failed|crashed/) })
  })

  test('a run that is killed leaves what it has measured; one that has no time left says what did not run', { timeout: 120_000 }, async () => {
    const child = start('killed', ['--only', 'device,throughput'])
    while (!existsSync(join(folder, 'killed', 'report.jsonl')) || !readFileSync(join(folder, 'killed', 'report.jsonl'), 'utf8').includes('"part":"throughput"')) await new Promise((resolve) => setTimeout(resolve, 20))
    child.kill('SIGKILL')
    await new Promise((resolve) => child.on('close', resolve))
    expect(rowsOf('killed').some(({ part, kind, status }) => part === 'throughput' && kind === 'item' && status === 'passed')).toBe(true)
    expect(readFileSync(join(folder, 'killed', 'report.md'), 'utf8')).toContain('**Not finished**')

    const { code, parts, page } = await run('late', ['--only', 'throughput', '--minutes', '0.001'])
    expect(code).toBe(1)
    expect(parts['throughput']).toMatchObject({ status: 'cut off', reason: 'the 0.001 minutes were over' })
    expect(page).toContain('the 0.001 minutes were over')
  })

  test('where the device does not open nothing else is tried, and the plug-in’s sentence is told', { timeout: 60_000 }, async () => {
    const { code, parts, page } = await run('none', ['--plugin', join(folder, 'none.so')])
    expect(code).toBe(1)
    expect(parts['device']).toMatchObject({ status: 'failed', reason: expect.stringMatching(/^Expected to load the backend .*none\.so/) })
    const { device, ...others } = parts
    expect(new Set(Object.values(others).map(({ status, reason }) => `${status}: ${reason}`))).toEqual(new Set(['not run: the device did not open']))
    expect(page).toMatch(/^\| device \| failed \| .*none\.so/m)
  })

  test('without a plug-in or an addon it says what to build', () => {
    const empty = join(folder, 'empty')
    for (const name of ['tools', 'test/gpu', 'package.json']) cpSync(join(root, name), join(empty, name), { recursive: true })
    const { status, stderr } = spawnSync(process.execPath, [join(empty, 'tools/gpu.mjs')], { encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 1, stderr: 'Expected a plug-in but none was built: npm run build:cuda, before a GPU is waited for\n' })
  })
})
