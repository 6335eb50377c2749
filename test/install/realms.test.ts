// Two copies of the library in one process (the sources as an ES module, dist/cjs), and values of another realm: what one makes the other takes.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import * as esm from '../../lib/index.js'
import { abortReason, rangeError } from '../../lib/errors.js'
import { loadBinding } from '../../lib/native/load.js'
import { errorCode, errorMessage, isError } from '../../lib/realms.js'
import { root } from '../support/addon.js'
import { fixture, readJson } from '../support/fixtures.js'
import { shake, tinyPipeline, tinyTextEncoder, tinyTokenizer, tinyTransformer, tinyVAE } from '../support/models.js'

const cjs = createRequire(import.meta.url)(join(root, 'dist/cjs/index.js')) as typeof esm
const other = (text: string): unknown => runInNewContext(text)

const classes = (module: object): [string, { prototype: object }][] =>
  Object.entries(module).filter((entry): entry is [string, { prototype: object }] => typeof entry[1] === 'function' && /^class\b/.test(String(entry[1])))

/** What both copies make of the same plain data. */
const data = (shape: number[], first: number): esm.TensorData => ({ data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(first + i)), shape })

describe('two copies in one process', () => {
  test('every class recognises instances of the other copy, and nothing else', () => {
    expect(classes(esm).map(([name]) => name)).toEqual(expect.arrayContaining(['VinError', 'Tensor', 'Scheduler', 'DDIMScheduler', 'VideoPipeline', 'Video', 'Tokenizer', 'Trainer']))
    for (const [name, { prototype }] of classes(esm)) {
      const same = cjs[name as keyof typeof cjs] as unknown as new () => object
      expect(same, name).not.toBe(esm[name as keyof typeof esm])
      expect(Object.create(prototype) instanceof same, name).toBe(true)
      for (const stranger of [{}, null, undefined, 1, Object.create(Object.prototype), new Error('x')]) expect((stranger as unknown) instanceof same, name).toBe(false)
    }
    expect(cjs.DDIMScheduler.fromConfig() instanceof esm.Scheduler).toBe(true)
    expect(cjs.DDIMScheduler.fromConfig() instanceof esm.RFlowScheduler).toBe(false)
  })

  test('a class that extends one keeps the rule of the language', () => {
    class OwnError extends esm.VinError {}
    expect(new cjs.VinError('ERR_VIN_DISK', 'x') instanceof OwnError).toBe(false)
    expect(new OwnError('ERR_VIN_DISK', 'x') instanceof OwnError).toBe(true)
    expect(new OwnError('ERR_VIN_DISK', 'x') instanceof cjs.VinError).toBe(true)
  })

  test('an error of one is a VinError of the other', async () => {
    const error: unknown = await cjs.VideoPipeline.fromPretrained('/nowhere', { device: 'cpu' }).catch((reason: unknown) => reason)
    expect(error instanceof esm.VinError && error.code).toBe('ERR_VIN_MISSING_COMPONENT')
  })

  test('tensors, schedulers and tokenizers of one are taken by the other', async () => {
    const [sample, output] = [data([4, 2, 3, 3], 1), data([4, 2, 3, 3], 2)]
    const scheduler = esm.DDIMScheduler.fromConfig()
    scheduler.setTimesteps(10)
    const t = scheduler.timesteps[3]!
    const expected = await scheduler.step(output, t, sample)
    const [foreign, foreignOutput] = [cjs.Tensor.from(sample), cjs.Tensor.from(output)]
    const stepped = await scheduler.step(foreignOutput, t, foreign)
    expect(await stepped.read()).toEqual(expected)
    for (const tensor of [foreign, foreignOutput, stepped]) tensor.dispose()

    await using pipeline = await tinyPipeline()
    const options = { prompt: 'a red circle bounces', numFrames: 16, seed: 3, outputType: 'latents' } as const
    const { latents } = await pipeline.generate({ ...options, scheduler: 'DDIMScheduler' })
    expect((await pipeline.generate({ ...options, scheduler: cjs.DDIMScheduler.fromConfig() })).latents).toEqual(latents)

    const tokenizer = await cjs.Tokenizer.fromJson(tinyTokenizer)
    await using second = await esm.VideoPipeline.fromConfig({ transformer: tinyTransformer, textEncoder: tinyTextEncoder, tokenizer }, { device: 'cpu' })
    expect(second.tokenizer).toBe(tokenizer)
  })

  test('a video of one is gone on from by the other', async () => {
    await using pipeline = await tinyPipeline()
    const before = await pipeline.generate({ prompt: 'a red circle bounces', numFrames: 16, seed: 3 })
    const { latents, width, height, fps, numFrames } = before
    const foreign = new cjs.Video({ latents, width, height, fps, numFrames, seed: 3, options: {}, plan: undefined, timings: {}, warnings: [] })
    const options = { prompt: 'a red circle bounces', numFrames: 32, seed: 4, outputType: 'latents' } as const
    const expected = await pipeline.generate({ ...options, video: before })
    expect((await pipeline.generate({ ...options, video: foreign })).latents).toEqual(expected.latents)
  })
})

describe('the CommonJS build', () => {
  const below = (folder: string): string[] => readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))

  test('imports nothing: Jest runs it where import() is not to be had', () => {
    const files = below(join(root, 'dist/cjs')).filter((path) => path.endsWith('js'))
    expect(files.length).toBeGreaterThan(50)
    expect(files.filter((path) => /\bimport\(/.test(readFileSync(path, 'utf8').replace(/^\s*(\/\/|\*).*$/gm, '')))).toEqual([])
  })

  test('requires packages that are CommonJS, or have such a form', () => {
    const packages = new Set(below(join(root, 'lib')).filter((path) => path.endsWith('.ts') && !path.includes('/cli/')).flatMap((path) => [...readFileSync(path, 'utf8').matchAll(/\bimport\('([^.'][^']*)'\)/g)].map(([, name]) => name!)))
    expect(packages.size).toBeGreaterThan(3)
    const typeOf = (file: string): string => {
      for (let folder = dirname(file); ; folder = dirname(folder)) {
        const path = join(folder, 'package.json')
        if (existsSync(path)) return (JSON.parse(readFileSync(path, 'utf8')) as { type?: string }).type ?? 'commonjs'
      }
    }
    const { resolve } = createRequire(import.meta.url)
    const modules = [...packages].filter((name) => !resolve(name).endsWith('.cjs') && typeOf(resolve(name)) === 'module')
    expect(modules).toEqual([])
  })
})

describe('a pipeline of one', () => {
  test('is trained by the other', async () => {
    await using own = await tinyPipeline()
    await using foreign = await cjs.VideoPipeline.fromConfig({ transformer: tinyTransformer, vae: tinyVAE }, { device: 'cpu', seed: 11, defaults: { width: 32, height: 32 } })
    shake(foreign as unknown as esm.VideoPipeline)
    const options = { latents: data([4, 10, 4, 4], 1), noise: data([4, 10, 4, 4], 2), promptEmbeds: data([3, 32], 3), timestep: 400 }
    const losses: number[] = []
    for (const pipeline of [own, foreign as unknown as esm.VideoPipeline]) {
      const trainer = new esm.Trainer(pipeline, { trainable: 'vin', scheduler: 'RFlowScheduler' })
      losses.push((await trainer.lossAndGradients(options)).loss)
      await trainer.dispose()
    }
    expect(losses[0]).toBeGreaterThan(0)
    expect(losses[1]).toBe(losses[0])
  })
})

describe('another realm', () => {
  test('errors are errors', () => {
    const error = other("Object.assign(new RangeError('far away'), { code: 'E_FAR' })")
    expect(error instanceof Error).toBe(false)
    expect([isError(error), errorCode(error), errorMessage(error)]).toEqual([true, 'E_FAR', 'far away'])
    expect([isError(new DOMException('gone', 'AbortError')), isError({ message: 'no' }), isError('no')]).toEqual([true, false, false])
    expect([errorCode(new Error('x')), errorCode({ code: 'E' }), errorMessage('text')]).toEqual([undefined, undefined, 'text'])
  })

  test("the addon's errors are of the classes of the copy and the realm that loaded it last, and VinErrors of every copy", async () => {
    const binding = loadBinding()
    const engine = binding.createEngine({ device: 'cpu', threads: 1 })
    const failures = async (): Promise<unknown[]> => {
      const thrown = [() => binding.parseJson(Buffer.from('{'), 'f.json'), () => engine.upload(new Float32Array(1), [2])].map((call) => {
        try {
          return call()
        } catch (error) {
          return error
        }
      })
      const cancel = engine.createCancel()
      cancel.cancel()
      const config = readJson('vin-full', 'transformer', 'config.json')
      const load = engine.load('transformer', config, [fixture('vin-full', 'transformer', 'diffusion_pytorch_model.safetensors')], { cancel })
      return [...thrown, await load.catch((error: unknown) => error)]
    }
    const realm = { RangeError: other('RangeError') as RangeErrorConstructor, DOMException: class extends DOMException {} }
    try {
      for (const classes of [{ VinError: esm.VinError, RangeError, DOMException }, { VinError: cjs.VinError, ...realm }]) {
        binding.useErrors(classes)
        const [format, range, abort] = await failures()
        expect(format).toMatchObject({ name: 'VinError', code: 'ERR_VIN_FORMAT', message: expect.stringContaining('f.json') as string, details: { file: 'f.json' } })
        expect((format as Error).constructor).toBe(classes.VinError)
        expect([format instanceof esm.VinError, format instanceof cjs.VinError, range instanceof classes.RangeError, abort instanceof classes.DOMException]).toEqual([true, true, true, true])
        expect(range).toMatchObject({ code: rangeError('').code, message: 'Expected 2 values for the shape [2] but received 1' })
        expect(abort).toMatchObject({ name: 'AbortError', message: (abortReason() as Error).message })
      }
    } finally {
      binding.useErrors({ VinError: esm.VinError, RangeError, DOMException })
      await engine.dispose()
    }
  })

  test('arrays and patterns are taken', async () => {
    const floats = other('Float32Array.of(1, 2, 3, 4)') as Float32Array
    expect(floats instanceof Float32Array).toBe(false)
    const tensor = esm.Tensor.from({ data: floats, shape: [2, 2] })
    expect([...(await tensor.read()).data]).toEqual([1, 2, 3, 4])
    tensor.dispose()

    await using pipeline = await tinyPipeline()
    const trainer = new esm.Trainer(pipeline, { trainable: other('/^vin\\./') as RegExp })
    expect(trainer.trainableNames.length).toBeGreaterThan(0)
    expect(trainer.trainableNames.every((name) => name.startsWith('vin.'))).toBe(true)
    await trainer.dispose()

    const picture = { data: other('new Uint8Array(32 * 32 * 3).fill(7)') as Uint8Array, width: 32, height: 32 }
    const video = await pipeline.generate({ prompt: 'a red circle bounces', numFrames: 16, seed: 3, outputType: 'latents', image: picture })
    const same = await pipeline.generate({ prompt: 'a red circle bounces', numFrames: 16, seed: 3, outputType: 'latents', image: { ...picture, data: Uint8Array.from(picture.data) } })
    expect(video.latents).toEqual(same.latents)
  })
})
