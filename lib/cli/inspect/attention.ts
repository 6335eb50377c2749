// inspect attention: where the VIN looks in one evaluation of a run. The global tokens read keyframes (encoder), then each other and the text (processor).

import { checkInteger } from '../../check.js'
import { VideoPipeline, randn, type AttentionMaps, type GenerateOptions, type TensorData } from '../../index.js'
import { rangeError } from '../../errors.js'
import { checkFile, writeFileAtomically } from '../../files/atomic-file.js'
import { encodeSafetensors } from '../../files/safetensors.js'
import { checkGenerateOptions } from '../../options/generate.js'
import { resolveLimits } from '../../options/limits.js'
import { numberOption, seedOption } from '../arguments.js'
import { demoPrompt } from '../generate.js'
import type { Inspection } from '../inspect.js'
import { modelOptions, type Values } from '../options.js'
import type { Reporter } from '../output.js'

export async function inspectAttention(folder: string | undefined, values: Values, reporter: Reporter, signal: AbortSignal): Promise<Inspection> {
  const { output, prompt = demoPrompt } = values
  if (output !== undefined && !output.endsWith('.safetensors')) throw rangeError(`Expected an output that ends in .safetensors but received ${JSON.stringify(output)}`)
  if (output !== undefined) await checkFile(output)
  const numFrames = numberOption(values['frames'], '--frames') ?? 64
  const seed = seedOption(values['seed']) ?? 0
  const steps = numberOption(values['steps'], '--steps')
  const asked = numberOption(values['step'], '--step') ?? 0
  checkGenerateOptions({ prompt, numFrames, numInferenceSteps: steps, seed }, resolveLimits())
  const pipeline = await VideoPipeline.fromPretrained(folder, { ...modelOptions(values), signal })
  try {
    const { keyframes, latentFrames } = pipeline.plan({ prompt, numFrames, numInferenceSteps: steps, outputType: 'latents' })
    const { scheduler, defaults } = pipeline
    const { width, height, fps } = defaults
    const numInferenceSteps = steps ?? defaults.numInferenceSteps
    const step = checkInteger(asked, '--step', 0, numInferenceSteps - 1)
    const latents = await latentsBefore(pipeline, step, { prompt, numFrames, numInferenceSteps, seed, signal }, reporter)
    scheduler.setTimesteps(numInferenceSteps, { width, height, latentFrames })
    const timestep = scheduler.timesteps[step] as number
    const { embeds, mask } = await pipeline.textEncoder.encode(prompt, { maxLength: pipeline.transformer.config.model_max_length, signal })
    const rows = mask.filter((value) => value === 1).length
    const promptEmbeds = { data: embeds.data.slice(0, (rows * embeds.data.length) / mask.length), shape: [rows, embeds.shape[1] as number] }
    const maps = await pipeline.attention({ latents, timestep, promptEmbeds, fps, width, height, signal })
    if (output !== undefined) await writeMaps(output, maps, { prompt, seed: String(seed), step: String(step), timestep: String(timestep), keyframes: keyframes.join(' ') })
    const encoder = keyframeShares(maps.encoder, keyframes.length)
    const processor = maps.processor.map((map) => textShares(map, rows))
    return { text: describe(keyframes, encoder, processor, step, timestep), json: { prompt, seed, step, timestep, keyframes, encoder, processor, ...(output === undefined ? {} : { path: output }) } }
  } finally {
    await pipeline.dispose()
  }
}

/** What the evaluation of `step` sees: the seed's noise, or what the steps before it made of it. */
async function latentsBefore(pipeline: VideoPipeline, step: number, options: GenerateOptions, reporter: Reporter): Promise<TensorData> {
  const { latentFrames } = pipeline.plan({ ...options, outputType: 'latents' })
  const { width, height } = pipeline.defaults
  if (step === 0) return randn({ seed: options.seed ?? 0, shape: [pipeline.transformer.config.in_channels, latentFrames, height / 8, width / 8] })
  const job = pipeline.generate({ ...options, outputType: 'latents' })
  const reached = new Error('the step is reached')
  for await (const event of job) {
    if (event.type !== 'step') continue
    reporter.progress({ stage: 'sampling', done: event.step + 1, total: step })
    if (event.step !== step - 1) continue
    const latents = await event.latents()
    job.cancel(reached)
    return latents
  }
  throw rangeError(`Expected a step of the run for --step but received ${step}`)
}

/** encoder [heads, G, keys] → per head the share of each keyframe, mean over the global tokens. */
function keyframeShares({ data, shape }: TensorData, keyframes: number): number[][] {
  const [heads = 0, G = 0, keys = 0] = shape
  const tokens = keys / keyframes
  return Array.from({ length: heads }, (_h, head) =>
    Array.from({ length: keyframes }, (_k, keyframe) => {
      let sum = 0
      for (let g = 0; g < G; g++) for (let token = 0; token < tokens; token++) sum += data[(head * G + g) * keys + keyframe * tokens + token] ?? NaN
      return sum / G
    })
  )
}

/** A processor map [heads, G+L, G+L] → per head the share that global tokens give to the text's L rows. */
function textShares({ data, shape }: TensorData, L: number): number[] {
  const [heads = 0, rows = 0] = shape
  const G = rows - L
  return Array.from({ length: heads }, (_, head) => {
    let sum = 0
    for (let g = 0; g < G; g++) for (let key = G; key < rows; key++) sum += data[(head * rows + g) * rows + key] ?? NaN
    return sum / G
  })
}

async function writeMaps(path: string, { encoder, processor }: AttentionMaps, metadata: Record<string, string>): Promise<void> {
  const tensors = Object.fromEntries([['encoder', encoder], ...processor.map((map, block) => [`processor.${block}`, map] as const)])
  await writeFileAtomically(path, encodeSafetensors(tensors, metadata))
}

function describe(keyframes: readonly number[], encoder: number[][], processor: number[][], step: number, timestep: number): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`.padStart(8)
  return [
    `step ${step}, timestep ${Number(timestep.toFixed(2))}`,
    'encoder: how much of each keyframe the global tokens read, by head',
    `  ${'keyframe'.padEnd(8)}${keyframes.map((frame) => String(frame).padStart(8)).join('')}`,
    ...encoder.map((shares, head) => `  ${`head ${head}`.padEnd(8)}${shares.map(percent).join('')}`),
    'processor: how much the global tokens read of the text, by head',
    ...processor.map((shares, block) => `  ${`block ${block}`.padEnd(8)}${shares.map(percent).join('')}`)
  ].join('\n')
}
