// What lies in a model folder instead of the file that belongs there is named, and nothing is read before its kind and size are known.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DDIMScheduler, TextEncoder, Trainer, Transformer, VAE, VideoPipeline } from '../../lib/index.js'
import { Tokenizer } from '../../lib/models/tokenizer.js'
import { fixture, readJson } from '../support/fixtures.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-other-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const device = { device: 'cpu' as const }

describe('weights', () => {
  const encoder = (): Promise<TextEncoder> => TextEncoder.fromPretrained(folder, device)
  beforeEach(() => copyFile(fixture('t5', 'config.json'), join(folder, 'config.json')))

  test.each([
    ['pytorch_model.bin', 'pytorch_model.bin is a pickle, convert it to safetensors first'],
    ['pytorch_model.bin.index.json', 'pytorch_model.bin.index.json is a pickle, convert it to safetensors first'],
    ['OpenSora-v1-16x256x256.pth', 'OpenSora-v1-16x256x256.pth is a pickle, convert it to safetensors first'],
    ['model.ckpt', 'model.ckpt is a pickle, convert it to safetensors first'],
    ['t5-xxl-Q4.gguf', "t5-xxl-Q4.gguf is not read; take the model's safetensors files"],
    ['model.fp16.safetensors', 'model.fp16.safetensors is a variant of it; rename it to model.safetensors'],
    ['diffusion_pytorch_model.fp16.safetensors', 'diffusion_pytorch_model.fp16.safetensors is a variant of it; rename it to diffusion_pytorch_model.safetensors'],
    ['model-00001-of-00002.safetensors', 'model-00001-of-00002.safetensors is a shard without its index.json; add the index'],
    ['t5xxl.safetensors', 't5xxl.safetensors is there; if it holds these weights, rename it to model.safetensors']
  ])('%s beside missing ones is named', async (name, advice) => {
    await writeFile(join(folder, name), '')
    await writeFile(join(folder, 'README.md'), '')
    await expect(encoder()).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringMatching(new RegExp(`but there is none; ${advice.replaceAll('.', '\\.')}$`)) as string })
  })

  test('nothing beside them, nothing said', async () => {
    await expect(encoder()).rejects.toMatchObject({ message: expect.stringMatching(/but there is none$/) as string })
  })

  test('a safetensors file beside a pickle is the one that is named', async () => {
    for (const name of ['model.fp16.safetensors', 'pytorch_model.bin']) await writeFile(join(folder, name), '')
    await expect(encoder()).rejects.toMatchObject({ message: expect.stringContaining('; model.fp16.safetensors is') as string })
  })

  test('a Git LFS pointer of a clone is said, with what to do', async () => {
    await writeFile(join(folder, 'model.safetensors'), `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 135232\n`)
    await expect(encoder()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('found a Git LFS pointer; run git lfs pull') as string })
  })

  test('a tokenizer.json that is a Git LFS pointer or a page is said as that; broken JSON with its line', async () => {
    const tokenizer = join(folder, 'tokenizer.json')
    for (const [text, found] of [
      ['version https://git-lfs.github.com/spec/v1\noid', 'expected JSON but found a Git LFS pointer'],
      ['<!doctype html>', 'expected JSON but found an HTML or XML page'],
      ['{\n  "model": nothing\n}', 'at line 2, column 12']
    ] as const) {
      await writeFile(tokenizer, text)
      await expect(Tokenizer.fromPretrained(folder)).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining(found) as string })
    }
  })

  test('a single file in place of a model folder, and one in it', async () => {
    const file = join(folder, 'model.gguf')
    await writeFile(file, 'GGUF')
    await expect(VideoPipeline.fromPretrained(file, device)).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('but that is a file') as string })
    await expect(VAE.fromPretrained(file, device)).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('but that is a file') as string })
    await rm(join(folder, 'config.json'))
    await expect(VideoPipeline.fromPretrained(folder, device)).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('there is none; model.gguf is not read') as string })
  })
})

describe('a folder of another model is refused by the name that its config has for it', () => {
  const sizes = readJson('vae', 'config.json')
  test.each([
    ['a 2D VAE of diffusers', VAE, { ...sizes, _class_name: 'AutoencoderKL' }, '_class_name', 'OpenSoraVAE_V1_2 or VideoAutoencoderPipeline'],
    ['a transformer of diffusers', Transformer, { _class_name: 'PixArtTransformer2DModel', num_layers: 28 }, '_class_name', 'VinTransformer3DModel or STDiT3'],
    ["Open-Sora 1.1's backbone", Transformer, { model_type: 'STDiT2', depth: 28 }, 'model_type', 'STDiT3'],
    ['UMT5, which has a table of positions in each block', TextEncoder, { ...readJson('t5', 'config.json'), model_type: 'umt5' }, 'model_type', 't5 or mt5'],
    ['CLIP', TextEncoder, { model_type: 'clip_text_model', hidden_size: 768 }, 'model_type', 't5 or mt5']
  ] as const)('%s', async (_name, Model, config, key, wanted) => {
    await writeFile(join(folder, 'config.json'), JSON.stringify(config))
    const message = `Expected ${wanted} for ${key} in ${join(folder, 'config.json')} but found ${JSON.stringify((config as Record<string, unknown>)[key])}, which is not supported`
    await expect(Model.fromPretrained(folder, device)).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', details: { name: key }, message })
  })

  test('names that are theirs are read', async () => {
    for (const [file, names] of [['vae', { _class_name: 'OpenSoraVAE_V1_2' }], ['vae', { model_type: 'VideoAutoencoderPipeline', architectures: ['VideoAutoencoderPipeline'] }]] as const) {
      await writeFile(join(folder, 'config.json'), JSON.stringify({ ...readJson(file, 'config.json'), ...names }))
      await copyFile(fixture(file, 'model.safetensors'), join(folder, 'model.safetensors'))
      await using model = await VAE.fromPretrained(folder, device)
      expect(model.weights().length).toBeGreaterThan(0)
    }
    await writeFile(join(folder, 'config.json'), JSON.stringify({ ...readJson('t5', 'config.json'), model_type: 'mt5' }))
    await copyFile(fixture('t5', 'model.safetensors'), join(folder, 'model.safetensors'))
    await using encoder = await TextEncoder.fromPretrained(folder, device)
    expect(encoder.weights().length).toBeGreaterThan(0)
  })
})

describe('a tokenizer of SentencePiece alone', () => {
  test('loads for who brings embeddings, and is named for who brings text', async () => {
    for (const part of ['text_encoder', 'tokenizer']) await mkdir(join(folder, part))
    for (const name of ['config.json', 'model.safetensors']) await copyFile(fixture('t5', name), join(folder, 'text_encoder', name))
    await mkdir(join(folder, 'transformer'))
    for (const name of ['config.json', 'diffusion_pytorch_model.safetensors']) await copyFile(fixture('vin-full', 'transformer', name), join(folder, 'transformer', name))
    await writeFile(join(folder, 'tokenizer', 'spiece.model'), '')
    await using pipeline = await VideoPipeline.fromPretrained(folder, device)
    await expect(pipeline.textEncoder.encode('text')).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringMatching(/tokenizer\/tokenizer\.json to the model \(spiece\.model is not read: .*save_pretrained/) as string })
    await expect(Tokenizer.fromPretrained(join(folder, 'tokenizer'))).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('spiece.model is not read') as string })
  })
})

describe('before a JSON file is read', () => {
  /** Each reader of JSON, with a folder around the file that it asks for. */
  const readers: [file: string, read: () => Promise<unknown>][] = [
    ['config.json', () => TextEncoder.fromPretrained(folder, device)],
    ['model_index.json', () => VideoPipeline.fromPretrained(folder, device)],
    ['model.safetensors.index.json', () => TextEncoder.fromPretrained(folder, device)],
    ['tokenizer.json', () => Tokenizer.fromPretrained(folder)],
    ['scheduler_config.json', async () => DDIMScheduler.fromConfig(folder)],
    ['training/state.json', () => Trainer.resume(folder)]
  ]
  const around = async (file: string): Promise<string> => {
    const source = file === 'model_index.json' ? fixture('vin-full', 'transformer') : fixture('t5')
    await writeFile(join(folder, 'config.json'), await readFile(join(source, 'config.json')))
    await mkdir(join(folder, 'training'))
    await rm(join(folder, file), { force: true })
    return join(folder, file)
  }

  /** What this process has read so far, by Linux' count; elsewhere its largest size. */
  const bytesRead = (): number => (existsSync('/proc/self/io') ? Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))![1]) : process.resourceUsage().maxRSS * 1024)

  test.each(readers)('%s of 500 MB is refused by its size', async (file, read) => {
    const handle = await open(await around(file), 'w')
    await handle.truncate(500 * 2 ** 20)
    await handle.close()
    const before = bytesRead()
    await expect(read()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringMatching(/at most \d+ bytes/) as string })
    expect(bytesRead() - before).toBeLessThan(64 * 2 ** 20)
  })

  test.each(readers)('%s that is a pipe without a writer is no file', async (file, read) => {
    execFileSync('mkfifo', [await around(file)])
    await expect(read()).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_VIN_(FORMAT|MISSING_COMPONENT)$/) as string })
  })
})
