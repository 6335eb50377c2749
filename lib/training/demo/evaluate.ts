// npm run evaluate:demo: does the built-in model do what prompts say, and does it keep what a curtain hides? Every figure is printed with its chance level
// and its interval; ceiling and floor stand beside the identity rates.

import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { attributes, readFrame, readSegment } from '../../evaluate/attributes.js'
import type { FrameReading, SegmentReading } from '../../evaluate/attributes.js'
import { promptedAttributes } from '../../evaluate/caption.js'
import { identity, isOpen, readGap, wilsonInterval } from '../../evaluate/identity.js'
import { readFrames } from '../../evaluate/index.js'
import { latentFramesOf } from '../../plan/frames.js'
import { randn } from '../../native/ops.js'
import type { TensorData } from '../../native/tensor.js'
import { checkInteger } from '../../options/check.js'
import { VideoPipeline } from '../../pipeline/pipeline.js'
import { createScheduler } from '../../schedulers/index.js'
import { drawCaption, drawWorld, renderFrames, WORLD_FPS, WORLD_SIZE } from '../demo-world.js'
import type { World } from '../demo-world.js'
import { pixelPlanes } from '../pixels.js'
import { PhiloxRandom, streams } from '../random.js'

type Pair = { before: SegmentReading; after: SegmentReading }

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/** Planes [3,T,64,64] in −1 … 1 → a reading per frame. */
function readPlanes({ data, shape }: TensorData): FrameReading[] {
  const frames = shape[1] ?? 0
  const plane = WORLD_SIZE * WORLD_SIZE
  return Array.from({ length: frames }, (_, frame) => {
    const pixels = new Uint8Array(plane * 3)
    for (let at = 0; at < plane; at++) {
      for (let channel = 0; channel < 3; channel++) {
        const value = Math.max(-1, Math.min(1, data[(channel * frames + frame) * plane + at]!))
        pixels[at * 3 + channel] = ((value + 1) / 2) * 255 + 0.5
      }
    }
    return readFrame(pixels)
  })
}

function printIdentity(name: string, videos: readonly Pair[]): unknown[] {
  return attributes.map((attribute) => {
    const result = identity(attribute, videos)
    const [low, high] = result.interval
    process.stdout.write(
      `${name.padEnd(16)} ${attribute.padEnd(11)} ${`${result.matches} of ${result.videos}`.padEnd(10)} ${percent(result.rate).padStart(7)} (${percent(low)} to ${percent(high)})  read ${percent(result.read)}  chance ${percent(result.chance)}\n`
    )
    return { method: name, ...result }
  })
}

/** Rendered worlds of the prompt, encoded and decoded: the best that pixels from this VAE can score. */
async function ceiling(pipeline: VideoPipeline, t1: number, t2: number, frames: number, count: number): Promise<Pair[]> {
  const pairs: Pair[] = []
  for (let seed = 0; seed < count; seed++) {
    const drawn = drawWorld(new PhiloxRandom(seed, streams.world), { duration: Math.ceil(frames / WORLD_FPS), objects: 1 })
    const world: World = { ...drawn, event: 'curtain', t1, t2 }
    const latents = await pipeline.vae.encode(pixelPlanes({ data: renderFrames(world, 0, frames), shape: [frames, WORLD_SIZE, WORLD_SIZE, 3] }))
    pairs.push(readGap(readPlanes(await pipeline.vae.decode(latents, { numFrames: frames })), t1, t2))
  }
  return pairs
}

/** Two videos at a time, each with the global tokens of the other: what is left when the tokens tell of another world. */
async function floor(pipeline: VideoPipeline, prompt: string, t1: number, t2: number, frames: number, count: number): Promise<Pair[]> {
  const { guidanceScale, numInferenceSteps, fps } = pipeline.defaults
  const { ids } = pipeline.tokenizer.encode(prompt)
  const promptEmbeds = (await pipeline.textEncoder.encode({ ids })).embeds
  const shape = [pipeline.vae.config.latent_channels, latentFramesOf(frames, pipeline.vae.microBatch), WORLD_SIZE / 8, WORLD_SIZE / 8]
  const pairs: Pair[] = []
  for (let seed = 0; seed + 1 < count; seed += 2) {
    let [a, b] = [await randn({ seed, shape }), await randn({ seed: seed + 1, shape })]
    const schedulers = [createScheduler(pipeline.scheduler), createScheduler(pipeline.scheduler)] as const
    for (const scheduler of schedulers) scheduler.setTimesteps(numInferenceSteps, { height: WORLD_SIZE, width: WORLD_SIZE, latentFrames: shape[1] })
    for (const [step, timestep] of schedulers[0].timesteps.entries()) {
      // Early fusion, as generate() has it: while more than 0.4 of the steps are left.
      const shared = { timestep, promptEmbeds, guidanceScale, fps, fuse: (numInferenceSteps - step) / numInferenceSteps > 0.4 }
      const [first, second] = [await pipeline.denoise({ ...shared, latents: a, globalTokensFrom: b }), await pipeline.denoise({ ...shared, latents: b, globalTokensFrom: a })]
      a = await schedulers[0].step(first, timestep, a)
      b = await schedulers[1].step(second, timestep, b)
    }
    for (const latents of [a, b]) pairs.push(readGap(readPlanes(await pipeline.vae.decode(latents, { numFrames: frames })), t1, t2))
  }
  return pairs
}

const generatedMethods = ['vin', 'independent', 'autoregressive'] as const

/** Single-object captions that name everything, from seeds 1000 on; unread counts as wrong. */
async function obedience(pipeline: VideoPipeline, count: number, frames: number): Promise<Record<string, { right: number; count: number }>> {
  const right: Record<string, number> = {}
  for (let seed = 1000; seed < 1000 + count; seed++) {
    const random = new PhiloxRandom(seed, streams.world)
    const world = drawWorld(random, { duration: Math.ceil(frames / WORLD_FPS), objects: 1 })
    const prompt = drawCaption(new PhiloxRandom(seed, streams.caption), world, 'everything')
    const video = await pipeline.generate({ prompt, numFrames: frames, seed })
    const readings = await readFrames(video)
    const open = readSegment(readings.filter(isOpen))
    const early = readSegment(readings.slice(4, world.event === 'none' || world.event === 'wall' ? readings.length : WORLD_FPS * world.t1 - 8))
    for (const { attribute, value } of promptedAttributes(prompt)) {
      const read = attribute === 'background' ? open.background : early[attribute]
      right[attribute] = (right[attribute] ?? 0) + (read === value ? 1 : 0)
    }
    process.stdout.write(`obedience ${seed - 999} of ${count}: ${prompt} → ${[open.background, early.colour, early.shape, early.size].map((value) => value ?? '?').join(' ')}\n`)
  }
  return Object.fromEntries(Object.entries(right).map(([attribute, hits]) => [attribute, { right: hits, count }]))
}

const usage = `Usage: npm run evaluate:demo -- [options]

  --model DIR        model folder (the built-in one)
  --videos N         videos of each identity table (32)
  --obedience N      prompts of the obedience table (32)
  --frames N         video frames: 64 or 256 for identity (64)
  --prompt-frames N  video frames for obedience (256)
  --methods A,B      identity of these (vin,independent,autoregressive)
  --report FILE      also write everything as JSON
  --threads N        threads that compute
`

export async function main(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      model: { type: 'string' },
      videos: { type: 'string', default: '32' },
      obedience: { type: 'string', default: '32' },
      frames: { type: 'string', default: '64' },
      'prompt-frames': { type: 'string', default: '256' },
      methods: { type: 'string', default: generatedMethods.join(',') },
      report: { type: 'string' },
      threads: { type: 'string' },
      help: { type: 'boolean', default: false }
    }
  })
  if (values.help) {
    process.stdout.write(usage)
    return
  }
  const videos = checkInteger(Number(values.videos), '--videos', 0, 1e6)
  const prompts = checkInteger(Number(values.obedience), '--obedience', 0, 1e6)
  const frames = checkInteger(Number(values.frames), '--frames', 64, 4096)
  const promptFrames = checkInteger(Number(values['prompt-frames']), '--prompt-frames', 16, 4096)
  const asked = values.methods.split(',')
  const methods = generatedMethods.filter((method) => asked.includes(method))
  const threads = values.threads === undefined ? {} : { threads: checkInteger(Number(values.threads), '--threads', 1, 1024) }
  const [t1, t2] = frames >= 192 ? [3, 9] : [1, 3]
  const prompt = `a shape moves the curtain closes at ${t1}s opens at ${t2}s`
  await using pipeline = await VideoPipeline.fromPretrained(values.model, { device: 'cpu', ...threads })
  const report: Record<string, unknown> = { prompt, frames, videos }

  if (prompts > 0) {
    const table = await obedience(pipeline, prompts, promptFrames)
    for (const [attribute, { right, count }] of Object.entries(table)) {
      const [low, high] = wilsonInterval(right, count)
      process.stdout.write(`obeyed           ${attribute.padEnd(11)} ${`${right} of ${count}`.padEnd(10)} ${percent(right / count).padStart(7)} (${percent(low)} to ${percent(high)})\n`)
    }
    report['obedience'] = table
  }

  if (videos > 0) {
    process.stdout.write(`\n${prompt}, ${frames} frames, ${videos} videos; 95 % intervals\n`)
    const rows = [...printIdentity('ceiling', await ceiling(pipeline, t1, t2, frames, videos))]
    for (const method of methods) {
      const pairs: Pair[] = []
      for (let seed = 0; seed < videos; seed++) pairs.push(readGap(await readFrames(await pipeline.generate({ prompt, numFrames: frames, seed, method })), t1, t2))
      rows.push(...printIdentity(method, pairs))
    }
    rows.push(...printIdentity('other tokens', await floor(pipeline, prompt, t1, t2, frames, videos)))
    report['identity'] = rows
  }
  if (values.report !== undefined) await writeFile(values.report, `${JSON.stringify(report, null, 2)}\n`)
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
})
