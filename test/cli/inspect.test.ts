// vin-native inspect gpu, prebuilds and attention, in child processes.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline, randn } from '../../lib/index.js'
import type { TensorData } from '../../lib/index.js'
import { bindingPath, loadBinding } from '../../lib/native/load.js'
import { packageRoot } from '../../lib/native/package-root.js'
import { events, vinNative, writeModel } from './support.js'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-inspect-'))
  await writeModel(join(folder, 'model'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** The one line of JSON that a command writes. */
async function inspect<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await vinNative(folder, 'inspect', ...args, '--json')
  expect(stderr).toBe('')
  expect(code).toBe(0)
  const lines = events(stdout)
  expect(lines).toHaveLength(1)
  expect(lines[0]!['type']).toBe(args[0])
  return lines[0] as T
}

test('gpu: every candidate with its reason, and the test backends', async () => {
  const { device, backends } = await inspect<{ device: string; backends: { device: string; backend: string; usable: boolean; code?: string; reason?: string }[] }>('gpu')
  expect(device).toBe('cpu')
  for (const each of backends) {
    if (each.usable) expect(existsSync(each.backend)).toBe(true)
    else expect(each).toMatchObject({ backend: expect.any(String) as string, code: expect.any(String) as string, reason: expect.any(String) as string })
  }
  // Where the sources were built for the host, the device can be opened; else it says what builds it.
  const emulated = backends.filter((each) => each.device === 'cuda-emu')
  const path = join(packageRoot(), 'build-backends', 'emu', 'libvin_cuda.so')
  expect(emulated).toEqual([existsSync(path) ? { device: 'cuda-emu', usable: true, backend: path } : { device: 'cuda-emu', usable: false, backend: path, code: 'not_found', reason: 'not built; run npm run build:emu' }])
  expect(backends.filter((each) => each.device === 'cuda').map(({ backend }) => backend)).toEqual((await refusedCandidates()).map(({ backend }) => backend))
  const { stdout } = await vinNative(folder, 'inspect', 'gpu')
  expect(stdout).toMatch(/^device 'auto' is cpu\n/)
  for (const { backend } of backends) expect(stdout).toContain(backend)
})

test('gpu and doctor show nothing of a clone where the package is installed', async () => {
  // What a package has and a clone has too, at a place of its own.
  const installed = join(folder, 'installed')
  await cp(join(packageRoot(), 'dist'), join(installed, 'dist'), { recursive: true })
  await cp(join(packageRoot(), 'package.json'), join(installed, 'package.json'))
  await symlink(join(packageRoot(), 'node_modules'), join(installed, 'node_modules'))
  for (const command of [['inspect', 'gpu'], ['doctor']]) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(installed, 'dist/esm/cli/index.js'), ...command], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', VIN_NATIVE_BINDING: bindingPath() } })
    expect(status, stderr).toBe(0)
    expect(stdout).toContain(join(installed, 'prebuilds', `${process.platform}-${process.arch}`, 'backends'))
    expect(stdout).not.toMatch(/build-backends|cuda-emu|cuda-ptx/)
  }
})

/** What the library says when CUDA is asked for. */
async function refusedCandidates(): Promise<{ backend: string }[]> {
  const error = (await VideoPipeline.fromPretrained('demo', { device: 'cuda' }).catch((reason: unknown) => reason)) as { details: { rejected: { backend: string }[] } }
  return error.details.rejected
}

test('prebuilds: this machine, and the addon in use', async () => {
  const report = await inspect<{ machine: { platform: string; arch: string }; prebuilds: unknown[]; used: string }>('prebuilds')
  expect(report.machine).toMatchObject({ platform: process.platform, arch: process.arch })
  expect(report.used).toBe(bindingPath())
  expect((await vinNative(folder, 'inspect', 'prebuilds')).stdout).toContain(`in use: ${bindingPath()}`)
})

interface Attention {
  step: number
  timestep: number
  keyframes: number[]
  encoder: number[][]
  processor: number[][]
}

/** The maps that `-o` wrote. */
function readMaps(file: string): { tensors: Record<string, TensorData>; metadata: Record<string, string> } {
  return loadBinding().readSafetensors(join(folder, file)) as unknown as { tensors: Record<string, TensorData>; metadata: Record<string, string> }
}

test.each([0, 2])('attention at step %i is that of the run', async (step) => {
  const args = ['attention', 'model', '--device', 'cpu', '--prompt', 'a red circle', '--frames', '64', '--seed', '7', '--steps', '4', '--step', String(step), '-o', `maps-${step}.safetensors`]
  const seen = await inspect<Attention>(...args)
  expect(seen).toMatchObject({ step, keyframes: [0, 2, 4, 6, 8, 10, 12, 14, 16, 18] })

  await using pipeline = await VideoPipeline.fromPretrained(join(folder, 'model'), { device: 'cpu' })
  const states = [await randn({ seed: 7, shape: [4, 20, 8, 8] })]
  const timesteps: number[] = []
  await pipeline.generate({
    prompt: 'a red circle',
    numFrames: 64,
    seed: 7,
    numInferenceSteps: 4,
    outputType: 'latents',
    onStep: async ({ timestep, latents }) => {
      timesteps.push(timestep)
      states.push(await latents())
    }
  })
  expect(seen.timestep).toBe(timesteps[step])
  const { embeds, mask } = await pipeline.textEncoder.encode('a red circle')
  expect(mask).not.toContain(0)
  const { encoder, processor } = await pipeline.attention({ latents: states[step]!, timestep: timesteps[step]!, promptEmbeds: embeds })

  const { tensors, metadata } = readMaps(`maps-${step}.safetensors`)
  expect(Object.keys(tensors).sort()).toEqual(['encoder', 'processor.0'])
  expect(tensors['encoder']).toMatchObject({ shape: encoder.shape, data: encoder.data })
  expect(tensors['processor.0']).toMatchObject({ shape: processor[0]!.shape, data: processor[0]!.data })
  expect(metadata).toMatchObject({ prompt: 'a red circle', seed: '7', step: String(step), keyframes: '0 2 4 6 8 10 12 14 16 18' })

  // Shares are sums of those probabilities: over the 16 tokens of a keyframe, and over the rows of the text.
  expect(seen.encoder).toHaveLength(4)
  for (const [head, shares] of seen.encoder.entries()) {
    expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 4)
    let third = 0
    for (let g = 0; g < 8; g++) for (let token = 32; token < 48; token++) third += encoder.data[(head * 8 + g) * 160 + token]! / 8
    expect(shares[2]).toBeCloseTo(third, 6)
  }
  const rows = processor[0]!.shape[1]!
  for (const [head, share] of seen.processor[0]!.entries()) {
    let text = 0
    for (let g = 0; g < 8; g++) for (let key = 8; key < rows; key++) text += processor[0]!.data[(head * rows + g) * rows + key]! / 8
    expect(share).toBeCloseTo(text, 6)
  }
})

test('attention in words', async () => {
  const { code, stdout } = await vinNative(folder, 'inspect', 'attention', 'model', '--device', 'cpu', '--frames', '16')
  expect(code).toBe(0)
  expect(stdout).toMatch(/^step 0, timestep 1000\nencoder: .*\n {2}keyframe {7}0 {7}2 {7}4\n {2}head 0 /)
  expect(stdout).toMatch(/\nprocessor: .*\n {2}block 0 /)
})

beforeAll(() => mkdir(join(folder, 'bare')))

test.each<[string[], number, string]>([
  [['gpus'], 2, "the nearest one is 'gpu'"],
  [['gpu', 'model'], 2, "Expected nothing after inspect gpu but received 'model'"],
  [['prebuilds', '--prompt', 'a'], 2, 'Expected --prompt with inspect attention only'],
  [['attention', 'model', '--device', 'cpu', '--step', '4', '--steps', '4'], 2, 'Expected an integer from 0 to 3 for --step but received 4'],
  [['attention', 'model', '--device', 'cpu', '-o', 'maps.json'], 2, 'Expected an output that ends in .safetensors'],
  [['attention', 'nowhere', '--device', 'cpu'], 3, 'nowhere'],
  [['model', 'nowhere'], 3, 'Expected a model folder at nowhere but there is none'],
  [['model', join('model', 'model_index.json')], 3, 'but that is a file; pass the folder'],
  [['model', 'bare'], 3, 'Expected a model folder at bare but it holds neither configs nor weights'],
  [['attention', 'model', '--device', 'cpu', '-o', 'no/such/maps.safetensors'], 4, 'does not exist; make it first'],
  [['attention', 'model', '--device', 'cuda'], 4, 'Expected a CUDA backend']
])('%j exits with %i', async (args, code, message) => {
  const before = await readdir(folder)
  expect(await vinNative(folder, 'inspect', ...args)).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(message) as string })
  expect(await readdir(folder)).toEqual(before)
})
