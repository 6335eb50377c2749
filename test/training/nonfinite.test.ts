// A gradient that is not finite never reaches weights, and weights that are not finite never reach a file.
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { Trainer, VAE, VAETrainer, VinError } from '../../lib/index.js'
import type { NamedGradients, TrainingExample } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import type { Device } from '../../lib/native/backends.js'
import type { NativeEngine } from '../../lib/native/binding.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { onDevices } from '../support/devices.js'
import { bits } from '../support/fixtures.js'
import { tinyPipeline, tinyVAE } from '../support/models.js'

let folder: string
const open: { dispose(): void | Promise<void> }[] = []
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'nonfinite-'))))
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.dispose()
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const failure = (work: Promise<unknown>): Promise<VinError | undefined> => work.then(() => undefined, (error: unknown) => error as VinError)
const transformerExample: TrainingExample = { prompt: 'a red circle', latents: { data: new PhiloxRandom(8, 0x10000, 0).normals(4 * 5 * 16), shape: [4, 5, 4, 4] } }
const frames: TrainingExample = { prompt: '', frames: { data: new Uint8Array(16 * 16 * 3).map((_, i) => (i * 37) % 256), shape: [1, 16, 16, 3] } }

interface Case {
  trainer: Trainer | VAETrainer
  engine: NativeEngine
  example: TrainingExample
  weight: string
}
type Options = { maxGradNorm?: number }

const trainers: [string, (device: Device, options?: Options) => Promise<Case>][] = [
  [
    'Trainer',
    async (device, options) => {
      const pipeline = await tinyPipeline({ device })
      const trainer = new Trainer(pipeline, { lengths: [5], seed: 3, ...options })
      open.push(pipeline, trainer)
      return { trainer, engine: pipeline.engine.native, example: transformerExample, weight: 'blocks.0.attn.qkv.weight' }
    }
  ],
  [
    'VAETrainer',
    async (device, options) => {
      const vae = await VAE.fromConfig(tinyVAE, { device, seed: 1 })
      const trainer = new VAETrainer(vae, { stage: 'spatial', batchSize: 1, seed: 3, ...options })
      open.push(vae, trainer)
      return { trainer, engine: vae.engine.native, example: frames, weight: 'spatial_vae.module.decoder.conv_in.weight' }
    }
  ]
]

const cases = onDevices(trainers).map(([[name, start], device]) => [`${name} on ${device}`, (options?: Options) => start(device, options)] as const)

/** SHA-256 of every tensor of a trainer's state. */
async function saved({ trainer }: Case, name: string): Promise<Record<string, string>> {
  await trainer.save(join(folder, name))
  const { tensors } = loadBinding().readSafetensors(join(folder, name, 'training', 'state.safetensors'))
  return Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [key, sha256(bits(tensor as { data: Float32Array; shape: number[] }))]))
}

/** SHA-256 of every file below a folder. */
async function hashes(path: string): Promise<Record<string, string>> {
  const files = (await readdir(path, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  const entries = await Promise.all(files.map(async ({ parentPath, name }) => [join(parentPath, name), sha256(await readFile(join(parentPath, name)))] as const))
  return Object.fromEntries(entries.sort())
}

test.each(cases)('%s: a gradient with NaN or Inf is refused by the name of its weight, and weights, moments and averages keep their bits', async (name, start) => {
  const run = await start()
  await run.trainer.step([run.example])
  const before = await saved(run, name)
  for (const value of [NaN, Infinity]) {
    const poison = (gradients: NamedGradients) => void run.engine.op('fill', { y: gradients.get(run.weight)!.native, value })
    const error = await failure(run.trainer.step([run.example], { onGradients: poison }))
    expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 1, weight: run.weight } })
    expect(error!.message).toMatch(/^Expected finite gradients but that of .* holds NaN or Inf, weights are as before;/)
  }
  expect(run.trainer.globalStep).toBe(1)
  expect(await saved(run, name)).toEqual(before)
  // The trainer goes on.
  expect((await run.trainer.step([run.example])).step).toBe(1)
})

test.each(cases)('%s: without clipping, a gradient whose square float32 cannot hold is refused, since its second moment would stay infinite', async (name, start) => {
  const run = await start({ maxGradNorm: 0 })
  const before = await saved(run, name)
  const grow = (gradients: NamedGradients) => void run.engine.op('fill', { y: gradients.get(run.weight)!.native, value: 1e20 })
  const error = await failure(run.trainer.step([run.example], { onGradients: grow }))
  expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', details: { step: 0 } })
  expect(error!.message).toContain('maxGradNorm')
  expect(await saved(run, name)).toEqual(before)
})

test.each(cases)('%s: weights with NaN are not saved, and the checkpoint that is there stays', async (name, start) => {
  const run = await start()
  await saved(run, `${name}-kept`)
  const before = await hashes(join(folder, `${name}-kept`))
  const model = run.trainer instanceof Trainer ? run.trainer.pipeline.transformer.native : run.trainer.vae.native
  const weight = model.weight(run.weight)
  run.engine.op('fill', { y: weight, value: NaN })
  weight.dispose()
  const error = await failure(run.trainer.save(join(folder, `${name}-kept`)))
  expect(error).toMatchObject({ code: 'ERR_VIN_NONFINITE', message: expect.stringMatching(/^Expected finite weights to save but .* holds NaN at element 0; nothing was written$/) })
  expect(await hashes(join(folder, `${name}-kept`))).toEqual(before)
})

test.each([['Inf', Infinity], ['NaN', NaN]] as const)('a model with %s is not written as a file either', async (_name, value) => {
  const vae = await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 })
  open.push(vae)
  const weight = vae.native.weight('spatial_vae.module.decoder.conv_in.weight')
  vae.engine.native.op('fill', { y: weight, value })
  weight.dispose()
  for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
    const path = join(folder, `${dtype}.safetensors`)
    const error = (await failure(vae.native.save(path, { dtype }))) as { code?: string } | undefined
    expect(error?.code).toBe('ERR_VIN_NONFINITE')
    await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' })
  }
})
