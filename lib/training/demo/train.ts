// npm run train:demo: trains the built-in model, stage by stage. Every stage goes on from its checkpoint; killed at any moment, it loses at most the
// steps since the last one.

import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkInteger, checkNumber, checkOneOf } from '../../options/check.js'
import { exportModel } from './export.js'
import { encodeLatents } from './latents-stage.js'
import { trainTransformer } from './transformer-stage.js'
import { trainVAE } from './vae-stage.js'

const stages = ['vae2d', 'vae', 'latents', 'transformer', 'all'] as const

const usage = `Usage: npm run train:demo -- [--stage ${stages.join('|')}] [--minutes N] [options]

  --stage NAME          what to train (all)
  --minutes N           time of the stage; with --stage all, of the transformer, and a quarter of it for each VAE stage (60)
  --checkpoints DIR     checkpoints, latents and curves (.demo-training)
  --export DIR          write the model folder (models/demo) and stop, or after the stage when --stage is given
  --dtype TYPE          numbers of exported weights: float16, bfloat16 or float32 (float16)
  --learning-rate X     highest rate of the stage
  --batch N             frames or micro-batches of a VAE step
  --videos A,B,C        latents: videos of 4, 8 and 16 seconds (2000,400,100)
  --shares A,B,C        transformer: shares of latent frames that come from videos of 4, 8 and 16 seconds (1,0,0)
  --sigma MEAN,STD      transformer: logit-normal noise levels (0.6,1.4)
  --threads N           threads that compute
  --seed N              (0)
`

function numbers(text: string, name: string, count: number): number[] {
  const values = text.split(',').map(Number)
  if (values.length !== count) throw new RangeError(`Expected ${count} numbers for --${name} but received ${text}`)
  return values.map((value) => checkNumber(value, `--${name}`, -1e6, 1e9))
}

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      stage: { type: 'string' },
      minutes: { type: 'string', default: '60' },
      checkpoints: { type: 'string', default: '.demo-training' },
      export: { type: 'string' },
      dtype: { type: 'string', default: 'float16' },
      'learning-rate': { type: 'string' },
      batch: { type: 'string' },
      videos: { type: 'string', default: '2000,400,100' },
      shares: { type: 'string', default: '1,0,0' },
      sigma: { type: 'string', default: '0.6,1.4' },
      threads: { type: 'string' },
      seed: { type: 'string', default: '0' },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) {
    process.stdout.write(usage)
    return
  }
  const stage = checkOneOf(values.stage ?? 'all', '--stage', stages)
  const folder = resolve(values.checkpoints)
  const minutes = checkNumber(Number(values.minutes), '--minutes', 0, 1e6)
  const seed = checkInteger(Number(values.seed), '--seed', 0, Number.MAX_SAFE_INTEGER)
  const model = { device: 'cpu' as const, ...(values.threads === undefined ? {} : { threads: checkInteger(Number(values.threads), '--threads', 1, 1024) }) }
  const learningRate = values['learning-rate'] === undefined ? undefined : checkNumber(Number(values['learning-rate']), '--learning-rate', 0, 1)
  const batchSize = values.batch === undefined ? undefined : checkInteger(Number(values.batch), '--batch', 1, 4096)
  const videos = numbers(values.videos, 'videos', 3)
  const shares = numbers(values.shares, 'shares', 3)
  const [mean, std] = numbers(values.sigma, 'sigma', 2)
  await mkdir(folder, { recursive: true })
  const runs = (name: (typeof stages)[number]) => stage === name || (stage === 'all' && (values.export === undefined || values.stage !== undefined))
  const share = stage === 'all' ? minutes / 4 : minutes
  if (runs('vae2d')) await trainVAE('vae2d', { folder, minutes: share, learningRate, batchSize, seed, model })
  if (runs('vae')) await trainVAE('vae', { folder, minutes: share, learningRate, batchSize, seed, model })
  if (runs('latents')) await encodeLatents({ folder, videos, seed, model })
  if (runs('transformer')) await trainTransformer({ folder, minutes, learningRate, shares, sigma: { mean: mean!, std: std! }, seed, model })
  if (values.export !== undefined) await exportModel({ folder, target: resolve(values.export), dtype: checkOneOf(values.dtype, '--dtype', ['float16', 'bfloat16', 'float32']), model })
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
