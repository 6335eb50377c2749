// What is compared: methods and their variants, prompts, seeds and lengths; and how every cell of it is sampled and measured.

import { checkBoolean, checkFunction, checkInteger, checkNames, checkOneOf, checkPath, checkSignal } from '../check.js'
import { expected, missingComponent, rangeError, typeError } from '../errors.js'
import { metricNames, metricsWithFeatures } from '../evaluate/options.js'
import type { MetricName } from '../evaluate/options.js'
import { methodNames, methods, type Method, type MethodName } from '../methods/index.js'
import { checkGenerateOptions, type GenerateOptions } from '../options/generate.js'
import { checkText } from '../options/denoise.js'
import { resolveLimits, type ResolvedLimits } from '../options/limits.js'
import { readFusion } from '../plan/fusion.js'
import { streamingParts, type TransformerPart } from '../options/model.js'
import { hasWeightsFor } from '../pipeline/evaluation.js'
import { Tensor, checkShape, type TensorData } from '../native/tensor.js'
import type { VideoPipeline } from '../pipeline/pipeline.js'
import { createScheduler } from '../schedulers/index.js'
import { digestOf } from './latents.js'
import type { CompareReport } from './report.js'
import type { CompareRow, PromptEmbeds } from './row.js'

/** Options of `generate` that hold for all cells. */
export const sharedNames = ['numInferenceSteps', 'guidanceScale', 'width', 'height', 'fps', 'scheduler', 'negativePrompt', 'chunkFrames', 'contextFrames', 'keyframeInterval', 'fusion', 'stepCache'] as const

/** Options that a variant of a method may have of its own. */
export const variantNames = ['numInferenceSteps', 'guidanceScale', 'chunkFrames', 'contextFrames', 'keyframeInterval', 'stagger', 'globalTokenMemory', 'fusion', 'stepCache', 'anchorGuidanceScale', 'randomizedBlending'] as const

/** What a model may lack of what methods and metrics need. */
export type ModelPart = 'vae' | 'vin' | TransformerPart

export type SharedOptions = Pick<GenerateOptions, (typeof sharedNames)[number]>

export type VariantOptions = Pick<GenerateOptions, (typeof variantNames)[number]>

/** What is left to do, before it is begun. */
export interface CompareEstimate {
  /** All, and those that are to be made. */
  cells: number
  open: number
  seconds: number
  bytes: number
  /** Of the disk that the report lies on. */
  freeBytes: number
}

export interface CompareProgress {
  stage: 'reading weights' | 'trying' | 'comparing' | 'waiting for others'
  /** Of 'comparing': cells. */
  done: number
  total: number
  etaMs?: number
  /** What is being made. */
  detail?: string
}

export interface CompareOptions extends SharedOptions {
  /** The folder that the comparison lies in: rows as they are finished, videos, and the report. The same call goes on with it; other processes and machines may share it. */
  report: string
  /**
  Methods, each alone or with options of its own: `'vin'`, `'vin:fusion=late'`, `'vin:fusion=late+raised-cosine'` (when, and with which weights), `'vin:fusion=0.8..0.3'`,
  `'vin:contextFrames=8:keyframeInterval=0.5'`.

  @default all methods that the model can run
  @throws RangeError for a name that is no method, ERR_VIN_MISSING_COMPONENT for one whose weights the model lacks
  */
  methods?: readonly string[] | undefined
  /** What to show: every method makes a video of each. */
  prompts?: readonly string[] | undefined
  /**
  Embeddings [L, D] of prompts, by prompt, instead of encoding them: for a model without a text encoder. Then `prompts` are these, or some of them.

  @throws ERR_VIN_MISSING_COMPONENT where there is neither a text encoder nor this
  */
  promptEmbeds?: Readonly<Record<string, TensorData>> | undefined
  /** So many seeds, from 0 on, or these. @default 1 */
  seeds?: number | readonly number[] | undefined
  /** Lengths, video frames. @default [64] */
  frames?: readonly number[] | undefined
  /**
  What to measure; of a model without `vae/` only 'seamScore' can be, over latents.

  @default everything that the model can
  @throws ERR_VIN_MISSING_COMPONENT for what needs pixels on a model without a VAE; RangeError for what needs features on one without a VIN
  */
  metrics?: readonly MetricName[] | undefined
  /** Keep the videos, for the page to show side by side; of a model without a VAE the latents, which differences to 'full' are taken of. @default true */
  videos?: boolean | undefined
  /** Repeats the cells of a report, with its options, instead of methods, prompts, seeds and lengths. */
  from?: CompareReport | undefined
  /** Called once, before the first cell is made. */
  onEstimate?: ((estimate: CompareEstimate) => void) | undefined
  /** Called while weights are read, cells are made, and others are waited for. */
  onProgress?: ((progress: CompareProgress) => void) | undefined
  /** Called with each row that this call has made. */
  onRow?: ((row: CompareRow) => void) | undefined
  /** Called with each warning of a run once, and with each failure that a row tells. */
  onWarning?: ((warning: { code: string; message: string }) => void) | undefined
  /** Ends the work: the call rejects with its reason. What is finished stays, and the same call goes on with it. */
  signal?: AbortSignal | undefined
}

const ownNames = ['report', 'methods', 'prompts', 'promptEmbeds', 'seeds', 'frames', 'metrics', 'videos', 'from', 'onEstimate', 'onProgress', 'onRow', 'onWarning', 'signal'] as const

/** A method with options of its own; `name` is how it was said. */
export interface Variant {
  name: string
  method: MethodName
  options: VariantOptions
}

export interface ResolvedCompareOptions {
  report: string
  variants: readonly Variant[]
  prompts: readonly string[]
  embeds: ReadonlyMap<string, PromptEmbeds>
  seeds: readonly number[]
  frames: readonly number[]
  metrics: readonly MetricName[]
  shared: SharedOptions
  videos: boolean
  /** The model has a VAE: there are videos to save and measure, else latents. */
  pixels: boolean
  lacks: readonly ModelPart[]
  from: CompareReport | undefined
  onEstimate: NonNullable<CompareOptions['onEstimate']>
  onProgress: NonNullable<CompareOptions['onProgress']>
  onRow: NonNullable<CompareOptions['onRow']>
  onWarning: NonNullable<CompareOptions['onWarning']>
  signal: AbortSignal | undefined
}

/** 'vin:fusion=late:contextFrames=8' */
export function readVariant(text: unknown, limits: ResolvedLimits): Variant {
  if (typeof text !== 'string') throw expected("a method, as 'vin' or 'vin:fusion=late',", 'methods', text, 'type')
  const [word = '', ...settings] = text.split(':')
  const method = checkOneOf(word, 'methods', methodNames)
  const options: Record<string, unknown> = {}
  for (const setting of settings) {
    const [name = '', value = ''] = setting.split('=')
    if (value === '' || !(variantNames as readonly string[]).includes(name)) throw expected(`${variantNames.map((each) => `${each}=…`).join(', ')} after each colon`, 'methods', text, 'range')
    options[name] = name === 'fusion' ? readFusion(value) : value === 'true' || value === 'false' ? value === 'true' : Number.isNaN(Number(value)) ? value : Number(value)
  }
  checkGenerateOptions(options as GenerateOptions, limits, 'methods')
  return { name: text, method, options: options as VariantOptions }
}

function checkList<T>(value: unknown, name: string, check: (item: unknown) => T): T[] {
  if (!Array.isArray(value)) throw expected('a list', name, value, 'type')
  if (value.length === 0) throw expected('at least one entry', name, value, 'range')
  return [...new Set((value as unknown[]).map(check))]
}

/** Embeddings of one prompt, in sentences. */
export const embedsName = (prompt: string): string => `promptEmbeds[${JSON.stringify(prompt)}]`

/** Copies, with their digests: what the caller changes afterwards is not seen. */
function takeEmbeds(value: unknown): Map<string, PromptEmbeds> {
  if (value === undefined) return new Map()
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw expected('an object of embeddings by prompt', 'promptEmbeds', value, 'type')
  return new Map(
    Object.entries(value).map(([prompt, given]) => {
      const { data, shape } = checkTensorData(given, embedsName(prompt))
      const tensor = { data: data.slice(), shape: [...shape] }
      return [prompt, { tensor, digest: digestOf(tensor) }]
    })
  )
}

function checkTensorData(value: unknown, name: string): TensorData {
  checkShape(value as TensorData, name, ['L', 'D'])
  if (value instanceof Tensor) throw expected('{ data, shape }', name, value, 'type')
  return value as TensorData
}

/** What can be said without a model. @throws TypeError or RangeError */
export function checkCompareOptions(options: CompareOptions, limits = resolveLimits()): Omit<ResolvedCompareOptions, 'variants' | 'metrics' | 'pixels' | 'lacks'> & { variants: Variant[] | undefined; metrics: MetricName[] | undefined } {
  checkNames(options, 'compare', [...ownNames, ...sharedNames])
  const { from } = options
  const foreign = from === undefined ? undefined : (['methods', 'prompts', 'seeds', 'frames', 'metrics', ...sharedNames] as const).find((name) => options[name] !== undefined)
  if (foreign !== undefined) throw typeError(`Expected from, which says what is compared, or ${foreign} but received both`)
  const embeds = takeEmbeds(options.promptEmbeds)
  const prompts = from?.prompts ?? options.prompts ?? (embeds.size > 0 ? [...embeds.keys()] : undefined)
  if (prompts === undefined) throw typeError('Expected prompts for compare but received none; pass a list of texts')
  const shared = from?.options ?? (Object.fromEntries(sharedNames.filter((name) => options[name] !== undefined).map((name) => [name, options[name]])) as SharedOptions)
  checkGenerateOptions(shared, limits, 'compare')
  const seeds = from?.seeds ?? options.seeds ?? 1
  const said = from?.methods ?? options.methods
  const nothing = (): void => {}
  return {
    report: checkPath(options.report, 'report'),
    variants: said === undefined ? undefined : checkList(said, 'methods', (item) => item as string).map((text) => readVariant(text, limits)),
    prompts: checkList(prompts, 'prompts', (text) => checkPrompt(text, embeds, limits)),
    embeds,
    seeds: typeof seeds === 'number' ? Array.from({ length: checkInteger(seeds, 'seeds', 1, 100_000) }, (_, seed) => seed) : checkList(seeds, 'seeds', (seed) => checkInteger(seed, 'seeds', 0, Number.MAX_SAFE_INTEGER)),
    frames: checkList(from?.frames ?? options.frames ?? [64], 'frames', (count) => checkInteger(count, 'frames', 1, limits.numFrames)),
    metrics: (from?.metrics ?? options.metrics) === undefined ? undefined : checkList(from?.metrics ?? options.metrics, 'metrics', (name) => checkOneOf(name, 'metrics', metricNames)),
    shared,
    videos: checkBoolean(options.videos ?? true, 'videos'),
    from,
    onEstimate: checkFunction(options.onEstimate, 'onEstimate') ?? nothing,
    onProgress: checkFunction(options.onProgress, 'onProgress') ?? nothing,
    onRow: checkFunction(options.onRow, 'onRow') ?? nothing,
    onWarning: checkFunction(options.onWarning, 'onWarning') ?? nothing,
    signal: checkSignal(options.signal)
  }
}

function checkPrompt(prompt: unknown, embeds: ReadonlyMap<string, PromptEmbeds>, limits: ResolvedLimits): string {
  checkGenerateOptions({ prompt: prompt as string }, limits, 'compare')
  const text = String(prompt)
  if (embeds.size > 0 && !embeds.has(text)) throw rangeError(`Expected promptEmbeds of every prompt but received none of ${JSON.stringify(text)}`)
  return text
}

/** Why a metric cannot be measured of a model. */
export function whyNotMeasured(metric: MetricName, lacks: readonly ModelPart[]): string | undefined {
  if (lacks.includes('vae')) return metric === 'seamScore' ? undefined : 'needs pixels, and the model has no vae/'
  return lacks.includes('vin') && metricsWithFeatures.includes(metric) ? 'needs features of a VIN, and the model has none' : undefined
}

/** Why a method cannot run. */
export function whyNotRun(method: MethodName, lacks: readonly ModelPart[]): string | undefined {
  const { globalTokens, streaming }: Method = methods[method]
  const missing = [...(globalTokens ? (['vin'] as const) : []), ...(streaming === undefined ? [] : streamingParts)].filter((part) => lacks.includes(part))
  return missing.length === 0 ? undefined : `needs the weights ${missing.map((part) => `${part}.*`).join(' and ')}, which the model lacks`
}

/** With what the model has: its defaults, the methods it runs, the metrics it has features for. */
export function resolveCompareOptions(options: CompareOptions, pipeline: VideoPipeline): ResolvedCompareOptions {
  const { transformer, defaults } = pipeline
  const checked = checkCompareOptions(options, pipeline.parts.options.limits)
  const pixels = pipeline.has('vae')
  const { config, hasGlobalTokens } = transformer
  const lacks: ModelPart[] = [...(pixels ? [] : (['vae'] as const)), ...(hasGlobalTokens ? [] : (['vin'] as const)), ...streamingParts.filter((part) => config[part] !== true)]
  const runs = methodNames.filter((name) => hasWeightsFor(methods[name], transformer))
  // With one encoder the background's consistency is the subject's.
  const metrics = checked.metrics ?? metricNames.filter((name) => name !== 'backgroundConsistency' && whyNotMeasured(name, lacks) === undefined)
  const pictures = metrics.find((name) => !pixels && whyNotMeasured(name, lacks) !== undefined)
  if (pictures !== undefined) throw missingComponent('vae', `Expected the model to have vae/ to measure ${pictures} but it has none; of latents seamScore alone is measured`)
  if (checked.embeds.size === 0 && !pipeline.encodesText) throw missingComponent('text_encoder', 'Expected the model to have text_encoder/ to compare prompts but it has none; pass promptEmbeds')
  for (const [prompt, { tensor }] of checked.embeds) checkText(tensor, embedsName(prompt), config)
  if (!hasGlobalTokens) {
    const needy = metrics.find((name) => metricsWithFeatures.includes(name))
    if (needy !== undefined) throw rangeError(`Expected metrics without features but received ${needy}, which needs the VIN of a model, and this one has none`)
  }
  const { scheduler, width, height, fps, numInferenceSteps, guidanceScale } = { ...defaults, ...checked.shared }
  return {
    ...checked,
    variants: checked.variants ?? runs.map((name) => ({ name, method: name, options: {} })),
    metrics,
    pixels,
    lacks,
    shared: { ...checked.shared, width, height, fps, numInferenceSteps, guidanceScale, scheduler: { ...createScheduler(scheduler ?? pipeline.scheduler).config } as SharedOptions['scheduler'] }
  }
}
