// One generate(), from resolved options to a Video: plan, text, start noise, given frames, sampling, and a video that decodes when it is read.

import { performance } from 'node:perf_hooks'
import { RunFolder } from '../files/run-folder.js'
import type { NativeCancel, NativeEngine, NativeTensor } from '../native/binding.js'
import { abortable } from '../native/cancel.js'
import type { Logger } from '../native/log.js'
import { checkSeed, copyInto, copyOf, randnNative } from '../native/ops.js'
import { Scope, readArray, readNative, toNative, type TensorData } from '../native/tensor.js'
import { plainOptions, type ResolvedGenerateOptions } from '../options/generate.js'
import type { MicroBatch } from '../plan/frames.js'
import { Video } from '../video/video.js'
import { givenFrames, maskOf, placeFrames } from './conditioning.js'
import { decodeBatches, decodeFrames, framesFrom } from './decode.js'
import { planOf } from './evaluation.js'
import { checkFinite } from './finite.js'
import { callHook, replacedLatents, stepEvent, type StepLatents, type StepReport } from './hooks.js'
import type { GenerationEvent, RunContext, RunResult } from './job.js'
import type { PipelineParts } from './load.js'
import { sample, type Carried, type LoopStart } from './loop.js'
import { anchorScaleOf, planVideo, type PipelineWarning, type VideoPlan } from './plan.js'
import { isPreviewed, preview, requireVae } from './previews.js'
import { encodePrompt, type TextEncoderLike } from './prompt.js'
import { fingerprintOf, loadState, saveState, type Fingerprint, type SavedState } from './resume.js'
import { stepCacheOf } from './step-cache.js'
import { conditionText, type TextConditioning } from './text.js'

/** A job's context while it samples: its signals, and dispose(), as one signal, and as one flag. */
export interface SampleContext extends RunContext {
  signal: AbortSignal
  cancel: NativeCancel
  /** The pipeline: whoever waits in a hook for another of its runs waits for itself. */
  owner: object
  /** Hears the run's warnings, and those of saving its video. */
  logger: Logger | undefined
}

/** What the parts of one run share. */
export interface Run {
  options: ResolvedGenerateOptions
  parts: PipelineParts
  textEncoder: TextEncoderLike | undefined
  microBatch: MicroBatch
  context: SampleContext
  engine: NativeEngine
  scope: Scope
  plan: VideoPlan
  warnings: PipelineWarning[]
  warn: (warning: PipelineWarning) => void
}

/** Saved states of a run with `resume`. */
interface Resuming {
  folder: RunFolder
  fingerprint: Fingerprint
  state: SavedState | undefined
}

/** A seed that a number can say. */
function randomSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2))
  return (high >>> 11) * 2 ** 32 + low
}

export async function runGenerate(options: ResolvedGenerateOptions, parts: PipelineParts, textEncoder: TextEncoderLike | undefined, microBatch: MicroBatch, context: SampleContext): Promise<RunResult> {
  const started = performance.now()
  const { signal } = context
  signal.throwIfAborted()
  const engine = parts.engine.native
  const scope = new Scope()
  const warnings: PipelineWarning[] = []
  const warn = (warning: PipelineWarning): void => {
    warnings.push(warning)
    context.emit({ event: { type: 'warning', ...warning } })
    context.logger?.warn({ code: warning.code }, warning.message)
  }
  let states: Awaited<ReturnType<typeof RunFolder.use>> | undefined
  try {
    const plan = planVideo(options, parts)
    if (options.outputType === 'video' || options.preview === true || options.onPreview !== undefined) requireVae(parts.vae)
    const run: Run = { options, parts, textEncoder, microBatch, context, engine, scope, plan, warnings, warn }
    context.emit({ event: { type: 'plan', plan } })
    plan.warnings.forEach(warn)
    if (options.resume !== undefined) states = await RunFolder.use(options.resume)
    const resuming = states === undefined ? undefined : await openStates(run, states.folder)
    const seed = options.seed ?? resuming?.state?.seed ?? randomSeed()
    const text = await textOf(run)
    const textDone = performance.now()
    const sampled = await sampleLatents(run, text, checkSeed(seed), seed, resuming)
    const timings: Record<string, number> = { text: textDone - started, sampling: performance.now() - textDone }
    return finish(run, sampled, seed, timings)
  } finally {
    await states?.release()
    scope.dispose()
  }
}

/** Reads alone: the folder is written once everything that the run is given has been read. */
async function openStates({ options, parts, warn }: Run, folder: RunFolder): Promise<Resuming> {
  const fingerprint = await fingerprintOf(options, parts)
  const { state, damaged } = await loadState(parts.engine.binding, folder.path, fingerprint, options.seed)
  for (const file of damaged) warn({ code: 'damaged-state', message: `${file} is damaged and was not used` })
  return { folder, fingerprint, state }
}

/** Text of every evaluation of the run. */
async function textOf({ options, parts, textEncoder, context, engine, scope, plan, warn }: Run): Promise<TextConditioning> {
  const { signal } = context
  const encode = (text: string, name: string): Promise<NativeTensor> =>
    encodePrompt({ transformer: parts.transformer, textEncoder, tokenizer: parts.tokenizer, owner: context.owner }, text, name, scope, signal, warn)
  const entries: NativeTensor[] = []
  if (options.promptEmbeds !== undefined) entries.push(await toNative(engine, options.promptEmbeds, scope, signal))
  for (const [i, { prompt }] of options.prompt.entries()) entries.push(await encode(prompt, options.prompt.length === 1 ? 'prompt' : `prompt[${i}]`))
  let negative: NativeTensor | undefined
  if (options.guidanceScale !== 1) {
    if (options.negativePromptEmbeds !== undefined) negative = await toNative(engine, options.negativePromptEmbeds, scope, signal)
    else if (options.negativePrompt !== undefined) negative = await encode(options.negativePrompt, 'negativePrompt')
  }
  return conditionText(parts.transformer, entries, negative, options.guidanceScale, scope, entries.length > 1 ? plan.promptShares : undefined, anchorScaleOf(options) !== 0)
}

interface Sampled {
  latents: TensorData
  skippedSteps: number
}

/** Start noise with the given frames in it, then all steps. */
async function sampleLatents(run: Run, text: TextConditioning, seed: bigint, givenSeed: number | bigint, resuming: Resuming | undefined): Promise<Sampled> {
  const { options, parts, context, engine, scope, plan, warn } = run
  const { signal, cancel, owner } = context
  const { transformer, vae } = parts
  const { height, width, latentFrames, numInferenceSteps } = options
  const shape = [transformer.config.in_channels, latentFrames, height / 8, width / 8]
  const given = await givenFrames(options, {
    engine,
    binding: parts.engine.binding,
    vae: () => requireVae(vae),
    channels: transformer.config.in_channels,
    microBatch: run.microBatch,
    imagePixels: parts.options.limits.imagePixels,
    cancel,
    signal,
    owner,
    scope,
    warn
  })
  const frameMask = maskOf(given, latentFrames)
  await resuming?.folder.begin(givenSeed)
  const start = await startOf(run, seed, shape, resuming?.state)
  if (resuming?.state === undefined) placeFrames(engine, start.latents, given)
  const { onStep, onPreview } = options
  const previews = async (report: StepReport, latents: NativeTensor): Promise<void> => {
    if (onPreview !== undefined || (context.observed && isPreviewed(options, report))) await preview(run, report.step, latents)
  }
  const observe =
    onStep === undefined && resuming === undefined && onPreview === undefined
      ? undefined
      : async (report: StepReport, latents: StepLatents, carried: () => Promise<Carried>): Promise<NativeTensor | undefined> => {
          const answer = await callHook(owner, signal, () => onStep?.(stepEvent(report, latents)))
          const replaced = await replacedLatents(engine, answer, shape, signal)
          try {
            if (replaced !== undefined) checkFinite(await readNative(replaced), 'latents from onStep', { step: report.step })
            if (resuming !== undefined) await save(resuming, report.step + 1, givenSeed, replaced ?? latents.native, await carried())
            await previews(report, replaced ?? latents.native)
          } catch (error) {
            replaced?.dispose()
            throw error
          }
          return replaced
        }
  let lastStep = start.step - 1
  let shown = 0
  let skippedSteps = 0
  const loop = {
    engine,
    transformer,
    scheduler: options.scheduler,
    method: options.method,
    plan: planOf(options.method, transformer, options),
    fusion: options.fusion,
    text,
    anchorGuidanceScale: anchorScaleOf(options),
    blending: options.randomizedBlending ? { seed, noise: () => startLatents(run, seed, shape) } : undefined,
    numInferenceSteps,
    stagger: options.stagger,
    fps: options.fps,
    height,
    width,
    chunksInFlight: options.chunksInFlight,
    globalTokenMemory: options.globalTokenMemory,
    stepCache: () => stepCacheOf(options.stepCache, transformer, context.changed),
    frameMask,
    cancel,
    signal,
    observe,
    report: async (report: StepReport, latents: StepLatents, finished: number): Promise<void> => {
      lastStep = report.step
      if (!report.computed) skippedSteps++
      if (context.observed) context.emit({ event: stepEvent(report, latents), hold: () => latents.hold(), release: () => latents.release() })
      // Where a hook may replace the latents, the preview shows what it left.
      if (observe === undefined) await previews(report, latents.native)
      if (context.watched && options.outputType === 'video') shown = await showFinished(run, latents.native, shown, finished)
    }
  }
  const latents = await sample(loop, start)
  try {
    const data = await abortable(readNative(latents), signal)
    checkFinite(data, 'latents after the last step', { step: lastStep })
    return { latents: data, skippedSteps }
  } finally {
    latents.dispose()
  }
}

/** Frames of chunks that are finished while others are sampled, micro-batch by micro-batch; returns the latent frames that have been shown. */
async function showFinished({ options, parts, context, plan }: Run, latents: NativeTensor, shown: number, finished: number): Promise<number> {
  const vae = requireVae(parts.vae)
  const { latentFrames: size, frames: videoFrames } = vae.microBatch
  // The end of the video is decoded when it is asked for.
  if (finished >= plan.latentFrames) return shown
  let begin = shown
  for (; begin + size <= finished; begin += size) {
    const pixels = vae.native.decodePixels(latents, { begin, end: begin + size, numFrames: options.numFrames, cancel: context.cancel })
    try {
      context.emit({ event: { type: 'frames', frames: framesFrom(await abortable(readArray(pixels), context.signal), (begin / size) * videoFrames) } })
    } finally {
      pixels.dispose()
    }
  }
  return begin
}

/** The saved state, the given latents, or the seed's noise. */
async function startOf(run: Run, seed: bigint, shape: number[], state: SavedState | undefined): Promise<LoopStart> {
  const { engine } = run
  if (state !== undefined) {
    const { data, shape: size } = state.tensors['latents'] as TensorData
    const part = (prefix: string): Record<string, TensorData> => {
      const own = Object.entries(state.tensors).filter(([name]) => name.startsWith(prefix))
      return Object.fromEntries(own.map(([name, tensor]) => [name.slice(prefix.length), tensor]))
    }
    return { latents: engine.upload(data, size), step: state.step, carried: { scheduler: part('scheduler.'), stepCache: part('stepCache.'), globalTokenMemory: part('globalTokenMemory.') } }
  }
  return { latents: await startLatents(run, seed, shape), step: 0 }
}

async function startLatents({ options, engine, context }: Run, seed: bigint, shape: number[]): Promise<NativeTensor> {
  if (options.latents === undefined) return startNoise(engine, options, seed, shape)
  const scope = new Scope()
  try {
    return copyOf(engine, await toNative(engine, options.latents, scope, context.signal))
  } finally {
    scope.dispose()
  }
}

/** The seed's noise, [C,N,H,W]; a method may give several frames the noise of one. */
function startNoise(engine: NativeEngine, { method, latentFrames, chunkFrames }: ResolvedGenerateOptions, seed: bigint, shape: number[]): NativeTensor {
  const noise = randnNative(engine, seed, 0, shape)
  for (const [frame, source] of method.noise?.({ latentFrames, chunkFrames }, seed).entries() ?? []) {
    if (source === frame) continue
    const [to, from] = [engine.slice(noise, 1, frame, frame + 1), engine.slice(noise, 1, source, source + 1)]
    copyInto(engine, to, from)
    to.dispose()
    from.dispose()
  }
  return noise
}

async function save({ folder, fingerprint }: Resuming, step: number, seed: number | bigint, latents: NativeTensor, carried: Carried): Promise<void> {
  const tensors: Record<string, TensorData> = { latents: await readNative(latents) }
  checkFinite(tensors['latents']!, `latents after step ${step - 1}`, { step: step - 1 })
  for (const [part, state] of Object.entries<Record<string, TensorData>>({ ...carried })) for (const [name, tensor] of Object.entries(state)) tensors[`${part}.${name}`] = tensor
  await saveState(folder.path, { step, seed, fingerprint, tensors })
}

/** The video, which decodes when it is read, and the events of the job, whose decoding stops with the job's signal. */
function finish({ options, parts, context, plan, warnings }: Run, { latents, skippedSteps }: Sampled, seed: number | bigint, timings: Record<string, number>): RunResult {
  const { numFrames, width, height, fps, outputType } = options
  const vae = outputType === 'video' ? requireVae(parts.vae) : undefined
  const { logger } = context
  const video = new Video({
    latents,
    decode: vae === undefined ? undefined : (own, held) => decodeFrames({ vae, latents: held, numFrames }, own),
    width,
    height,
    fps,
    numFrames,
    seed,
    options: plainOptions(options, seed),
    plan,
    timings,
    skippedSteps,
    warnings,
    onWarning: ({ code, message }) => logger?.warn({ code }, message)
  })
  if (vae === undefined) return { video }
  const decode = async function* (from: number): AsyncGenerator<GenerationEvent> {
    const begin = performance.now()
    let done = from
    for await (const frames of decodeBatches({ vae, latents, numFrames, from }, ...context.signals)) {
      done += frames.length
      yield { type: 'decode', done, total: numFrames }
      yield { type: 'frames', frames }
    }
    timings['decode'] = performance.now() - begin
  }
  return { video, decode }
}
