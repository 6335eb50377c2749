// SHA256SUMS of a model folder: whatever it names has the bytes that it says, or is not used.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TextEncoder, Trainer, VideoPipeline } from '../../lib/index.js'
import { verifyBytes } from '../../lib/models/checksums.js'
import { loadBinding } from '../../lib/native/load.js'
import { fixture } from '../support/fixtures.js'
import { tinyPipeline } from '../support/models.js'

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
/** Changes one bit; in JSON one of a digit, after which it is as good a file as before. */
const flip = async (path: string): Promise<Buffer> => {
  const bytes = await readFile(path)
  if (path.endsWith('.json')) bytes[bytes.findLastIndex((byte) => byte >= 0x30 && byte <= 0x39)]! ^= 1
  else bytes[bytes.length - 3]! ^= 4
  await writeFile(path, bytes)
  return bytes
}

describe('one component', () => {
  let place: string
  beforeEach(async () => {
    place = join(await mkdtemp(join(tmpdir(), 'vin-sums-')), 'text_encoder')
    await mkdir(place)
    for (const name of ['config.json', 'model.safetensors']) await copyFile(fixture('t5', name), join(place, name))
  })
  afterEach(() => rm(join(place, '..'), { recursive: true, force: true }))
  const open = (): Promise<TextEncoder> => TextEncoder.fromPretrained(place, { device: 'cpu' })

  test.each([['its own folder', 'SHA256SUMS', 'model.safetensors'], ['the folder above', '../SHA256SUMS', 'text_encoder/model.safetensors']])(
    'one flipped bit is found by the SHA256SUMS of %s',
    async (_, list, entry) => {
      const path = join(place, 'model.safetensors')
      const good = digest(await readFile(path))
      await writeFile(join(place, list), `${digest(Buffer.from('other'))}  other.json\n${good.toUpperCase()} *./${entry}\r\n`)
      await (await open()).dispose()
      const found = digest(await flip(path))
      await expect(open()).rejects.toMatchObject({
        code: 'ERR_VIN_FORMAT',
        message: `Expected SHA-256 ${good} of ${join(place, list)} for ${path} but found ${found}; the file is damaged, copy it again`,
        details: { file: path, expected: good, found }
      })
    }
  )

  test.each(['file', 'link'])('a damaged shard that is a %s is found', async (kind) => {
    const { tensors } = loadBinding().readSafetensors(join(place, 'model.safetensors'))
    await rm(join(place, 'model.safetensors'))
    await writeFile(join(place, '..', 'model_index.json'), '{}')
    const shard = kind === 'file' ? join(place, 'shard.safetensors') : join(place, '..', 'elsewhere')
    loadBinding().writeSafetensors(shard, Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, { data: data!, shape }])))
    if (kind === 'link') await symlink('../elsewhere', join(place, 'shard.safetensors'))
    await writeFile(join(place, 'model.safetensors.index.json'), JSON.stringify({ weight_map: Object.fromEntries(Object.keys(tensors).map((name) => [name, 'shard.safetensors'])) }))
    await writeFile(join(place, 'SHA256SUMS'), execFileSync('sha256sum', ['shard.safetensors', 'model.safetensors.index.json'], { cwd: place }))
    await (await open()).dispose()
    await flip(shard)
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('the file is damaged') as string, details: { file: join(place, 'shard.safetensors') } })
    expect(loadBinding().memory()).toMatchObject({ bytes: 0, handles: 0 })
  })

  test('a folder given as . knows its own name', async () => {
    await writeFile(join(place, '..', 'SHA256SUMS'), `${'0'.repeat(64)}  text_encoder/config.json\n`)
    const before = process.cwd()
    process.chdir(place)
    try {
      await expect(verifyBytes('config.json', new Uint8Array())).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
    } finally {
      process.chdir(before)
    }
  })

  test('a list as sha256sum writes it is read, and one that is none is an error', async () => {
    await writeFile(join(place, 'SHA256SUMS'), execFileSync('sha256sum', ['config.json', 'model.safetensors'], { cwd: place }))
    await (await open()).dispose()
    await writeFile(join(place, 'SHA256SUMS'), `${'0'.repeat(64)}  other\nd41d8cd98f00b204e9800998ecf8427e  model.safetensors\n`)
    await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: `Expected 64 hexadecimal digits, two spaces and a path in line 2 of ${join(place, 'SHA256SUMS')} but found another text` })
  })

  test('a file that no list names is not hashed', async () => {
    await writeFile(join(place, 'SHA256SUMS'), `${'0'.repeat(64)}  other.safetensors\n`)
    await verifyBytes(join(place, 'config.json'), new Uint8Array(1))
  })
})

describe('a model', () => {
  const files = [
    'model_index.json',
    'scheduler/scheduler_config.json',
    'transformer/config.json',
    'transformer/diffusion_pytorch_model.safetensors',
    'vae/config.json',
    'vae/diffusion_pytorch_model.safetensors',
    'text_encoder/config.json',
    'text_encoder/model.safetensors',
    'tokenizer/tokenizer.json'
  ]
  let model: string
  beforeAll(async () => {
    model = join(await mkdtemp(join(tmpdir(), 'vin-sums-')), 'model')
    await using pipeline = await tinyPipeline()
    const trainer = new Trainer(pipeline, {})
    await trainer.save(model)
    trainer.dispose()
    await writeFile(join(model, 'SHA256SUMS'), execFileSync('sha256sum', files, { cwd: model }))
  })
  afterAll(() => rm(join(model, '..'), { recursive: true, force: true }))
  const open = (): Promise<VideoPipeline> => VideoPipeline.fromPretrained(model, { device: 'cpu' })

  test('opens with the files that its list names', async () => {
    await (await open()).dispose()
  })

  test.each(files)('%s with another bit is refused', async (file) => {
    const before = await readFile(join(model, file))
    await flip(join(model, file))
    try {
      await expect(open()).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringMatching(/^Expected SHA-256 .* the file is damaged, copy it again$/) as string, details: { file: join(model, file) } })
    } finally {
      await writeFile(join(model, file), before)
    }
  })

  test('the moments of a checkpoint with another bit are refused', async () => {
    const state = join(model, 'training', 'state.safetensors')
    await writeFile(join(model, 'training', 'SHA256SUMS'), `${digest(await readFile(state))}  state.safetensors\n`)
    await flip(state)
    await expect(Trainer.resume(model)).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', details: { file: state } })
  })
})
