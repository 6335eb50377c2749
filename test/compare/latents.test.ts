// compare on a published backbone as it comes: no VIN, no VAE, no text encoder. What runs, what is measured of latents, and what is said of the rest.
import { mkdir, mkdtemp, readFile, readdir, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline, compare, randn } from '../../lib/index.js'
import type { CompareOptions, CompareReport, TensorData } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { events, vinNative } from '../cli/support.js'
import { fixture } from '../support/fixtures.js'

let folder: string
let pipeline: VideoPipeline
let promptEmbeds: Record<string, TensorData>
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-latents-'))
  await mkdir(at('model'))
  await symlink(fixture('stdit3'), at('model', 'transformer'))
  pipeline = await VideoPipeline.fromPretrained(at('model'), { device: 'cpu' })
  promptEmbeds = { 'a circle': await randn({ seed: 4, shape: [5, 32] }), 'two squares': await randn({ seed: 5, shape: [3, 32] }) }
  loadBinding().writeSafetensors(at('prompts.safetensors'), promptEmbeds)
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true, force: true })
})

const at = (...path: string[]): string => join(folder, ...path)
const training = ['full', 'autoregressive', 'independent', 'freenoise', 'spectral-blend'] as const
const sampling = { width: 32, height: 32, numInferenceSteps: 2, chunkFrames: 10, contextFrames: 4 } as const
const asked = (report: string, more: Partial<CompareOptions> = {}): CompareOptions => ({ report: at(report), promptEmbeds, frames: [64], ...sampling, ...more })
const latentsOf = (report: string, path: string): Float32Array => loadBinding().readSafetensors(at(report, path)).tensors['latents']!.data as Float32Array

let report: CompareReport

test('the methods that need no training run, and their latents are those of generate', async () => {
  report = await compare(pipeline, asked('out'))
  expect(report.methods).toEqual(training)
  expect(report).toMatchObject({ reference: 'full', metrics: ['seamScore'], prompts: ['a circle', 'two squares'], seeds: [0], frames: [64] })
  expect(report.rows).toHaveLength(10)
  for (const method of training) {
    const options = { ...sampling, method, promptEmbeds: promptEmbeds['a circle'], numFrames: 64, seed: 0, outputType: 'latents' } as const
    const video = await pipeline.generate(options)
    const row = report.rows.find((each) => each.method === method && each.prompt === 'a circle')!
    const { flops, memory, chunks } = pipeline.plan(options)
    expect(row).toMatchObject({ flops: flops.total, peakMemory: memory.peak, latents: `cells/${row.cell}/latents.safetensors`, promptSha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string })
    expect(row.values['seconds']).toBeGreaterThan(0)
    expect(row.video).toBeUndefined()
    expect(Buffer.from(latentsOf('out', row.latents!).buffer).equals(Buffer.from(video.latents.data.buffer))).toBe(true)
    expect(await readdir(at('out', 'cells', row.cell))).toEqual(['latents.safetensors', 'row.json'])
    // By hand: frames as lists of numbers.
    const [C = 0, N = 0, H = 0, W = 0] = video.latents.shape
    const frame = (n: number): number[] => Array.from({ length: C }, (_, c) => [...video.latents.data.slice((c * N + n) * H * W, (c * N + n + 1) * H * W)]).flat()
    const change = (n: number): number => frame(n).reduce((sum, value, i) => sum + Math.abs(value - frame(n - 1)[i]!), 0) / (C * H * W)
    const changes = Array.from({ length: N - 1 }, (_, n) => change(n + 1))
    const sorted = [...changes].sort((a, b) => a - b)
    expect(N).toBe(20)
    const seams = chunks.slice(1).map(({ start }) => changes[start - 1]!)
    if (seams.length === 0) expect(row.values).not.toHaveProperty('latentSeamScore')
    else expect(row.values['latentSeamScore']).toBeCloseTo(seams.reduce((a, b) => a + b, 0) / seams.length / sorted[9]!, 6)
  }
  expect(report.rows.filter(({ values }) => values['latentSeamScore'] !== undefined).map(({ method }) => method).sort()).toEqual(['autoregressive', 'autoregressive', 'independent', 'independent'])
})

test('each method has its difference to full, and full has none', () => {
  const rowOf = (method: string) => report.rows.find((each) => each.method === method && each.prompt === 'two squares')!
  const full = [...latentsOf('out', rowOf('full').latents!)]
  const rms = (values: number[]): number => Math.hypot(...values) / Math.sqrt(values.length)
  expect(rowOf('full').values).not.toHaveProperty('differenceToFull')
  for (const method of training.slice(1)) {
    const own = [...latentsOf('out', rowOf(method).latents!)]
    const wanted = rms(own.map((value, i) => value - full[i]!)) / rms(full)
    expect(wanted, method).toBeGreaterThan(0.01)
    expect(rowOf(method).values['differenceToFull'], method).toBeCloseTo(wanted, 6)
  }
})

test('what cannot run and what cannot be measured is named, with the reason', async () => {
  expect(report.notRun).toEqual({ vin: 'needs the weights vin.*, which the model lacks', 'streaming-t2v': 'needs the weights cam.* and apm.*, which the model lacks' })
  expect(report.notMeasured).toMatchObject({ mawe: 'needs pixels, and the model has no vae/', sceneCuts: 'needs pixels, and the model has no vae/' })
  expect(report.notMeasured).not.toHaveProperty('seamScore')
  const page = await readFile(at('out', 'index.html'), 'utf8')
  expect(page).toContain('Not run: vin (needs the weights vin.*, which the model lacks).')
  expect(page).toMatch(/Not measured: temporalFlickering, [^:]*, and identityOverGap \(needs pixels, and the model has no vae\/\)/)
  // Of these measures full has none, so there is no table of differences to it.
  expect(page).not.toContain('id="differences"')
  expect(page).not.toContain('id="grid"')
  expect((await readFile(at('out', 'report.csv'), 'utf8')).split('\r\n')[0]).toMatch(/,prompt_sha256,video,latents,failed$/)
})

test('a report is repeated with the same embeddings, and with no others', async () => {
  const again = await compare(pipeline, { from: report, promptEmbeds, report: at('again') })
  expect(again.rows.map(({ cell, values: { seconds, ...values } }) => [cell, values])).toEqual(report.rows.map(({ cell, values: { seconds, ...values } }) => [cell, values]))
  const swapped = { 'a circle': promptEmbeds['two squares']!, 'two squares': promptEmbeds['a circle']! }
  const other = { code: 'ERR_VIN_RESUME_MISMATCH', message: expect.stringMatching(/^Expected for "a circle" the embeddings that the report was made with \(those of SHA-256 [0-9a-f]{12}…\) but received those of SHA-256/) as string }
  await expect(compare(pipeline, { from: report, promptEmbeds: swapped, report: at('other') })).rejects.toMatchObject(other)
  // Other embeddings of a prompt are other cells of a folder.
  const more = await compare(pipeline, asked('again', { methods: ['full'], promptEmbeds: { 'a circle': swapped['a circle'] } }))
  expect(more.rows).toHaveLength(11)
})

test('a model without an encoder, and metrics that need pixels, are refused in a sentence', async () => {
  const refused = async (options: object, expected: object): Promise<void> => {
    await expect(compare(pipeline, { ...asked('refused'), ...options } as CompareOptions)).rejects.toMatchObject(expected)
  }
  await refused({ promptEmbeds: undefined, prompts: ['a circle'] }, { code: 'ERR_VIN_MISSING_COMPONENT', message: 'Expected the model to have text_encoder/ to compare prompts but it has none; pass promptEmbeds' })
  await refused({ metrics: ['seamScore', 'mawe'] }, { code: 'ERR_VIN_MISSING_COMPONENT', message: 'Expected the model to have vae/ to measure mawe but it has none; of latents seamScore alone is measured' })
  await refused({ methods: ['vin'] }, { code: 'ERR_VIN_MISSING_COMPONENT' })
  await refused({ prompts: ['a house'] }, { code: 'ERR_OUT_OF_RANGE', message: 'Expected promptEmbeds of every prompt but received none of "a house"' })
  await refused({ promptEmbeds: { 'a circle': { data: new Float32Array(33), shape: [1, 33] } } }, { code: 'ERR_OUT_OF_RANGE' })
  await refused({ promptEmbeds: { 'a circle': 7 } }, { code: 'ERR_INVALID_ARG_TYPE' })
  expect(await readdir(folder)).not.toContain('refused')
})

test('the command takes embeddings from a file, and goes on with a folder', async () => {
  const options = ['--prompts', 'prompts.safetensors', '--methods', 'full,freenoise', '--frames', '16', '--steps', '2', '--width', '32', '--height', '32', '--model', 'model', '--device', 'cpu', '--report', 'command', '--json']
  const first = await vinNative(folder, 'compare', ...options)
  expect(first.code, first.stderr).toBe(0)
  expect(events(first.stdout).at(-1)).toMatchObject({ type: 'done', rows: 4, path: join('command', 'index.html') })
  expect(events(first.stdout).filter(({ type }) => type === 'row')).toHaveLength(4)
  const second = await vinNative(folder, 'compare', ...options)
  expect(events(second.stdout).filter(({ type }) => type === 'row')).toHaveLength(0)
  const missing = await vinNative(folder, 'compare', '--prompts', 'nowhere.safetensors', '--model', 'model', '--device', 'cpu', '--report', 'none')
  expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('nowhere.safetensors') as string })
})
