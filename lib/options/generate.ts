// Options of pipeline.generate and pipeline.plan.

import { checkBoolean, checkFunction, checkInteger, checkNames, checkNumber, checkOneOf, checkPath, checkPixels, checkSignal, checkString } from '../check.js'
import { expected, rangeError, typeError } from '../errors.js'
import { methodByName, methods, type Method, type MethodName } from '../methods/index.js'
import type { TransformerConfig } from '../models/transformer.js'
import { checkSeed } from '../native/ops.js'
import { Tensor, checkShape, type TensorData, type TensorLike } from '../native/tensor.js'
import { checkContext } from '../plan/chunks.js'
import { fusionNames, fusionWeights, fusionWindow, type Fusion, type FusionOptions } from '../plan/fusion.js'
import { endsInPadding, latentFramesOf, videoFramesOf, type MicroBatch } from '../plan/frames.js'
import { stepCacheNames, type StepCacheOption } from '../plan/step-cache.js'
import { createScheduler, type Scheduler, type SchedulerOption } from '../schedulers/index.js'
import { checkTarget } from '../schedulers/scheduler.js'
import type { ImageInput } from '../video/image.js'
import type { Frame } from '../video/index.js'
import type { Video } from '../video/video.js'
import { checkFusionWeights, checkText, evaluationChecks, resolvePlanOptions, type ChunkOptions } from './denoise.js'
import type { ResolvedLimits } from './limits.js'
import type { PipelineDefaults } from './pipeline.js'

/** One entry of a prompt timeline; it holds from its `at` to the next one's, the first from the beginning. */
export interface TimelineEntry {
  /** Seconds, or `{ frame }` of the video. */
  at: number | { frame: number }
  prompt: string
  /**
  Latent frames over which, from `at` on, the text before it fades into this one: a chunk whose centre lies there gets a linear blend of their embeddings as its
  captions. The VIN reads the entries themselves. Nothing comes before the first entry, so it has nothing to fade from.

  @default 0
  */
  ease?: number | undefined
}

/** After a step; `latents` may be read until the next event is asked for, or the hook's promise settles. */
export interface StepEvent {
  type: 'step'
  /** Counts from 0; its update has been made. */
  step: number
  /** Steps of the whole run: for methods that sample chunks in turn, of all chunks together. */
  numInferenceSteps: number
  timestep: number
  /** False where `stepCache` has left the evaluation out. */
  computed: boolean
  latents(): Promise<TensorData>
  /** Milliseconds that are left for sampling: the median of the last steps, hooks included, times the steps to come. */
  etaMs: number
}

/** What a `step` hook may return: replaced latents, or nothing. */
export type StepResult = TensorLike | void | undefined

export interface PreviewEvent {
  type: 'preview'
  step: number
  frames: Frame[]
}

export interface GenerateOptions extends ChunkOptions {
  /**
  What to show: a text, or a timeline of texts. A chunk takes the entry at the centre of its owned frames; the VIN reads all entries in order.

  @throws RangeError for more than 8 KiB of UTF-8; ERR_VIN_MISSING_COMPONENT without text encoder and tokenizer
  */
  prompt?: string | readonly TimelineEntry[] | undefined
  /** Text of the other guidance branch. @default the checkpoint's learned empty text */
  negativePrompt?: string | undefined
  /** Instead of `prompt`: [L, D]. */
  promptEmbeds?: TensorLike | undefined
  /** Instead of `negativePrompt`: [L, D]. */
  negativePromptEmbeds?: TensorLike | undefined
  /**
  Video frames of the whole result, given frames included.

  @default 64
  @throws RangeError outside 1 … 4096
  */
  numFrames?: number | undefined
  /** Pixels, a multiple of 8. @default the checkpoint's */
  width?: number | undefined
  /** Pixels, a multiple of 8. @default the checkpoint's */
  height?: number | undefined
  /** Video frames per second. @default the checkpoint's */
  fps?: number | undefined
  /**
  Steps of the scheduler.

  @default the checkpoint's
  @throws RangeError outside 1 … 1000
  */
  numInferenceSteps?: number | undefined
  /**
  How strongly the text is followed; 0 and 1 are one evaluation a step.

  @default the checkpoint's
  @throws RangeError outside 0 … 1000
  */
  guidanceScale?: number | undefined
  /**
  An integer from 0 to 2⁵³ − 1, or a bigint below 2⁶⁴. The same seed and options give the same bits on one device.

  @default random; `video.seed` says which
  */
  seed?: number | bigint | undefined
  /** Start noise [C, N, H, W] instead of the seed's; fixes N, width and height. */
  latents?: TensorLike | undefined
  /**
  Class name, config or instance.

  @default the checkpoint's
  @throws RangeError for one whose target (ε, ε − x_0, x_0 − ε) is not the one that the checkpoint's own scheduler names
  */
  scheduler?: SchedulerOption | undefined
  /**
  How the video is split into evaluations.

  @default 'vin'
  @throws ERR_VIN_MISSING_COMPONENT for 'vin' on a checkpoint without `vin.*`, and for 'streaming-t2v' on one without `cam.*` and `apm.*`
  */
  method?: MethodName | undefined
  /**
  Of 'streaming-t2v', in every chunk but the first: how strongly the look of the video's first latent frame is followed,
  ε(∅, ∅) + guidanceScale (ε(text, ∅) − ε(∅, ∅)) + anchorGuidanceScale (ε(text, anchor) − ε(text, ∅)). Two evaluations a step where both scales are equal, else three.

  @default guidanceScale
  @throws RangeError outside 0 … 1000; TypeError for another method
  */
  anchorGuidanceScale?: number | undefined
  /**
  Of 'streaming-t2v': a second pass over the last 0.6 of the schedule, all chunks in parallel and without `cam.*` and `apm.*`, in which every step cuts each overlap
  at a random place, so that seams do not stay where they are.

  @default false
  @throws TypeError for another method
  */
  randomizedBlending?: boolean | undefined
  /**
  When overlaps are blended: while until < (n − step)/n ≤ from. 'early' is 1 → 0.4, 'mid' 0.7 → 0.3, 'late' 0.4 → 0. And with which `weights`: what an object does
  not say is as in 'early', and linear.

  @default 'early'
  @throws ERR_VIN_MISSING_COMPONENT for learned weights on a checkpoint without `fusion.*`
  */
  fusion?: Fusion | undefined
  /**
  Steps by which each chunk is behind the one before it, of methods 'vin' and 'independent': the first chunks are finished while the last are still noise, and whoever
  iterates the job gets their `frames` events before sampling ends. The run has so many steps more for each chunk but the first, in which fewer chunks are evaluated. A
  model does well with it that was trained for it (`staggerRatio` of Trainer); a lag of all steps is what 'autoregressive' does, beside global tokens.

  @default 0
  @throws RangeError for more than `numInferenceSteps`; TypeError for another method
  */
  stagger?: number | undefined
  /**
  Of method 'vin', on a model with `vin.memory.*`: the global tokens of each step go on from those of the step before, as the latents of RIN do (arXiv 2212.11972).

  @default false
  @throws ERR_VIN_MISSING_COMPONENT on a checkpoint without `vin.memory.*`; TypeError for another method
  */
  globalTokenMemory?: boolean | undefined
  /**
  Leaves out evaluations where little changes from step to step, and adds again what the blocks of the transformer added in the last one that was computed (TeaCache,
  arXiv 2411.19108). 'slow' skips few, 'fast' more; a number is what may change before a step is computed again (0.1 and 0.2 are the two names; 0 skips none).
  The first and the last step are always computed. How much a change of the input tells of the prediction is a polynomial of the checkpoint's.

  @default 'off'
  @throws RangeError for a number outside 0 … 100
  */
  stepCache?: StepCacheOption | undefined
  /** 'latents' leaves out decoding, and needs no VAE. @default 'video' */
  outputType?: 'video' | 'latents' | undefined
  /** The first picture: a path, the bytes of a PNG, JPEG or WebP file, or RGB pixels. Cropped to cover the video. */
  image?: ImageInput | undefined
  /** The last picture. */
  lastImage?: ImageInput | undefined
  /** A video to go on from: a path, a Video, latents, or frames. A path and a Video are shown at `fps`. Whole micro-batches condition; a shorter remainder at its start is dropped with a warning. */
  video?: string | Video | { latents: TensorLike } | AsyncIterable<Frame> | undefined
  /** Called and awaited after every step; returned latents replace the run's. One that throws rejects the job with its error. */
  onStep?: ((event: StepEvent) => StepResult | Promise<StepResult>) | undefined
  /**
  `preview` events for whoever iterates the job: after every step, or never. Each costs a decode of one micro-batch, the middle one.

  @default five times a run, and never with outputType 'latents'
  */
  preview?: boolean | undefined
  /** Called and awaited after every step with the frames of a preview. */
  onPreview?: ((event: PreviewEvent) => void | Promise<void>) | undefined
  /**
  A folder that keeps the two newest states of sampling; a run that finds one there goes on from it. It is new, empty, or that of an earlier run; it is made before
  the first step, when everything that the run is given has been read.

  @throws ERR_VIN_DISK for a folder that holds something else, and {reason: 'ELOCKED', pid, host, since} while another run uses it; ERR_VIN_RESUME_MISMATCH for a state of other options
  */
  resume?: string | undefined
  /**
  Stops the job at any time, also while it waits for its turn: it rejects with the signal's reason, and so does its iteration. The finished video does not depend
  on it any more: `frames`, `save`, `toBuffer` and `toStream` take signals of their own.
  */
  signal?: AbortSignal | undefined
}

/** Video frames of a run that says nothing of them. */
export const defaultNumFrames = 64

/** An option of the command line that stands for an option here. */
export interface Flag {
  name: string
  /** A switch has no value: it is there or not. */
  value: 'number' | 'seed' | 'text' | 'number or text' | 'fusion' | 'switch'
  hint: string
  help: string
  /** What holds without it, in words. */
  otherwise: string
}

interface Rule {
  /** Throws for what no model takes; is not asked about undefined. Absent: whoever uses the value checks it. */
  check?: (value: unknown, name: string, limits: ResolvedLimits) => unknown
  flag?: Flag
}

const pixels = (value: unknown, name: string, limits: ResolvedLimits) => checkPixels(value, name as 'width' | 'height', limits.pixels)
const hook = (value: unknown, name: string) => checkFunction(value as (() => void) | undefined, name)

const flag = <const N extends string, const V extends Flag['value']>(name: N, value: V, hint: string, help: string, otherwise = "the model's") => ({ name, value, hint, help, otherwise })

/** Each option once: what can be said of its value without a model, and what the command line calls it. Its type and its default stand in GenerateOptions. */
export const generateRules = {
  prompt: { check: (value, _, limits) => checkPrompt(value, limits) },
  numFrames: {
    check: (value, name, limits) => checkInteger(value, name, 1, limits.numFrames),
    flag: flag('frames', 'number', 'n', 'video frames', String(defaultNumFrames))
  },
  seed: { check: checkSeed, flag: flag('seed', 'seed', 'n', 'the same seed makes the same video', 'drawn, and told at the end') },
  method: { check: methodByName, flag: flag('method', 'text', 'name', Object.keys(methods).join(', '), methods.vin.name) },
  numInferenceSteps: {
    check: (value, name) => checkInteger(value, name, 1, 1000),
    flag: flag('steps', 'number', 'n', 'steps of the scheduler')
  },
  guidanceScale: {
    check: evaluationChecks.guidanceScale,
    flag: flag('guidance', 'number', 'x', 'how strongly the prompt is followed')
  },
  width: { check: pixels, flag: flag('width', 'number', 'px', 'pixels, a multiple of 8') },
  height: { check: pixels, flag: flag('height', 'number', 'px', 'pixels, a multiple of 8') },
  fps: {
    check: (value, name) => checkNumber(value, name, 0.1, 1000),
    flag: flag('fps', 'number', 'n', 'video frames per second')
  },
  anchorGuidanceScale: {
    check: (value, name) => checkNumber(value, name, 0, 1000),
    flag: flag('anchor-guidance-scale', 'number', 'x', 'streaming-t2v: how strongly the look of the first frame is followed', 'that of --guidance')
  },
  randomizedBlending: {
    check: checkBoolean,
    flag: flag('randomized-blending', 'switch', '', 'streaming-t2v: a second pass that cuts each overlap at a random place', 'off')
  },
  negativePrompt: { check: checkPromptText, flag: flag('negative', 'text', 'text', 'what not to show', 'nothing') },
  promptEmbeds: {},
  negativePromptEmbeds: {},
  latents: {},
  scheduler: {
    check: (value) => createScheduler(value as SchedulerOption),
    flag: flag('scheduler', 'text', 'name', 'class name, or the path of a config; a wrong name lists all')
  },
  image: { flag: flag('image', 'text', 'file', 'first picture', 'none') },
  lastImage: { flag: flag('last-image', 'text', 'file', 'last picture', 'none') },
  video: { check: checkVideoInput, flag: flag('video', 'text', 'file', 'video to go on from', 'none') },
  chunkFrames: {
    check: evaluationChecks.chunkFrames,
    flag: flag('chunk-frames', 'number', 'n', 'latent frames a chunk owns')
  },
  contextFrames: {
    check: evaluationChecks.contextFrames,
    flag: flag('context-frames', 'number', 'n', 'latent frames before a chunk')
  },
  keyframeInterval: {
    check: evaluationChecks.keyframeInterval,
    flag: flag('keyframe-interval', 'number', 's', 'seconds between the latent frames that the VIN reads')
  },
  fusion: {
    check: resolveFusion,
    flag: flag('fusion', 'fusion', 'name', `when overlaps are blended (${fusionNames.join(', ')}, FROM..UNTIL) and with which weights (${fusionWeights.join(', ')}), as late+raised-cosine`, 'early')
  },
  stagger: {
    check: (value, name) => checkInteger(value, name, 0, 1000),
    flag: flag('stagger', 'number', 'n', 'steps by which each chunk is behind the one before it', '0')
  },
  globalTokenMemory: {
    check: checkBoolean,
    flag: flag('global-token-memory', 'switch', '', 'vin, where the model has learned it: the global tokens go on from those of the step before', 'off')
  },
  stepCache: {
    check: checkStepCache,
    flag: flag('step-cache', 'number or text', 'name', 'leaves out evaluations where little changes: off, slow, fast or a threshold', 'off')
  },
  chunksInFlight: {
    check: evaluationChecks.chunksInFlight,
    flag: flag('chunks-in-flight', 'number', 'n', 'chunks evaluated at once', 'as many as memory and threads allow')
  },
  outputType: { check: (value, name) => checkOneOf(value, name, ['video', 'latents']) },
  onStep: { check: hook },
  preview: { check: checkBoolean },
  onPreview: { check: hook },
  resume: { check: checkPath },
  signal: { check: checkSignal }
} as const satisfies Record<keyof GenerateOptions, Rule>

export const generateOptionNames = Object.keys(generateRules) as (keyof GenerateOptions)[]

/** A timeline entry with its time in latent frames. */
export interface ResolvedEntry {
  prompt: string
  at: number | { frame: number }
  latentFrame: number
  ease: number
}

/** Every option, with what it is without being given. */
export interface ResolvedGenerateOptions extends AsGiven, SizeOptions {
  /** Entries of the timeline; one for a plain prompt, none with `promptEmbeds`. */
  prompt: readonly ResolvedEntry[]
  fps: number
  numInferenceSteps: number
  guidanceScale: number
  scheduler: Scheduler
  method: Method
  chunkFrames: number
  contextFrames: number
  keyframeInterval: number
  /** Of 'streaming-t2v'. */
  anchorGuidanceScale: number | undefined
  randomizedBlending: boolean
  fusion: Fusion
  stagger: number
  globalTokenMemory: boolean
  stepCache: StepCacheOption
  outputType: 'video' | 'latents'
}

type Decided = 'prompt' | 'fps' | 'numInferenceSteps' | 'guidanceScale' | 'scheduler' | 'method' | 'chunkFrames' | 'contextFrames' | 'keyframeInterval' | 'anchorGuidanceScale' | 'randomizedBlending' | 'fusion' | 'stagger' | 'globalTokenMemory' | 'stepCache' | 'outputType'
/** Options that are taken as they are; absent ones are undefined. An absent seed is to be drawn. */
type AsGiven = { [K in Exclude<keyof GenerateOptions, Decided | keyof SizeOptions>]-?: GenerateOptions[K] | undefined }

interface SizeOptions {
  numFrames: number
  latentFrames: number
  width: number
  height: number
}

/** What options are checked against. */
export interface GenerateContext {
  config: Readonly<TransformerConfig>
  defaults: Readonly<PipelineDefaults>
  scheduler: Scheduler
  /** Whose target the weights have learnt, where that is known. */
  trainedWith: Scheduler | undefined
  microBatch: MicroBatch
  /** There is a VAE: latents are meant to be decoded. */
  decodes: boolean
  limits: ResolvedLimits
}

/** What can be said of the options without a model; so a wrong one is refused before a model is opened. */
export function checkGenerateOptions(options: GenerateOptions, limits: ResolvedLimits, what = 'generate'): void {
  checkNames(options, what, generateOptionNames)
  if (options.prompt !== undefined && options.promptEmbeds !== undefined) throw typeError('Expected prompt or promptEmbeds but received both')
  if (options.negativePrompt !== undefined && options.negativePromptEmbeds !== undefined) throw typeError('Expected negativePrompt or negativePromptEmbeds but received both')
  if (options.video !== undefined && options.image !== undefined) throw typeError('Expected image or video for the beginning but received both')
  for (const name of generateOptionNames) {
    const { check }: Rule = generateRules[name]
    if (options[name] !== undefined) check?.(options[name], name, limits)
  }
  if (options.chunkFrames !== undefined && options.contextFrames !== undefined) checkContext(options.contextFrames, options.chunkFrames)
}

/** Checked, with defaults, frozen. Does no native work. */
export function resolveGenerateOptions(options: GenerateOptions, context: GenerateContext, what = 'generate'): ResolvedGenerateOptions {
  const { config, defaults, microBatch, limits } = context
  checkGenerateOptions(options, limits, what)
  const size = resolveSize(options, context)
  const { fps = defaults.fps } = options
  const scheduler = createScheduler(options.scheduler ?? context.scheduler)
  if (context.trainedWith !== undefined) checkTarget(scheduler, context.trainedWith)
  if (options.promptEmbeds !== undefined) checkText(options.promptEmbeds, 'promptEmbeds', config)
  if (options.negativePromptEmbeds !== undefined) checkText(options.negativePromptEmbeds, 'negativePromptEmbeds', config)
  const method = methodByName(options.method ?? methods.vin.name)
  const { randomizedBlending = false, stagger = 0, globalTokenMemory = false, guidanceScale = defaults.guidanceScale, numInferenceSteps = defaults.numInferenceSteps } = options
  const streams = options.anchorGuidanceScale !== undefined ? 'anchorGuidanceScale' : randomizedBlending ? 'randomizedBlending' : undefined
  if (streams !== undefined && !method.streaming) throw typeError(`Expected method 'streaming-t2v' beside ${streams} but received '${method.name}'`)
  if (stagger > 0 && !method.staggers) throw typeError(`Expected method 'vin' or 'independent' beside stagger but received '${method.name}'`)
  if (globalTokenMemory && !method.globalTokens) throw typeError(`Expected method 'vin' beside globalTokenMemory but received '${method.name}'`)
  if (stagger > numInferenceSteps) throw rangeError(`Expected stagger of at most numInferenceSteps ${numInferenceSteps} but received ${stagger}`)
  const perSecond = (fps * microBatch.latentFrames) / microBatch.frames
  const given = Object.fromEntries(generateOptionNames.map((name) => [name, options[name]])) as unknown as AsGiven
  return Object.freeze({
    ...given,
    ...size,
    prompt: options.promptEmbeds === undefined ? resolvePrompt(checkPrompt(options.prompt ?? '', limits), perSecond, microBatch) : [],
    fps,
    numInferenceSteps,
    guidanceScale,
    scheduler,
    method,
    ...resolvePlanOptions(options, config),
    anchorGuidanceScale: method.streaming ? (options.anchorGuidanceScale ?? guidanceScale) : undefined,
    randomizedBlending,
    fusion: resolveFusion(options.fusion),
    stagger,
    globalTokenMemory,
    stepCache: options.stepCache ?? 'off',
    outputType: options.outputType ?? 'video'
  })
}

/** Frames and pixels; start latents fix them. */
function resolveSize(options: GenerateOptions, { config, defaults, microBatch, decodes, limits }: GenerateContext): SizeOptions {
  const { width, height, numFrames } = options
  if (options.latents === undefined) {
    const frames = numFrames ?? Math.min(defaultNumFrames, limits.numFrames)
    return { numFrames: frames, latentFrames: latentFramesOf(frames, microBatch), width: width ?? defaults.width, height: height ?? defaults.height }
  }
  const [, N = 0, H = 0, W = 0] = checkShape(options.latents, 'latents', [config.in_channels, 'N', 'H', 'W'])
  if (H < 1 || W < 1) throw rangeError(`Expected at least one latent a frame for latents but received [${config.in_channels}, ${N}, ${H}, ${W}]`)
  // Without a VAE a last micro-batch of padding alone is as good as any other: one latent frame counts as one video frame.
  const padding = !decodes && endsInPadding(N, microBatch)
  const most = padding ? Math.floor(N / microBatch.latentFrames) * microBatch.frames + 1 : videoFramesOf(N, microBatch)
  const frames = numFrames ?? most
  if (frames > limits.numFrames) throw rangeError(`Expected at most ${limits.numFrames} video frames but latents of ${N} latent frames are ${frames}`)
  const needed = padding && frames === most ? N : latentFramesOf(frames, microBatch)
  if (needed !== N) throw rangeError(`Expected ${needed} latent frames in latents for numFrames ${frames} but received ${N}`)
  if (width !== undefined && width !== 8 * W) throw rangeError(`Expected width ${8 * W}, as latents have it, but received ${width}`)
  if (height !== undefined && height !== 8 * H) throw rangeError(`Expected height ${8 * H}, as latents have it, but received ${height}`)
  return { numFrames: frames, latentFrames: N, width: 8 * W, height: 8 * H }
}

function checkPromptText(prompt: unknown, name: string, limits: ResolvedLimits): string {
  const text = checkString(prompt, name)
  // A UTF-16 unit is at most 3 bytes of UTF-8: long texts are refused without encoding them.
  const bytes = text.length > limits.promptBytes ? text.length : new TextEncoder().encode(text).length
  if (bytes > limits.promptBytes) throw rangeError(`Expected at most ${limits.promptBytes} bytes of UTF-8 for ${name} but received ${text.length > limits.promptBytes ? 'at least ' : ''}${bytes}`)
  return text
}

type CheckedEntry = Omit<ResolvedEntry, 'latentFrame'>

/** What can be said of a prompt without a model: entries in seconds, and those in frames, are in the order of time. */
function checkPrompt(prompt: unknown, limits: ResolvedLimits): CheckedEntry[] {
  if (typeof prompt === 'string') return [{ prompt: checkPromptText(prompt, 'prompt', limits), at: 0, ease: 0 }]
  if (!Array.isArray(prompt)) throw expected('a string or a list of { at, prompt }', 'prompt', prompt, 'type')
  if (prompt.length === 0 || prompt.length > 256) throw expected('1 to 256 entries', 'prompt', prompt, 'range')
  const entries = prompt.map((entry: unknown, i): CheckedEntry => {
    const name = `prompt[${i}]`
    checkNames(entry, name, ['at', 'prompt', 'ease'], '{ at, prompt, ease }')
    const { at, prompt: text, ease = 0 } = entry as TimelineEntry
    return { prompt: checkPromptText(text, `${name}.prompt`, limits), at: checkTime(at, `${name}.at`), ease: checkNumber(ease, `${name}.ease`, 0, 65_536) }
  })
  checkOrder(entries.map(({ at }) => (typeof at === 'number' ? at : undefined)))
  checkOrder(entries.map(({ at }) => (typeof at === 'number' ? undefined : at.frame)))
  return entries
}

function checkTime(at: unknown, name: string): CheckedEntry['at'] {
  if (typeof at === 'number') return checkNumber(at, name, 0, 1e6)
  checkNames(at, name, ['frame'], 'seconds or { frame }')
  return { frame: checkInteger((at as { frame?: unknown }).frame, `${name}.frame`, 0, 1e9) }
}

/** Each time that is given lies after the one before it. */
function checkOrder(times: readonly (number | undefined)[]): void {
  let last = -1
  times.forEach((time, i) => {
    if (time === undefined) return
    if (time <= last) throw rangeError(`Expected entries in the order of time but prompt[${i}] is not after the one before it`)
    last = time
  })
}

function resolvePrompt(entries: readonly CheckedEntry[], latentFramesPerSecond: number, micro: MicroBatch): ResolvedEntry[] {
  const resolved = entries.map((entry) => {
    const { at } = entry
    return { ...entry, latentFrame: typeof at === 'number' ? at * latentFramesPerSecond : (at.frame * micro.latentFrames) / micro.frames }
  })
  checkOrder(resolved.map(({ latentFrame }) => latentFrame))
  return resolved
}

function resolveFusion(fusion: unknown = 'early'): Fusion {
  if (typeof fusion === 'string') return checkOneOf(fusion, 'fusion', fusionNames) as Fusion
  checkNames(fusion, 'fusion', ['from', 'until', 'weights'], `${fusionNames.map((name) => `'${name}'`).join(', ')} or { from, until, weights }`)
  const { weights } = fusion as FusionOptions
  const { from, until } = fusionWindow(fusion as FusionOptions)
  const window = { from: checkNumber(from, 'fusion.from', 0, 1), until: checkNumber(until, 'fusion.until', 0, 1) }
  if (window.until > window.from) throw rangeError(`Expected fusion.until of at most fusion.from ${window.from} but received ${window.until}`)
  return Object.freeze(weights === undefined ? window : { ...window, weights: checkFusionWeights(weights, 'fusion.weights') })
}

function checkStepCache(value: unknown): StepCacheOption {
  if (typeof value === 'number') return checkNumber(value, 'stepCache', 0, 100)
  if (!stepCacheNames.some((name) => name === value)) throw expected("'off', 'slow', 'fast' or a number from 0 to 100", 'stepCache', value, typeof value === 'string' ? 'range' : 'type')
  return value as StepCacheOption
}

function checkVideoInput(video: unknown): GenerateOptions['video'] {
  if (video === undefined || typeof video === 'string') return video
  const fits = typeof video === 'object' && video !== null && ('latents' in video || Symbol.asyncIterator in video)
  if (!fits) throw expected('a path, a Video, { latents } or an async iterable of frames', 'video', video, 'type')
  return video as GenerateOptions['video']
}

/** The options of a run as plain JSON values: tensors, pictures, signals and hooks are left out. */
export function plainOptions(options: ResolvedGenerateOptions, seed: number | bigint): Record<string, unknown> {
  const { prompt, method, scheduler, latents, promptEmbeds, negativePromptEmbeds, image, lastImage, video, onStep, onPreview, signal, latentFrames, ...rest } = options
  const first = prompt[0]
  const asGiven = prompt.length === 1 && first?.latentFrame === 0 ? first.prompt : prompt.map(({ at, prompt: text, ease }) => ({ at, prompt: text, ...(ease === 0 ? {} : { ease }) }))
  const plain = {
    ...rest,
    seed,
    ...(prompt.length === 0 ? {} : { prompt: asGiven }),
    method: method.name,
    scheduler: scheduler.config,
    ...(typeof image === 'string' ? { image } : {}),
    ...(typeof lastImage === 'string' ? { lastImage } : {}),
    ...(typeof video === 'string' ? { video } : {})
  }
  return Object.freeze(Object.fromEntries(Object.entries(plain).filter(([, value]) => value !== undefined && !(value instanceof Tensor))))
}
