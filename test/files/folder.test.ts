// A folder whose content was being replaced when its writer was killed: opening it ends the work, and does nothing outside of it.
import { mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { settleFolder } from '../../lib/files/folder.js'
import { newToken } from '../../lib/files/process-mark.js'
import { Trainer, Transformer, VAE, VAETrainer, VideoPipeline } from '../../lib/index.js'
import { tinyPipeline } from '../support/models.js'
import { killedAfter } from './killed.js'
import { hashOf, useFolder } from './support.js'

const at = useFolder()

/** Kills `save` over an older one right behind the rename that counts; returns the files that are to come. */
async function killBehindRename(folder: string, save: () => Promise<void>): Promise<Map<string, Buffer>> {
  await save()
  const ready = () => readdirSync(folder).find((name) => name.startsWith('.vin-ready-'))
  for (let after = 4; ready() === undefined; after++) if (await killedAfter(after, save)) throw new Error('never killed behind the rename')
  const names = readdirSync(join(folder, ready()!), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && entry.name !== '.obsolete.json')
  return new Map(names.map((entry) => [join(entry.parentPath.slice(join(folder, ready()!).length + 1), entry.name), readFileSync(join(entry.parentPath, entry.name))]))
}

test.each<[string, (folder: string) => Promise<{ dispose(): Promise<void> }>]>([
  ['VideoPipeline', (folder) => VideoPipeline.fromPretrained(folder, { device: 'cpu' })],
  ['Transformer', (folder) => Transformer.fromPretrained(join(folder, 'transformer'), { device: 'cpu' })]
])('%s.fromPretrained completes a checkpoint', async (_name, open) => {
  await using pipeline = await tinyPipeline()
  const trainer = new Trainer(pipeline, { lengths: [5] })
  const coming = await killBehindRename(at('run'), () => trainer.save(at('run')))
  expect([...coming.keys()]).toContain(join('transformer', 'diffusion_pytorch_model.safetensors'))
  const opened = await open(at('run'))
  await opened.dispose()
  expect(readdirSync(at('run')).filter((name) => name.startsWith('.vin-ready'))).toEqual([])
  for (const [name, bytes] of coming) expect(readFileSync(at('run', name)).equals(bytes), name).toBe(true)
})

test('VAE.fromPretrained completes a checkpoint', async () => {
  await using pipeline = await tinyPipeline()
  const trainer = new VAETrainer(pipeline.vae, { stage: 'spatial' })
  const coming = await killBehindRename(at('run'), () => trainer.save(at('run')))
  const vae = await VAE.fromPretrained(at('run'), { device: 'cpu' })
  await vae.dispose()
  for (const [name, bytes] of coming) expect(readFileSync(at('run', name)).equals(bytes), name).toBe(true)
})

test('what a folder says of itself leads nowhere else: neither its list nor its links', async () => {
  mkdirSync(at('theirs'))
  writeFileSync(at('theirs', 'key'), 'mine')
  writeFileSync(at('victim'), 'mine')
  const before = hashOf(at('theirs'))
  const ready = at('model', `.vin-ready-${newToken()}`)
  mkdirSync(join(ready, 'transformer'), { recursive: true })
  symlinkSync(at('theirs'), at('model', 'transformer'))
  symlinkSync(at('theirs'), at('model', 'vae'))
  writeFileSync(join(ready, 'transformer', 'key'), 'theirs')
  writeFileSync(join(ready, '.obsolete.json'), JSON.stringify(['../victim', at('victim'), 'x/../../victim', './../victim', 'vae/key', '..', 7, null]))
  await settleFolder(at('model'))
  expect(hashOf(at('theirs'))).toBe(before)
  expect(readFileSync(at('victim'), 'utf8')).toBe('mine')
  expect(readFileSync(at('model', 'transformer', 'key'), 'utf8')).toBe('theirs')
  expect(readdirSync(at('model')).sort()).toEqual(['transformer', 'vae'])
})
