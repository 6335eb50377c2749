// train:demo, stage by stage at a small size: where each stage begins, that none takes a step without time, and what the exported folder holds.

import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { VAE, VAETrainer, VideoPipeline } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { worldClip } from '../../models/demo/recipe/clips.js'
import { modelDefaults, schedulerConfig } from '../../models/demo/recipe/config.js'
import { exportModel } from '../../models/demo/recipe/export.js'
import { channelEffects, freezeVAE } from '../../models/demo/recipe/freeze.js'
import { encodeLatents } from '../../models/demo/recipe/latents-stage.js'
import { resolveStart } from '../../models/demo/recipe/start.js'
import { trainTransformer } from '../../models/demo/recipe/transformer-stage.js'
import { trainVAE } from '../../models/demo/recipe/vae-stage.js'
import { smallDemo } from '../support/demo.js'

const model = { device: 'cpu' } as const
const common = { seed: 1, model, sizes: smallDemo }
const transformerOptions = { ...common, shares: [1, 0, 0], sigma: { mean: 0.6, std: 1.4 } }

const json = async (...path: string[]) => JSON.parse(await readFile(join(...path), 'utf8')) as Record<string, unknown>
const step = async (folder: string, stage: string) => (await json(folder, stage, 'training', 'state.json'))['step'] as number

function weights(...path: string[]): Map<string, Float32Array> {
  const { tensors } = loadBinding().readSafetensors(join(...path))
  return new Map(Object.entries(tensors).map(([name, { data }]) => [name, Float32Array.from(data as ArrayLike<number>)]))
}

/** Largest difference between two files of weights with the same names. */
function difference(a: Map<string, Float32Array>, b: Map<string, Float32Array>): number {
  expect([...a.keys()].sort()).toEqual([...b.keys()].sort())
  let largest = 0
  for (const [name, values] of a) values.forEach((value, at) => (largest = Math.max(largest, Math.abs(value - b.get(name)![at]!))))
  return largest
}

let root = ''
const folder = (name: string) => join(root, name)
/** A whole training from scratch whose stages had no time, exported. */
const first = () => folder('first')
const exported = () => folder('model')
const vaeFile = 'diffusion_pytorch_model.safetensors'

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vin-demo-'))
  vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  for (const stage of ['vae2d', 'vae-temporal'] as const) await trainVAE(stage, { ...common, folder: first(), minutes: 0 })
  await encodeLatents({ ...common, folder: first(), videos: [2, 0, 0] })
  await trainVAE('vae-decoder', { ...common, folder: first(), minutes: 0 })
  await trainTransformer({ ...transformerOptions, folder: first(), minutes: 0 })
  await exportModel({ folder: first(), target: exported(), dtype: 'float16', model })
}, 120_000)
afterAll(async () => {
  vi.restoreAllMocks()
  await rm(root, { recursive: true, force: true })
})

describe('from scratch', () => {
  test('without time no stage takes a step, and every stage leaves a checkpoint', async () => {
    for (const stage of ['vae2d', 'vae-temporal', 'vae-decoder', 'transformer']) expect([stage, await step(first(), stage)]).toEqual([stage, 0])
  })

  test('the temporal VAE begins with the 2D one', () => {
    const [spatial, both] = [weights(first(), 'vae2d', vaeFile), weights(first(), 'vae-temporal', vaeFile)]
    const parts = (prefix: string) => [spatial, both].map((all) => new Map([...all].filter(([name]) => name.startsWith(prefix)))) as [Map<string, Float32Array>, Map<string, Float32Array>]
    expect(difference(...parts('spatial_vae.'))).toBe(0)
    // The temporal part starts as pictures that pass through instead of random.
    expect(difference(...parts('temporal_vae.'))).toBeGreaterThan(0.1)
  })

  test('a frozen VAE gives latents of mean 0 and deviations of at most 1, in which the same noise shows as much in every channel', async () => {
    const config = await json(first(), 'vae-final', 'config.json')
    const values = new Float32Array((await readFile(join(first(), 'latents-4s.f32'))).buffer.slice(0))
    expect(values.length).toBe(2 * 4 * 20 * 64)
    expect((config['scale'] as number[]).every((value) => value > 0)).toBe(true)
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const deviations = [0, 1, 2, 3].map((channel) => {
      const own = values.filter((_, at) => Math.floor(at / (20 * 64)) % 4 === channel)
      const middle = own.reduce((sum, value) => sum + value, 0) / own.length
      return Math.sqrt(own.reduce((sum, value) => sum + (value - middle) ** 2, 0) / own.length)
    })
    // The moments are of one other video of the world.
    expect(Math.abs(mean)).toBeLessThan(1)
    expect(Math.max(...deviations)).toBeGreaterThan(0.3)
    expect(Math.max(...deviations)).toBeLessThan(3)
    const vae = await VAE.fromPretrained(join(first(), 'vae-final'), model)
    const effects = await channelEffects(vae, 1)
    await vae.dispose()
    // Up to what is not linear in the decoder. With deviations of 1 the least shows a third of what the largest does.
    expect(Math.max(...effects)).toBe(1)
    expect(Math.min(...effects)).toBeGreaterThan(0.8)
  })
})

test('a VAE that cannot be frozen leaves nothing behind', async () => {
  const target = folder('taken')
  await mkdir(target)
  await writeFile(join(target, 'notes.txt'), 'mine')
  for (const from of [{ checkpoint: join(first(), 'vae-temporal'), start: undefined }, { checkpoint: join(root, 'nowhere'), start: exported() }]) {
    await expect(freezeVAE({ ...from, folder: target, momentVideos: 1, model })).rejects.toThrow()
    expect((await readdir(root)).filter((name) => name.startsWith('taken'))).toEqual(['taken'])
    expect(await readdir(target)).toEqual(['notes.txt'])
  }
})

describe("stage 'vae-decoder'", () => {
  test('begins with the frozen VAE, and its decoders go into the exported model while the encoder keeps its bits', async () => {
    const target = folder('with-decoder')
    const frozen = weights(first(), 'vae-final', vaeFile)
    expect(difference(frozen, weights(first(), 'vae-decoder', vaeFile))).toBe(0)
    expect(difference(frozen, weights(exported(), 'vae', vaeFile))).toBe(0)
    await cp(first(), folder('trained'), { recursive: true })
    const trainer = await VAETrainer.resume(join(folder('trained'), 'vae-decoder'), { learningRate: 1e-2, warmupSteps: 0 }, model)
    await trainer.step([worldClip(1, 0, 16), worldClip(1, 1, 16)])
    await trainer.save(join(folder('trained'), 'vae-decoder'))
    trainer.dispose()
    await trainer.vae.dispose()
    await exportModel({ folder: folder('trained'), target, dtype: 'float32', model })
    const written = weights(target, 'vae', vaeFile)
    const part = (all: Map<string, Float32Array>, decoders: boolean) => new Map([...all].filter(([name]) => /\.(decoder|post_quant_conv)\./.test(name) === decoders))
    expect(difference(part(frozen, false), part(written, false))).toBe(0)
    expect(difference(part(frozen, true), part(written, true))).toBeGreaterThan(1e-4)
    expect((await json(target, 'vae', 'config.json'))['scale']).toEqual((await json(first(), 'vae-final', 'config.json'))['scale'])
    // The written model is whole.
    await (await VideoPipeline.fromPretrained(target, model)).dispose()
  })

  test('freezes the VAE where that was not done', async () => {
    await mkdir(folder('unfrozen'), { recursive: true })
    await trainVAE('vae-decoder', { ...common, folder: folder('unfrozen'), minutes: 0, start: exported() })
    expect(difference(weights(exported(), 'vae', vaeFile), weights(folder('unfrozen'), 'vae-final', vaeFile))).toBe(0)
    expect(await step(folder('unfrozen'), 'vae-decoder')).toBe(0)
  })
})

describe('the exported folder', () => {
  test('is a model with the settings of the sampler that were asked for', async () => {
    const target = folder('other-sampler')
    await exportModel({ folder: first(), target, dtype: 'float32', shift: 8, steps: 30, guidance: 3.5, model })
    expect(await json(target, 'scheduler', 'scheduler_config.json')).toMatchObject({ _class_name: 'FlowMatchEulerDiscreteScheduler', shift: 8 })
    expect(await json(target, 'model_index.json')).toMatchObject({ num_inference_steps: 30, guidance_scale: 3.5, width: 64, height: 64, fps: 16 })
    const pipeline = await VideoPipeline.fromPretrained(target, model)
    expect(pipeline.defaults).toMatchObject({ numInferenceSteps: 30, guidanceScale: 3.5 })
    await pipeline.dispose()
    expect(await json(exported(), 'scheduler', 'scheduler_config.json')).toMatchObject({ shift: schedulerConfig.shift })
    expect(await json(exported(), 'model_index.json')).toMatchObject({ num_inference_steps: modelDefaults.numInferenceSteps, guidance_scale: modelDefaults.guidanceScale })
  })

  test('keeps what a reader put beside the model, and nothing of the model before it', async () => {
    const target = folder('with-readme')
    await cp(exported(), target, { recursive: true })
    await writeFile(join(target, 'README.md'), 'figures')
    await cp('models/demo/recipe', join(target, 'recipe'), { recursive: true })
    await writeFile(join(target, 'transformer', 'model.safetensors'), 'old weights under another name')
    await exportModel({ folder: first(), target, dtype: 'float16', model })
    expect(await readFile(join(target, 'README.md'), 'utf8')).toBe('figures')
    expect(await readdir(join(target, 'recipe'))).toEqual(await readdir('models/demo/recipe'))
    expect(existsSync(join(target, 'transformer', 'model.safetensors'))).toBe(false)
    expect((await readdir(target)).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('is not that of somebody else, nor a checkpoint', async () => {
    const target = folder('theirs')
    await mkdir(target)
    await writeFile(join(target, 'notes.txt'), 'mine')
    await expect(exportModel({ folder: first(), target, dtype: 'float16', model })).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: expect.stringContaining('notes.txt') as string })
    await expect(exportModel({ folder: first(), target: join(first(), 'transformer'), dtype: 'float16', model })).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: expect.stringContaining('training') as string })
    expect(await readdir(target)).toEqual(['notes.txt'])
  })
})

describe('from a model folder', () => {
  test('the transformer starts with its weights at step 0; a checkpoint is gone on from instead', async () => {
    const again = folder('again')
    await encodeLatents({ ...common, folder: again, videos: [2, 0, 0], start: exported() })
    await trainTransformer({ ...transformerOptions, folder: again, start: exported(), minutes: 0 })
    const start = weights(exported(), 'transformer', vaeFile)
    expect(await step(again, 'transformer')).toBe(0)
    expect(difference(weights(again, 'transformer', 'transformer', vaeFile), start)).toBe(0)
    expect(difference(weights(again, 'transformer', 'text_encoder', 'model.safetensors'), weights(exported(), 'text_encoder', 'model.safetensors'))).toBe(0)

    // Time for a few steps at the least.
    await trainTransformer({ ...transformerOptions, folder: again, start: exported(), minutes: 0.02 })
    const trained = await step(again, 'transformer')
    expect(trained).toBeGreaterThan(0)
    const moved = weights(again, 'transformer', 'transformer', vaeFile)
    expect(difference(moved, start)).toBeGreaterThan(0)
    await trainTransformer({ ...transformerOptions, folder: again, start: exported(), minutes: 0 })
    expect(await step(again, 'transformer')).toBe(trained)
    expect(difference(weights(again, 'transformer', 'transformer', vaeFile), moved)).toBe(0)
    // A sitting ends at rate 0; the next one begins above it.
    await trainTransformer({ ...transformerOptions, folder: again, start: exported(), minutes: 0.001 })
    const last = (await readFile(join(again, 'curve.ndjson'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as { step: number; learningRate: number }).find(({ step: at }) => at === trained)
    expect(last!.learningRate).toBeCloseTo(1.5e-5 * Math.min(100, trained + 1), 9)
    // Without the checkpoint the start counts again.
    await rm(join(again, 'transformer'), { recursive: true })
    await trainTransformer({ ...transformerOptions, folder: again, start: exported(), minutes: 0 })
    expect(await step(again, 'transformer')).toBe(0)
    expect(difference(weights(again, 'transformer', 'transformer', vaeFile), start)).toBe(0)
  })

  test('single pictures are learned with the same weights and go on from the same checkpoint; each checkpoint is shown', async () => {
    const again = folder('again')
    const before = weights(again, 'transformer', 'transformer', vaeFile)
    await trainTransformer({ ...transformerOptions, images: 1, folder: again, start: exported(), minutes: 0.02 })
    const trained = await step(again, 'transformer')
    expect(trained).toBeGreaterThan(0)
    expect(difference(weights(again, 'transformer', 'transformer', vaeFile), before)).toBeGreaterThan(0)
    const { width, height } = decode(await readFile(join(again, 'sheets', `images-${String(trained).padStart(6, '0')}.png`)))
    expect([width, height]).toEqual([8 * 64 * 2, 3 * 64 * 2])
    await rm(join(again, 'transformer'), { recursive: true })
    await trainTransformer({ ...transformerOptions, folder: again, start: exported(), minutes: 0 })
  })

  test('the first step after the start is one of the warm-up', async () => {
    const lines = (await readFile(join(folder('again'), 'curve.ndjson'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as { stage: string; step: number; learningRate: number })
    const steps = lines.filter(({ stage }) => stage === 'transformer')
    expect(steps[0]).toMatchObject({ step: 0 })
    // 100 steps of warm-up to 1.5e-3.
    expect(steps[0]!.learningRate).toBeCloseTo(1.5e-5, 12)
  })

  test('its VAE is used bit for bit, so that latents mean what they meant', async () => {
    expect((await readFile(join(folder('again'), 'vae-final', vaeFile))).equals(await readFile(join(exported(), 'vae', vaeFile)))).toBe(true)
    expect((await readFile(join(folder('again'), 'latents-4s.f32'))).equals(await readFile(join(first(), 'latents-4s.f32')))).toBe(true)
  })

  test('a VAE stage starts with its VAE, temporal part included; freezing measures latents without the old shift and scale', async () => {
    const further = folder('further')
    await trainVAE('vae-temporal', { ...common, folder: further, start: exported(), minutes: 0 })
    expect(difference(weights(further, 'vae-temporal', vaeFile), weights(exported(), 'vae', vaeFile))).toBe(0)
    await encodeLatents({ ...common, folder: further, videos: [1, 0, 0], start: exported() })
    // The same weights have the same moments again, within their rounding to half precision.
    const [old, found] = [await json(first(), 'vae-final', 'config.json'), await json(further, 'vae-final', 'config.json')]
    for (const name of ['shift', 'scale']) (found[name] as number[]).forEach((value, channel) => expect(Math.abs(value - (old[name] as number[])[channel]!)).toBeLessThan(0.01 * Math.max(1, Math.abs(value))))
  })

  test('a VAE that began with a model folder is frozen without one', async () => {
    const short = folder('short')
    await trainVAE('vae-temporal', { ...common, folder: short, start: exported(), minutes: 0 })
    await encodeLatents({ ...common, folder: short, videos: [1, 0, 0] })
    expect(difference(weights(short, 'vae-final', vaeFile), weights(exported(), 'vae', vaeFile))).toBeLessThan(0.01)
  })

  test('latents without any VAE are refused by name', async () => {
    await expect(encodeLatents({ ...common, folder: folder('empty'), videos: [1, 0, 0] })).rejects.toThrow(/--stage vae-temporal first/)
  })
})

describe('where a training folder begins', () => {
  const fresh = async (name: string) => {
    await mkdir(folder(name), { recursive: true })
    return folder(name)
  }

  test('with the built-in weights if there are any, else from scratch', async () => {
    expect(await resolveStart(await fresh('a'), undefined, exported())).toBe(exported())
    expect(await resolveStart(await fresh('b'), undefined, folder('nothing'))).toBeUndefined()
    expect(await resolveStart(await fresh('c'), 'scratch', exported())).toBeUndefined()
    expect(await resolveStart(await fresh('d'), exported(), folder('nothing'))).toBe(exported())
  })

  test('later commands agree with the first one', async () => {
    expect(await resolveStart(folder('a'), undefined, exported())).toBe(exported())
    expect(await resolveStart(folder('c'), undefined, exported())).toBeUndefined()
    await expect(resolveStart(folder('c'), 'demo', exported())).rejects.toThrow(/--from scratch/)
  })

  test('a folder without weights is refused', async () => {
    await expect(resolveStart(await fresh('e'), 'demo', folder('nothing'))).rejects.toThrow(/transformer/)
    await expect(resolveStart(await fresh('f'), folder('nothing'))).rejects.toThrow(RangeError)
    expect(existsSync(join(folder('f'), 'start.json'))).toBe(false)
  })
})
