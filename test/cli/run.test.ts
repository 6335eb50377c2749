// Whole runs: generate, interrupt, resume, decode, plan, inspect, train and doctor, in child processes on a small untrained model.

import { chmod, cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { decode, decodeApng } from 'fast-png'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { bits } from '../support/fixtures.js'
import { shake } from '../support/models.js'
import { events, start, vinNative, writeModel } from './support.js'

let root = ''
let folder = ''
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vin-run-'))
  await writeModel(join(root, 'model'))
})
beforeEach(async () => {
  folder = join(root, `run-${count++}`)
  await mkdir(folder)
})
afterAll(() => rm(root, { recursive: true, force: true }))

const cpu = ['--model', '../model', '--device', 'cpu']

test('generate writes the video, enlarged, and leaves nothing else', async () => {
  const result = await vinNative(folder, 'generate', 'a red circle moves', ...cpu, '--frames', '12', '--seed', '7', '-o', 'out.apng')
  expect(result).toMatchObject({ code: 0, stdout: expect.stringMatching(/^out\.apng: 12 frames, 256 × 256, 16 fps, seed 7, [\d.]+ s\n$/) as string })
  expect(result.stderr).toMatch(/sampling 4\/4 100 %/)
  expect(result.stderr).not.toContain('\x1b')
  expect(await readdir(folder)).toEqual(['out.apng'])
  expect(decodeApng(await readFile(join(folder, 'out.apng')))).toMatchObject({ width: 256, height: 256, numberOfFrames: 12 })
})

test('--json is one object a line: job, plan, warning, steps, done', async () => {
  const { code, stdout } = await vinNative(folder, 'generate', 'a pink circle moves', ...cpu, '--frames', '12', '--seed', '18446744073709551615', '--steps', '3', '--json', '-o', 'out.gif')
  expect(code).toBe(0)
  const all = events(stdout)
  expect(all.filter(({ type }) => type === 'step').map(({ step, numInferenceSteps }) => [step, numInferenceSteps])).toEqual([[0, 3], [1, 3], [2, 3]])
  expect(all.find(({ type }) => type === 'plan')).toMatchObject({ plan: { latentFrames: expect.any(Number) as number } })
  expect(all.find(({ type }) => type === 'warning')).toMatchObject({ message: expect.stringContaining('pink') as string })
  expect(all.find(({ type }) => type === 'job')).toMatchObject({ id: expect.stringMatching(/^[0-9a-f]{8}$/) as string })
  expect(all.at(-1)).toMatchObject({ type: 'done', path: 'out.gif', numFrames: 12, width: 256, scale: 4, seed: '18446744073709551615' })
})

test('fusion, keyframes and memory are said as the API has them: the same bits', async () => {
  await using pipeline = await VideoPipeline.fromPretrained(join(root, 'model'), { device: 'cpu', addParts: ['memory'] })
  // Untrained, all of them change nothing.
  shake(pipeline)
  const { native, engine } = pipeline.transformer
  engine.native.op('randn', { y: native.weight('vin.memory.norm.weight'), seed_low: 1, seed_high: 0, stream: 0, frame_major: 0 })
  await pipeline.save(join(root, 'shaken'))
  const latentsOf = async (options: GenerateOptions): Promise<Buffer> => bits((await pipeline.generate({ prompt: 'a red circle', numFrames: 64, seed: 7, outputType: 'latents', ...options })).latents)
  const plain = await latentsOf({})
  const cases: [string[], GenerateOptions][] = [
    [['--fusion', '0.8..0.3+raised-cosine', '--keyframe-interval', '1'], { fusion: { from: 0.8, until: 0.3, weights: 'raised-cosine' }, keyframeInterval: 1 }],
    [['--fusion', 'late', '--global-token-memory'], { fusion: 'late', globalTokenMemory: true }]
  ]
  for (const [flags, options] of cases) {
    const { code, stderr } = await vinNative(folder, 'generate', 'a red circle', '--model', '../shaken', '--device', 'cpu', '--frames', '64', '--seed', '7', '-o', 'x.safetensors', ...flags)
    expect([code, stderr]).toEqual([0, expect.stringContaining('sampling')])
    const { data, shape } = loadBinding().readSafetensors(await readFile(join(folder, 'x.safetensors'))).tensors['latents']!
    expect(bits({ data: data as Float32Array, shape: [...shape] })).toEqual(await latentsOf(options))
    // Each of the options counts.
    for (const name of Object.keys(options)) expect((await latentsOf({ [name]: options[name as keyof GenerateOptions] })).equals(plain), name).toBe(false)
  }
})

test('--preview shows the newest preview beside the output', async () => {
  const { code } = await vinNative(folder, 'generate', 'a circle', ...cpu, '--frames', '12', '--preview', '-o', 'out.y4m')
  expect(code).toBe(0)
  expect(await readdir(folder)).toEqual(['out.preview.apng', 'out.y4m'])
  expect(decodeApng(await readFile(join(folder, 'out.preview.apng'))).numberOfFrames).toBeGreaterThan(0)
})

test('the first Ctrl-C saves the run, resume goes on to the same bytes', async () => {
  const options = ['a red circle moves', ...cpu, '--frames', '64', '--steps', '60', '--seed', '9', '--scale', '1']
  const running = start(folder, 'generate', ...options, '-o', 'out.y4m', '--json')
  await running.line(/"step":5,/)
  running.child.kill('SIGINT')
  const { code, stdout, stderr } = await running.result
  expect(code).toBe(130)
  const [saved] = (await readdir(folder)).filter((name) => name.startsWith('vin-'))
  expect(await readdir(folder)).toEqual([saved])
  expect(stderr).toContain('once more to stop at once')
  expect(events(stdout).slice(-2)).toEqual([
    { type: 'saved', folder: saved, resume: `npx vin-native resume ${saved}` },
    { type: 'error', code: 'cancelled', message: 'interrupted', details: {} }
  ])
  const resumed = await vinNative(folder, 'resume', saved!, '--json')
  expect(resumed.code).toBe(0)
  const steps = events(resumed.stdout).filter(({ type }) => type === 'step')
  expect(steps[0]!['step']).toBeGreaterThanOrEqual(5)
  expect(steps.at(-1)!['step']).toBe(59)
  expect(await readdir(folder)).toEqual(['out.y4m'])
  await vinNative(folder, 'generate', ...options, '-o', 'whole.y4m')
  expect((await readFile(join(folder, 'out.y4m'))).equals(await readFile(join(folder, 'whole.y4m')))).toBe(true)
})

test('plain output says how to resume', async () => {
  const running = start(folder, 'generate', 'a circle', ...cpu, '--frames', '64', '--steps', '1000', '-o', 'out.mp4')
  await new Promise<void>((resolve) => running.child.stderr!.on('data', (chunk: Buffer) => chunk.toString().includes('sampling') && resolve()))
  running.child.kill('SIGINT')
  const { code, stderr } = await running.result
  expect(code).toBe(130)
  expect(stderr).toMatch(/saved in \.\/vin-[0-9a-f]{8}, go on with: npx vin-native resume vin-[0-9a-f]{8}/)
})

test('the second Ctrl-C ends at once', async () => {
  const running = start(folder, 'generate', 'a circle', ...cpu, '--frames', '64', '--steps', '1000', '--json')
  await running.line(/"type":"step"/)
  const stopped = performance.now()
  running.child.kill('SIGINT')
  // A moment later: one that comes with the first is the same wish, handed on by npx.
  await setTimeout(600)
  running.child.kill('SIGINT')
  expect((await running.result).code).toBe(130)
  expect(performance.now() - stopped).toBeLessThan(2600)
})

test('a video that cannot be written leaves its latents, and decode makes it', async () => {
  // While it samples, a folder comes to stand where the file should go.
  const options = ['a circle', ...cpu, '--frames', '12', '--seed', '4', '--scale', '2']
  const running = start(folder, 'generate', ...options, '-o', 'out.y4m', '--preview')
  await new Promise<void>((resolve) => running.child.stderr!.on('data', (chunk: Buffer) => chunk.toString().includes('sampling') && resolve()))
  await mkdir(join(folder, 'out.y4m'))
  const failed = await running.result
  expect(failed.code).toBe(4)
  const [saved] = (await readdir(folder)).filter((name) => name.startsWith('vin-'))
  expect(failed.stderr).toContain(`npx vin-native decode ${join(saved!, 'latents.safetensors')} -o out.y4m`)
  expect(await readdir(join(folder, 'out.y4m'))).toEqual([])
  const decoded = await vinNative(folder, 'decode', join(saved!, 'latents.safetensors'), ...cpu, '--scale', '2', '-o', 'decoded.y4m')
  expect(decoded).toMatchObject({ code: 0, stdout: 'decoded.y4m: 12 frames, 128 × 128, 16 fps\n' })
  await vinNative(folder, 'generate', ...options, '-o', 'again.y4m')
  expect((await readFile(join(folder, 'decoded.y4m'))).equals(await readFile(join(folder, 'again.y4m')))).toBe(true)
})

test('-o out.png of one frame is a file, beside a folder of that name too', async () => {
  await mkdir(join(folder, 'out'))
  await writeFile(join(folder, 'out', 'notes.txt'), 'mine')
  const { code, stdout } = await vinNative(folder, 'generate', 'a circle', ...cpu, '--frames', '1', '-o', 'out.png')
  expect([code, stdout]).toEqual([0, expect.stringMatching(/^out\.png: 1 frames?, 256 × 256/)])
  expect((await readdir(folder)).sort()).toEqual(['out', 'out.png'])
  expect(decode(await readFile(join(folder, 'out.png')))).toMatchObject({ width: 256, height: 256 })
})

test('a folder of its own choice is kept', async () => {
  const { code } = await vinNative(folder, 'generate', 'a circle', ...cpu, '--frames', '5', '--resume', 'states', '-o', 'out.png')
  expect(code).toBe(0)
  expect((await readdir(folder)).sort()).toEqual(['out', 'states'])
  expect(await readdir(join(folder, 'out'))).toHaveLength(5)
})

test('job.json is untrusted', async () => {
  await mkdir(join(folder, 'vin-x'))
  for (const content of ['{', 'null', '[]', '{"version": 2}', '{"version": 1, "id": "x", "output": 7, "values": {}}', '{"version": 1, "id": "x", "output": "o.mp4", "values": {"prompt": 7}}', ' '.repeat(2 ** 20 + 1)]) {
    await writeFile(join(folder, 'vin-x', 'job.json'), content)
    expect(await vinNative(folder, 'resume', 'vin-x')).toMatchObject({ code: 3, stderr: expect.stringContaining('job.json') as string })
  }
})

test('plan shows chunks, cost and memory', async () => {
  const plain = await vinNative(folder, 'plan', 'a circle', ...cpu, '--frames', '256')
  expect(plain.code).toBe(0)
  expect(plain.stdout).toMatch(/^80 latent frames in 8 chunks\n {2}chunk 0: frames 0 … 9, "a circle"\n {2}chunk 1: frames 10 … 19, context from 6, /)
  const json = events((await vinNative(folder, 'plan', ...cpu, '--frames', '64', '--json')).stdout)
  expect(json).toEqual([expect.objectContaining({ type: 'plan', plan: expect.objectContaining({ latentFrames: 20 }) as unknown })])
  expect(await vinNative(folder, 'plan', ...cpu, '--width', '65')).toMatchObject({ code: 2, stderr: expect.stringContaining('64 and 72') as string })
})

test('inspect lists every weight, its shape, and totals', async () => {
  const { code, stdout } = await vinNative(folder, 'inspect', 'model', '../model', '--json')
  expect(code).toBe(0)
  const [{ parts }] = events(stdout) as [{ parts: { name: string; parameters: number; bytes: number; files: { weights: { name: string; shape: number[] }[] }[]; config: unknown }[] }]
  const transformer = parts.find(({ name }) => name === 'transformer')!
  expect(transformer.bytes).toBe(4 * transformer.parameters)
  expect(transformer.files[0]!.weights).toContainEqual(expect.objectContaining({ name: 'vin.global_tokens' }))
  expect(transformer.config).toMatchObject({ depth: 2, hidden_size: 96 })
  expect((await vinNative(folder, 'inspect', 'model', '../model')).stdout).toMatch(/total: [\d.]+ M parameters/)
})

test('train makes a checkpoint that is a model, and goes on with it', async () => {
  const first = await vinNative(folder, 'train', ...cpu, '--steps', '2', '-o', 'checkpoint', '--json')
  expect(first.code).toBe(0)
  expect(events(first.stdout).filter(({ type }) => type === 'step').map(({ step }) => step)).toEqual([0, 1])
  const second = await vinNative(folder, 'train', '--device', 'cpu', '--steps', '1', '-o', 'checkpoint', '--json')
  expect(events(second.stdout).filter(({ type }) => type === 'step').map(({ step }) => step)).toEqual([2])
  expect((await vinNative(folder, 'generate', 'a circle', '--model', 'checkpoint', '--device', 'cpu', '--frames', '5', '-o', 'out.y4m')).code).toBe(0)
})

test('doctor reports and its exit code says whether something is broken', async () => {
  const report = JSON.parse((await vinNative(folder, 'doctor', '--json')).stdout) as { ok: boolean; checks: { id: string; status: string; detail: string; fix?: string }[] }
  expect(report.ok).toBe(true)
  for (const id of ['node', 'platform', 'libc', 'addon', 'isa', 'memory', 'selftest', 'encoders', 'disk']) expect(report.checks.map((check) => check.id)).toContain(id)
  for (const { status, fix } of report.checks) expect(status === 'ok' || fix !== undefined).toBe(true)
  await writeFile(join(folder, 'broken.node'), 'not an addon')
  await chmod(join(folder, 'broken.node'), 0o755)
  process.env['VIN_NATIVE_BINDING'] = join(folder, 'broken.node')
  try {
    const result = await vinNative(folder, 'doctor')
    expect(result.code).toBe(1)
    expect(result.stdout).toMatch(/✗ addon: [^✗]*broken\.node[^✗]*! isa: not checked/)
  } finally {
    delete process.env['VIN_NATIVE_BINDING']
  }
})

/** stdout as bytes. */
async function bytesOf(cwd: string, ...args: string[]): Promise<{ code: number | null; stdout: Buffer; stderr: string }> {
  const { child, result } = start(cwd, ...args)
  const chunks: Buffer[] = []
  child.stdout!.on('data', (chunk: Buffer) => chunks.push(chunk))
  const { code, stderr } = await result
  return { code, stdout: Buffer.concat(chunks), stderr }
}

const eventsAmong = (text: string): Record<string, unknown>[] => events(text.split('\n').filter((line) => line.startsWith('{')).join('\n'))

test('a model without a VAE makes latents, the same as one with it, and says how for pixels', async () => {
  await cp(join(root, 'model'), join(root, 'blind'), { recursive: true })
  await rm(join(root, 'blind', 'vae'), { recursive: true })
  const asked = ['generate', 'a red circle', '--device', 'cpu', '--frames', '12', '--seed', '7', '--steps', '2']
  const latentsOf = async (model: string): Promise<Buffer> => {
    const { code, stderr } = await vinNative(folder, ...asked, '--model', `../${model}`, '-o', `${model}.safetensors`)
    expect(code, stderr).toBe(0)
    const { data, shape } = loadBinding().readSafetensors(join(folder, `${model}.safetensors`)).tensors['latents']!
    return bits({ data: data as Float32Array, shape })
  }
  expect((await latentsOf('blind')).equals(await latentsOf('model'))).toBe(true)
  const refused = await vinNative(folder, ...asked, '--model', '../blind', '-o', 'out.mp4')
  expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining('for pixels but it has none; use outputType "latents" (on the command line -o FILE.safetensors)') as string })
  expect((await readdir(folder)).sort()).toEqual(['blind.safetensors', 'model.safetensors'])
})

test('-o - writes the video to standard output and says everything else on standard error', async () => {
  const options = ['a red circle moves', ...cpu, '--frames', '12', '--seed', '7', '--steps', '2']
  const piped = await bytesOf(folder, 'generate', ...options, '-o', '-', '--json')
  expect(piped.code).toBe(0)
  expect(eventsAmong(piped.stderr).at(-1)).toMatchObject({ type: 'done', path: '-', numFrames: 12 })
  await vinNative(folder, 'generate', ...options, '-o', 'out.mp4')
  expect(piped.stdout.equals(await readFile(join(folder, 'out.mp4')))).toBe(true)
  expect(await readdir(folder)).toEqual(['out.mp4'])
  await vinNative(folder, 'generate', ...options, '-o', 'x.safetensors')
  const decoded = await bytesOf(folder, 'decode', 'x.safetensors', '-o', '-', ...cpu)
  expect(decoded.stdout.equals(piped.stdout)).toBe(true)
  expect(decoded.stderr).toContain('-: 12 frames, 256 × 256')
  const refused = await bytesOf(folder, 'generate', ...options, '--steps', '0', '-o', '-', '--json')
  expect({ code: refused.code, stdout: refused.stdout.length }).toEqual({ code: 2, stdout: 0 })
  expect(eventsAmong(refused.stderr)).toContainEqual(expect.objectContaining({ type: 'error', code: 'ERR_OUT_OF_RANGE' }))
})
