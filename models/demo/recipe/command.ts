// The command train:demo. Every stage goes on from its checkpoint; killed at any moment, it loses at most the steps since the last one. A training folder
// without checkpoints begins with the built-in model's weights, fresh moments and a new warm-up.

import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { integer, number, oneOf } from './arguments.js'
import { exportModel } from './export.js'
import { encodeLatents } from './latents-stage.js'
import { resolveStart } from './start.js'
import { trainTransformer } from './transformer-stage.js'
import { trainVAE } from './vae-stage.js'

const stages = ['vae2d', 'vae-temporal', 'latents', 'vae-decoder', 'images', 'transformer', 'all'] as const

const usage = `Usage: npm run train:demo -- [--stage ${stages.join('|')}] [--minutes N] [options]

  --stage NAME          what to train. all: every stage from scratch; with weights to go on from the VAE stays frozen, and only latents and transformer
                        run. images goes on with the transformer on single pictures. vae-decoder leaves the encoder, and with it the latents, as they are (all)
  --from WHAT           where a training folder without checkpoints begins: scratch, demo (models/demo) or a model folder (demo, if it has weights)
  --minutes N           time of the stage; with --stage all, of the transformer, half of it for images, and a quarter of it for each VAE stage; 0 takes no step (60)
  --checkpoints DIR     checkpoints, latents and curves (.demo-training)
  --export DIR          write the model folder (models/demo) and stop, or after the stage when --stage is given
  --dtype TYPE          numbers of exported weights: float16, bfloat16 or float32 (float16)
  --shift X             sampler of the exported model: shift of its flow-match schedule (the checkpoint's)
  --steps N             its steps (the checkpoint's)
  --guidance X          and its guidance scale (the checkpoint's)
  --learning-rate X     highest rate of the stage
  --videos A,B,C        latents: videos of 4, 8 and 16 seconds (2000,400,100); those of another --seed or VAE are replaced
  --shares A,B,C        transformer: shares of latent frames that come from videos of 4, 8 and 16 seconds (1,0,0)
  --images X            transformer: share of latent frames that are single pictures (0.3)
  --sigma MEAN,STD      images, transformer: logit-normal noise levels (0.4,1.2 and 0.6,1.4)
  --chunk-masks X       transformer: share of videos in which every chunk is clean with probability ½ (0.4)
  --curtains X          transformer: share of videos drawn among those with a curtain (0: as the world has them)
  --unnamed X           transformer: share of videos whose caption names nothing but the event, so that global tokens have to say the rest (0: a quarter)
  --features X          transformer: weight of what global tokens are to tell of the world; the head for it is made where a training begins (0)
  --threads N           threads that compute
  --seed N              (0)
`

function numbers(text: string, name: string, count: number): number[] {
  const values = text.split(',')
  if (values.length !== count) throw new RangeError(`Expected ${count} numbers for --${name} but received ${text}`)
  return values.map((value) => number(value, name, -1e6, 1e9))
}

export async function trainDemo(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      stage: { type: 'string' },
      from: { type: 'string' },
      minutes: { type: 'string', default: '60' },
      checkpoints: { type: 'string', default: '.demo-training' },
      export: { type: 'string' },
      dtype: { type: 'string', default: 'float16' },
      shift: { type: 'string' },
      steps: { type: 'string' },
      guidance: { type: 'string' },
      'learning-rate': { type: 'string' },
      videos: { type: 'string', default: '2000,400,100' },
      shares: { type: 'string', default: '1,0,0' },
      images: { type: 'string', default: '0.3' },
      sigma: { type: 'string' },
      'chunk-masks': { type: 'string' },
      curtains: { type: 'string', default: '0' },
      unnamed: { type: 'string', default: '0' },
      features: { type: 'string' },
      threads: { type: 'string' },
      seed: { type: 'string', default: '0' },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) {
    process.stdout.write(usage)
    return
  }
  const stage = oneOf(values.stage ?? 'all', 'stage', stages)
  const folder = resolve(values.checkpoints)
  const minutes = number(values.minutes, 'minutes', 0, 1e6)
  const seed = integer(values.seed, 'seed', 0, Number.MAX_SAFE_INTEGER)
  const model = { device: 'cpu' as const, ...(values.threads === undefined ? {} : { threads: integer(values.threads, 'threads', 1, 1024) }) }
  const learningRate = values['learning-rate'] === undefined ? undefined : number(values['learning-rate'], 'learning-rate', 0, 1)
  const videos = numbers(values.videos, 'videos', 3)
  const shares = numbers(values.shares, 'shares', 3)
  const sigmaOf = (preset: string) => {
    const [mean, std] = numbers(values.sigma ?? preset, 'sigma', 2)
    return { mean: mean!, std: std! }
  }
  const images = number(values.images, 'images', 0, 0.95)
  const chunkMasks = values['chunk-masks'] === undefined ? undefined : number(values['chunk-masks'], 'chunk-masks', 0, 0.8)
  const curtains = number(values.curtains, 'curtains', 0, 1)
  const unnamed = number(values.unnamed, 'unnamed', 0, 1)
  const features = values.features === undefined ? undefined : number(values.features, 'features', 0, 1e6)
  const sampler = {
    ...(values.shift === undefined ? {} : { shift: number(values.shift, 'shift', 1e-3, 1000) }),
    ...(values.steps === undefined ? {} : { steps: integer(values.steps, 'steps', 1, 1000) }),
    ...(values.guidance === undefined ? {} : { guidance: number(values.guidance, 'guidance', 0, 1000) })
  }
  const dtype = oneOf(values.dtype, 'dtype', ['float16', 'bfloat16', 'float32'])
  await mkdir(folder, { recursive: true })
  const trains = values.export === undefined || values.stage !== undefined
  if (trains) {
    const start = await resolveStart(folder, values.from)
    const runs = (name: (typeof stages)[number]) => stage === name || (stage === 'all' && (start === undefined || name === 'latents' || name === 'transformer'))
    const common = { folder, seed, model, start }
    const share = stage === 'all' ? minutes / 4 : minutes
    for (const name of ['vae2d', 'vae-temporal'] as const) if (runs(name)) await trainVAE(name, { ...common, minutes: share, learningRate })
    if (runs('latents')) await encodeLatents({ ...common, videos })
    if (runs('vae-decoder')) await trainVAE('vae-decoder', { ...common, minutes: share, learningRate })
    if (runs('images')) await trainTransformer({ ...common, minutes: stage === 'all' ? minutes / 2 : minutes, learningRate, shares, images: 1, sigma: sigmaOf('0.4,1.2') })
    if (runs('transformer')) await trainTransformer({ ...common, minutes, learningRate, shares, images, curtains, unnamed, features, sigma: sigmaOf('0.6,1.4'), chunkMasks })
  }
  if (values.export !== undefined) await exportModel({ folder, target: resolve(values.export), dtype, ...sampler, model })
}
