// From nothing to the first step: a process that imports the library, opens the built-in model and denoises once, beside one that only imports torch.

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { allThreads, measure, record, timed } from './harness.js'
import { options } from './options.js'
import { ratio } from './table.js'

const root = join(import.meta.dirname, '..', '..')
const firstStep = `
import { VideoPipeline, randn } from ${JSON.stringify(join(root, 'dist/esm/index.js'))}
const pipeline = await VideoPipeline.fromPretrained(undefined, { device: 'cpu' })
const { embeds } = await pipeline.textEncoder.encode('a red circle moves over the meadow')
const latents = await randn({ seed: 7, shape: [4, 20, 8, 8] })
const eps = await pipeline.denoise({ latents, timestep: 1000, promptEmbeds: embeds, guidanceScale: 2 })
process.exitCode = eps.data.every(Number.isFinite) ? 0 : 1
await pipeline.dispose()
`

const ran = (command: string, args: string[]): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    child.on('error', reject)
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`${command} ended with ${code}`))))
  })

test('import to first step', async () => {
  const ours = timed(() => ran(process.execPath, ['--input-type=module', '--eval', firstStep]))
  const node = timed(() => ran(process.execPath, ['--eval', '']))
  const torch = timed(() => ran(options.python, ['-c', 'import torch']))
  const { seconds } = await measure({ ours, node, ...(options.peer ? { torch } : {}) }, allThreads)
  const ratios = {
    'times `node -e ""`': ratio(seconds['ours']!, seconds['node']!),
    ...(options.peer ? { 'sooner than `import torch`': ratio(seconds['torch']!, seconds['ours']!) } : {})
  }
  expect(ratios['times `node -e ""`'].median).toBeGreaterThan(0)
  record({ group: 'start', work: 'import → first step of 20 latent frames', threads: allThreads, ratios, seconds })
})
