// Exit codes: every command with every code that it can end with. 0 ok, 1 failed, 2 usage, 3 model, 4 resources, 130 interrupted.
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { execFileSync, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { commandNames } from '../../lib/cli/commands.js'
import { loadBinding } from '../../lib/native/load.js'
import { packageRoot } from '../../lib/native/package-root.js'
import { requireFfmpeg } from '../../lib/video/ffmpeg.js'
import { installSources, standInCompiler } from '../support/stand-in.js'
import { start, vinNative, writeModel } from './support.js'

let root = ''
let folder = ''
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vin-exit-'))
  await writeModel(join(root, 'model'))
})
beforeEach(async () => {
  folder = join(root, `run-${count++}`)
  await mkdir(folder)
})
afterAll(() => rm(root, { recursive: true, force: true }))

const cpu = ['--model', '../model', '--device', 'cpu']
const short = ['a circle', ...cpu, '--frames', '5', '--steps', '2', '--seed', '1']
const covered: string[] = []

/** A test of one command and code. */
function exits(command: string, code: number, how: string, run: () => Promise<unknown>, possible = true): void {
  covered.push(`${command} ${code}`)
  test.skipIf(!possible)(`${command} exits with ${code}: ${how}`, async () => {
    await run()
  })
}

const expectCode = async (code: number, ...args: string[]): Promise<void> => expect(await vinNative(folder, ...args)).toMatchObject({ code, signal: null })

/** Ctrl-C once a line has come. */
async function interrupt(line: RegExp, ...args: string[]): Promise<void> {
  const running = start(folder, ...args)
  await running.line(line)
  running.child.kill('SIGINT')
  expect(await running.result).toMatchObject({ code: 130, signal: null })
}

/** The folder that an interrupted run of 64 frames left. */
async function interrupted(): Promise<string> {
  await interrupt(/"type":"step"/, 'generate', 'a circle', ...cpu, '--frames', '64', '--steps', '300', '--json', '-o', 'out.y4m')
  return readdirSync(folder).find((name) => name.startsWith('vin-'))!
}

/** Changes an interrupted run's job. */
async function editJob(saved: string, change: (job: { values: Record<string, string> }) => void): Promise<void> {
  const file = join(folder, saved, 'job.json')
  const job = JSON.parse(await readFile(file, 'utf8')) as { values: Record<string, string> }
  change(job)
  await writeFile(file, JSON.stringify(job))
}

function writeLatents(latentFrames: number): void {
  const shape = [4, latentFrames, 8, 8]
  loadBinding().writeSafetensors(join(folder, 'latents.safetensors'), { latents: { data: new Float32Array(4 * latentFrames * 64), shape } })
}

// ---- generate ----
exits('generate', 0, 'a video is there', () => expectCode(0, 'generate', ...short, '-o', 'out.y4m'))
exits('generate', 1, 'a folder of states of another run', async () => {
  await expectCode(0, 'generate', ...short, '--resume', 'states', '-o', 'out.y4m')
  await expectCode(1, 'generate', ...short, '--guidance', '3', '--resume', 'states', '-o', 'out.y4m')
})
exits('generate', 2, 'a number out of range', () => expectCode(2, 'generate', ...short.slice(0, -2), '--seed', '1', '--width', '65'))
exits('generate', 3, 'no model', () => expectCode(3, 'generate', 'a', '--model', 'nowhere', '--device', 'cpu'))
exits('generate', 4, 'no folder for the output', () => expectCode(4, 'generate', ...short, '-o', 'no/such/x.mp4'))
exits('generate', 130, 'Ctrl-C', interrupted)

// ---- plan ----
exits('plan', 0, 'a plan', () => expectCode(0, 'plan', 'a circle', ...cpu))
exits('plan', 2, 'an unknown method', () => expectCode(2, 'plan', 'a circle', ...cpu, '--method', 'vim'))
exits('plan', 3, 'a method whose weights the model lacks', () => expectCode(3, 'plan', 'a circle', ...cpu, '--method', 'streaming-t2v'))
exits('plan', 4, 'no such device', () => expectCode(4, 'plan', '--model', '../model', '--device', 'cuda'))

// ---- resume ----
exits('resume', 0, 'the rest of a run', async () => {
  await interrupt(/"step":1,/, 'generate', 'a circle', ...cpu, '--frames', '64', '--steps', '12', '--json', '-o', 'out.y4m')
  const [saved] = readdirSync(folder).filter((name) => name.startsWith('vin-'))
  await expectCode(0, 'resume', saved!)
})
exits('resume', 1, 'states that do not fit the job', async () => {
  const saved = await interrupted()
  await editJob(saved, ({ values }) => (values['guidance'] = '7'))
  await expectCode(1, 'resume', saved)
})
exits('resume', 2, 'no run in the folder', () => expectCode(2, 'resume', '.'))
exits('resume', 3, 'the model is gone', async () => {
  const saved = await interrupted()
  await editJob(saved, ({ values }) => (values['model'] = 'nowhere'))
  await expectCode(3, 'resume', saved)
})
exits('resume', 4, 'no folder for the output', async () => {
  await expectCode(4, 'resume', await interrupted(), '-o', 'no/such/x.mp4')
})
exits('resume', 130, 'Ctrl-C again', async () => {
  const saved = await interrupted()
  await interrupt(/"type":"step"/, 'resume', saved, '--json')
  expect(readdirSync(folder)).toContain(saved)
})

// ---- decode ----
exits('decode', 0, 'a video of latents', async () => {
  writeLatents(5)
  await expectCode(0, 'decode', 'latents.safetensors', ...cpu, '-o', 'out.y4m')
})
exits('decode', 1, 'latents that are not finite', async () => {
  const data = new Float32Array(4 * 5 * 64)
  data[700] = NaN
  const header = Buffer.from(JSON.stringify({ latents: { dtype: 'F32', shape: [4, 5, 8, 8], data_offsets: [0, 4 * data.length] } }))
  const length = Buffer.alloc(8)
  length.writeUInt32LE(header.length)
  await writeFile(join(folder, 'latents.safetensors'), Buffer.concat([length, header, Buffer.from(data.buffer)]))
  const { code, stderr } = await vinNative(folder, 'decode', 'latents.safetensors', ...cpu, '-o', 'out.y4m')
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('Expected finite latents in latents.safetensors but found NaN in latent frame') as string })
  expect(readdirSync(folder)).toEqual(['latents.safetensors'])
})
exits('decode', 2, 'an extension that is none', async () => {
  writeLatents(5)
  await expectCode(2, 'decode', 'latents.safetensors', ...cpu, '-o', 'out.avi')
})
exits('decode', 3, 'a file that holds no latents', async () => {
  loadBinding().writeSafetensors(join(folder, 'other.safetensors'), { weights: { data: new Float32Array(4), shape: [4] } })
  await expectCode(3, 'decode', 'other.safetensors', ...cpu, '-o', 'out.y4m')
})
exits('decode', 4, 'no such device', async () => {
  writeLatents(5)
  await expectCode(4, 'decode', 'latents.safetensors', '--model', '../model', '--device', 'cuda', '-o', 'out.y4m')
})
exits('decode', 130, 'Ctrl-C', async () => {
  writeLatents(640)
  await interrupt(/"stage":"writing"/, 'decode', 'latents.safetensors', ...cpu, '--json', '-o', 'out.y4m')
  expect(readdirSync(folder)).toEqual(['latents.safetensors'])
})

// ---- evaluate ----
const ffmpeg = await requireFfmpeg('test').catch(() => undefined)
const reads = (code: number, how: string, run: () => Promise<unknown>): void => exits('evaluate', code, `${how}${ffmpeg === undefined ? ' (skipped without ffmpeg, which reads videos)' : ''}`, run, ffmpeg !== undefined)
const video = (name: string, seconds: number): void => void execFileSync(ffmpeg!, ['-v', 'error', '-f', 'lavfi', '-i', `testsrc=s=64x64:r=16:d=${seconds}`, join(folder, name)])
reads(0, 'a table', async () => {
  video('a.mp4', 0.5)
  await expectCode(0, 'evaluate', 'a.mp4', '--metrics', 'sceneCuts')
})
exits('evaluate', 2, 'a metric that is none', () => expectCode(2, 'evaluate', 'a.mp4', '--metrics', 'mave'))
reads(3, 'a file that is no video', async () => {
  await writeFile(join(folder, 'a.mp4'), 'words')
  await expectCode(3, 'evaluate', 'a.mp4')
})
reads(4, 'no such device', async () => {
  video('a.mp4', 0.5)
  await expectCode(4, 'evaluate', 'a.mp4', '--model', '../model', '--device', 'cuda')
})
reads(130, 'Ctrl-C', async () => {
  video('a.mp4', 30)
  await interrupt(/"stage":"measuring/, 'evaluate', 'a.mp4', '--metrics', 'mawe', '--json')
})

// ---- compare ----
const cells = ['--methods', 'independent', '--prompts', 'prompts.txt', '--frames', '5', '--steps', '2', '--metrics', 'sceneCuts', '--no-videos', '--report', 'out']
const compares = (code: number, how: string, ...more: string[]): void =>
  exits('compare', code, how, async () => {
    await writeFile(join(folder, 'prompts.txt'), 'a circle\n')
    await expectCode(code, 'compare', ...cells, ...more)
  })
compares(0, 'a page', ...cpu)
exits('compare', 1, 'a folder of other options', async () => {
  await writeFile(join(folder, 'prompts.txt'), 'a circle\n')
  await expectCode(0, 'compare', ...cells, ...cpu)
  await expectCode(1, 'compare', ...cells, ...cpu, '--steps', '3')
})
compares(2, 'no seeds', ...cpu, '--seeds', '0')
compares(3, 'no model', '--model', 'nowhere', '--device', 'cpu')
compares(4, 'no such device', '--model', '../model', '--device', 'cuda')
exits('compare', 130, 'Ctrl-C', async () => {
  await writeFile(join(folder, 'prompts.txt'), 'a circle\n')
  await interrupt(/"type":"row"/, 'compare', ...cells, ...cpu, '--seeds', '50', '--json')
})

// ---- study ----
/** A comparison of two videos. */
async function comparison(bytes: number): Promise<void> {
  const rows = ['vin', 'full'].map((method) => ({ cell: method, method, frames: 16, prompt: 'a circle', seed: 0, video: `cells/${method}/video.mp4` }))
  for (const { cell } of rows) {
    await mkdir(join(folder, 'out', 'cells', cell), { recursive: true })
    await writeFile(join(folder, 'out', 'cells', cell, 'video.mp4'), cell)
    await truncate(join(folder, 'out', 'cells', cell, 'video.mp4'), bytes)
  }
  await writeFile(join(folder, 'out', 'report.json'), JSON.stringify({ kind: 'vin-native comparison report', version: 1, methods: ['vin', 'full'], prompts: ['a circle'], seeds: [0], frames: [16], metrics: [], reference: 'vin', rows }))
}
exits('study', 0, 'a page', async () => {
  await comparison(100)
  await expectCode(0, 'study', 'page', 'out')
  expect(readdirSync(join(folder, 'out', 'study'))).toEqual(['index.html', 'videos'])
})
exits('study', 2, 'a subject that is none', () => expectCode(2, 'study', 'pages', 'out'))
exits('study', 3, 'a report that is none', async () => {
  await comparison(100)
  await writeFile(join(folder, 'out', 'report.json'), '{}')
  await expectCode(3, 'study', 'page', 'out')
})
exits('study', 4, 'a folder of something else', async () => {
  await comparison(100)
  await mkdir(join(folder, 'photos'))
  await writeFile(join(folder, 'photos', 'holiday.jpg'), '')
  await expectCode(4, 'study', 'page', 'out', '-o', 'photos')
})
exits('study', 130, 'Ctrl-C', async () => {
  await comparison(2 ** 32)
  await interrupt(/"stage":"copying"/, 'study', 'page', 'out', '--json')
  expect(readdirSync(join(folder, 'out'))).toEqual(['cells', 'report.json'])
})

// ---- fit-step-cache ----
const fit = ['--prompts', 'prompts.txt', '--frames', '5', '--steps', '8']
const fits = (code: number, how: string, ...more: string[]): void =>
  exits('fit-step-cache', code, how, async () => {
    await writeFile(join(folder, 'prompts.txt'), 'a circle\n')
    await expectCode(code, 'fit-step-cache', ...fit, ...more)
  })
fits(0, 'a config', ...cpu, '-o', 'config.json')
exits('fit-step-cache', 1, 'numbers that are not finite', async () => {
  await writeFile(join(folder, 'prompts.txt'), 'a circle\n')
  cpSync(join(root, 'model'), join(folder, 'broken'), { recursive: true })
  const file = join(folder, 'broken', 'transformer', 'diffusion_pytorch_model.safetensors')
  const binding = loadBinding()
  const { tensors, metadata } = binding.readSafetensors(file)
  const named = Object.entries(tensors).map(([name, { data, shape }]) => [name, { data: name === 'final_layer.linear.weight' ? (data as Float32Array).fill(3e38) : data!, shape }] as const)
  binding.writeSafetensors(file, Object.fromEntries(named), metadata)
  await expectCode(1, 'fit-step-cache', ...fit, '--model', 'broken', '--device', 'cpu')
})
fits(2, 'the built-in model', '--device', 'cpu')
fits(3, 'no model', '--model', 'nowhere', '--device', 'cpu')
fits(4, 'no folder for the output', ...cpu, '-o', 'no/such/config.json')
exits('fit-step-cache', 130, 'Ctrl-C', async () => {
  await writeFile(join(folder, 'prompts.txt'), 'a circle\n')
  await interrupt(/"stage":"fitting"/, 'fit-step-cache', ...fit.slice(0, 2), '--frames', '64', '--steps', '300', ...cpu, '-o', 'config.json', '--json')
  expect(readdirSync(folder)).toEqual(['prompts.txt'])
})

// ---- train ----
exits('train', 0, 'a checkpoint', () => expectCode(0, 'train', ...cpu, '--steps', '1', '-o', 'checkpoint'))
exits('train', 1, 'a checkpoint of another model', async () => {
  await expectCode(0, 'train', ...cpu, '--steps', '1', '-o', 'checkpoint')
  const config = join(folder, 'checkpoint', 'training', 'state.json')
  const state = JSON.parse(await readFile(config, 'utf8')) as { version: string }
  await writeFile(config, JSON.stringify({ ...state, version: '0.0.0' }))
  await expectCode(1, 'train', '--device', 'cpu', '--steps', '1', '-o', 'checkpoint')
})
exits('train', 2, 'neither steps nor minutes', () => expectCode(2, 'train', ...cpu))
exits('train', 3, 'no videos', async () => {
  await mkdir(join(folder, 'movies'))
  await expectCode(3, 'train', ...cpu, '--data', 'movies', '--steps', '1')
})
exits('train', 4, 'no such device', () => expectCode(4, 'train', '--model', '../model', '--device', 'cuda', '--steps', '1'))
exits('train', 130, 'Ctrl-C', () => interrupt(/"type":"step"/, 'train', ...cpu, '--steps', '1000', '--json', '-o', 'checkpoint'))

// ---- inspect ----
exits('inspect', 0, 'what there is', () => expectCode(0, 'inspect', 'gpu'))
exits('inspect', 2, 'a subject that is none', () => expectCode(2, 'inspect', 'modle'))
exits('inspect', 3, 'no model', () => expectCode(3, 'inspect', 'model', 'nowhere'))
exits('inspect', 4, 'no such device', () => expectCode(4, 'inspect', 'attention', '../model', '--device', 'cuda'))
exits('inspect', 130, 'Ctrl-C while it samples up to a step', async () => {
  const running = start(folder, 'inspect', 'attention', '../model', '--device', 'cpu', '--frames', '512', '--steps', '1000', '--step', '999')
  await new Promise<void>((resolve) => running.child.stderr!.on('data', (text: Buffer) => text.toString().includes('sampling') && resolve()))
  running.child.kill('SIGINT')
  expect(await running.result).toMatchObject({ code: 130, signal: null, stdout: '' })
})

// ---- bench: in a package of its own, whose benchmarks end as they are told ----
function packageWith(script: string | undefined): string {
  const place = join(folder, 'package')
  cpSync(join(packageRoot(), 'dist', 'esm'), join(place, 'dist', 'esm'), { recursive: true })
  cpSync(join(packageRoot(), 'package.json'), join(place, 'package.json'))
  symlinkSync(join(packageRoot(), 'node_modules'), join(place, 'node_modules'))
  if (script === undefined) return place
  for (const name of ['test', 'tools']) mkdirSync(join(place, name))
  writeFileSync(join(place, 'tools', 'bootstrap.mjs'), script)
  return place
}

async function bench(place: string, interruptAfter: string | undefined, ...args: string[]): Promise<number | null> {
  const child = spawn(process.execPath, [join(place, 'dist', 'esm', 'cli', 'index.js'), 'bench', ...args], { cwd: folder, env: { ...process.env, NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'ignore'] })
  child.stdout.on('data', (text: Buffer) => {
    if (interruptAfter !== undefined && text.toString().includes(interruptAfter)) child.kill('SIGINT')
  })
  return new Promise((resolve) => child.on('close', (code) => resolve(code)))
}

const ends = 'process.exitCode = Number(process.argv[3])'
exits('bench', 0, 'benchmarks that end well', async () => expect(await bench(packageWith(ends), undefined, '0')).toBe(0))
exits('bench', 1, 'benchmarks that fail', async () => expect(await bench(packageWith(ends), undefined, '1')).toBe(1))
exits('bench', 2, 'an unknown option', () => expectCode(2, 'bench', '--fast'))
exits('bench', 3, 'an installed package, which has no benchmarks', async () => expect(await bench(packageWith(undefined), undefined)).toBe(3))
exits('bench', 130, 'Ctrl-C', async () => expect(await bench(packageWith("console.log('begun'); setTimeout(() => {}, 300)"), 'begun')).toBe(130))

// ---- build: in an installed copy, by a stand-in for the compiler ----
async function build(first: string, interruptAfter: RegExp | undefined, env: NodeJS.ProcessEnv = {}, ...args: string[]): Promise<number | null> {
  const installed = installSources()
  try {
    const CXX = standInCompiler(installed, first)
    const child = spawn(process.execPath, [join(installed.root, 'dist', 'esm', 'cli', 'index.js'), 'build', '--json', ...args], { cwd: folder, env: { ...process.env, NODE_OPTIONS: '', CXX, ...env }, stdio: ['ignore', 'pipe', 'ignore'] })
    let printed = ''
    let asked = false
    child.stdout.on('data', (text: Buffer) => {
      printed += text.toString()
      if (interruptAfter === undefined || asked || !interruptAfter.test(printed)) return
      asked = true
      child.kill('SIGINT')
    })
    return await new Promise((resolve) => child.on('close', (code) => resolve(code)))
  } finally {
    installed.remove()
  }
}

exits('build', 0, 'the addon is compiled', async () => expect(await build('', undefined)).toBe(0))
exits('build', 2, 'a number out of range', () => expectCode(2, 'build', '--jobs', '0'))
exits('build', 4, 'no compiler', async () => expect(await build('', undefined, { PATH: '', CXX: '', PYTHON: '' })).toBe(4))
exits('build', 130, 'Ctrl-C', async () => expect(await build('sleep 0.3', /"stage":"compiling"/)).toBe(130))

// ---- doctor ----
exits('doctor', 0, 'nothing is broken', () => expectCode(0, 'doctor'))
exits('doctor', 1, 'the addon does not load; with --strict, a plug-in is damaged', async () => {
  process.env['VIN_NATIVE_BINDING'] = join(folder, 'nowhere.node')
  try {
    await expectCode(1, 'doctor')
  } finally {
    delete process.env['VIN_NATIVE_BINDING']
  }
  writeFileSync(join(folder, 'manifest.json'), '{')
  process.env['VIN_NATIVE_BACKEND_PATH'] = folder
  try {
    await expectCode(0, 'doctor')
    await expectCode(1, 'doctor', '--strict')
  } finally {
    delete process.env['VIN_NATIVE_BACKEND_PATH']
  }
})
exits('doctor', 2, 'an unknown option', () => expectCode(2, 'doctor', '--fast'))

/** Codes that a command cannot end with, and why. */
const impossible: Record<string, [codes: number[], why: string]> = {
  plan: [[1, 130], 'it runs nothing that could fail half-way or be stopped'],
  inspect: [[1], 'it only reads'],
  evaluate: [[1], 'it only reads'],
  study: [[1], 'it opens no model, and what it writes is whole or not there'],
  bench: [[4], 'the benchmarks are their own program'],
  build: [[1, 3], 'it opens no model; 3 is for Windows, where nothing is compiled'],
  doctor: [[3, 4, 130], 'it reports what it finds']
}

test('each command has a test for each code', () => {
  const wanted = commandNames.flatMap((name) => [0, 1, 2, 3, 4, 130].filter((code) => impossible[name]?.[0].includes(code) !== true).map((code) => `${name} ${code}`))
  expect([...covered].sort()).toEqual(wanted.sort())
})
