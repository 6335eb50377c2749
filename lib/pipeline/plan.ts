// What a run will do, before it does it: chunks, keyframes, text per chunk, FLOPs and memory. Synchronous; the only native call is the dry run of one evaluation.

import { methods, type Method, type MethodPlan } from '../methods/index.js'
import type { Transformer } from '../models/transformer.js'
import type { VAE } from '../models/vae.js'
import type { ResolvedGenerateOptions } from '../options/generate.js'
import { planOverlaps, type Chunk, type Overlap } from '../plan/chunks.js'
import { evaluationFlops, type CostModel } from '../plan/cost.js'
import { passesOf } from '../plan/passes.js'
import { centreOf, entryAt, entryShares } from '../plan/timeline.js'
import { evaluationRequest, hasWeightsFor, planOf, requireFusion, requireMemory } from './evaluation.js'
import type { PipelineParts } from './load.js'
import { branchesOf as branchesOfRequest, stepCacheBytes } from './step-cache.js'

export interface PipelineWarning {
  code: string
  message: string
}

export interface VideoPlan {
  /** N */
  latentFrames: number
  /** Latent frames: computed from `first`, owned from `start`, up to `end`. */
  chunks: Chunk[]
  overlaps: Overlap[]
  /** Latent frames that the VIN reads; empty for methods without global tokens. */
  keyframes: number[]
  /** The text that holds at the centre of each chunk's owned frames: its captions, unless `ease` blends them. */
  prompts: string[]
  /** Per chunk, the share of each entry of the timeline in its captions: a 1 and zeros, unless `ease` blends them. */
  promptShares: number[][]
  flops: {
    /** One step, one guidance branch; where steps differ, one that costs most. */
    perStep: number
    /** The same for every method this version runs. */
    byMethod: Record<string, number>
    /** Guidance branches a step; of methods in turn, in every chunk but the first. */
    branches: number
    /** All steps and branches; `stepCache` leaves some of them out. */
    total: number
    /** Times that a chunk is evaluated: chunks × steps × branches. */
    evaluations: number
  }
  /** Bytes. */
  memory: { weights: number; activations: number; decode: number; peak: number }
  warnings: PipelineWarning[]
}

/** How much the anchor counts; 0 for methods that have none. */
export function anchorScaleOf({ anchorGuidanceScale = 0 }: Pick<ResolvedGenerateOptions, 'anchorGuidanceScale'>): number {
  return anchorGuidanceScale
}

/** Branches of u + w (c − u) + w_anchor (a − c) that have a share. */
function guidanceBranches(guidanceScale: number, anchorScale: number): number {
  return [1 - guidanceScale, guidanceScale - anchorScale, anchorScale].filter((share) => share !== 0).length
}

export function planVideo(options: ResolvedGenerateOptions, parts: PipelineParts): VideoPlan {
  const { transformer, vae } = parts
  if (options.globalTokenMemory) requireMemory(transformer, 'globalTokenMemory')
  if (typeof options.fusion === 'object' && options.fusion.weights === 'learned') requireFusion(transformer, "fusion.weights 'learned'")
  const plan = planOf(options.method, transformer, options)
  const centres = plan.chunks.map(centreOf)
  const textRows = options.promptEmbeds?.shape[0] ?? transformer.config.model_max_length
  const flops = planFlops(options, transformer, textRows)
  return {
    latentFrames: options.latentFrames,
    chunks: plan.chunks,
    overlaps: planOverlaps(plan.chunks),
    keyframes: plan.keyframes ?? [],
    prompts: centres.map((centre) => options.prompt[entryAt(options.prompt, centre)]?.prompt ?? ''),
    promptShares: centres.map((centre) => entryShares(options.prompt, centre)),
    flops,
    memory: planMemory(options, transformer, vae, parts, plan, textRows),
    warnings: planWarnings(options, transformer)
  }
}

function planFlops(options: ResolvedGenerateOptions, transformer: Transformer, textRows: number): VideoPlan['flops'] {
  const { config } = transformer
  const model: CostModel = {
    layout: config.attention_layout,
    depth: config.depth,
    C: config.hidden_size,
    mlpRatio: config.mlp_ratio,
    S: Math.ceil(options.height / 16) * Math.ceil(options.width / 16),
    L: textRows,
    D: config.caption_channels,
    vin: config.vin === undefined ? undefined : { G: config.vin.num_global_tokens, d: config.vin.dim, blocks: config.vin.num_blocks }
  }
  const { numInferenceSteps, fusion, globalTokenMemory } = options
  // The first step costs most of all, but for memory, which it has none of.
  const cost = (method: Method): number => evaluationFlops(model, { ...method.evaluation(planOf(method, transformer, options), 0, numInferenceSteps, fusion), readsMemory: globalTokenMemory })
  const runnable = Object.values(methods).filter((method) => hasWeightsFor(method, transformer))
  return { perStep: cost(options.method), byMethod: Object.fromEntries(runnable.map((method) => [method.name, cost(method)])), ...wholeRun(model, options, transformer) }
}

/** Step by step. Given frames are not known yet; every chunk counts. */
function wholeRun(model: CostModel, options: ResolvedGenerateOptions, transformer: Transformer): Pick<VideoPlan['flops'], 'branches' | 'total' | 'evaluations'> {
  const { method, numInferenceSteps, fusion, guidanceScale, stagger, globalTokenMemory } = options
  const plan = planOf(method, transformer, options)
  const branchesOf = (anchored: boolean): number => guidanceBranches(guidanceScale, anchored ? anchorScaleOf(options) : 0)
  const run = { branches: branchesOf(true), total: 0, evaluations: 0 }
  for (const { turn, begin, blends } of passesOf(plan.chunks, { inTurn: method.order === 'in turn', blending: options.randomizedBlending, numInferenceSteps })) {
    const branches = branchesOf(!blends && turn !== 0)
    for (let step = begin; step < numInferenceSteps; step++) {
      const evaluation = blends ? { chunks: plan.chunks } : method.evaluation(plan, step, numInferenceSteps, fusion, turn)
      const chunks = turn === undefined ? evaluation.chunks : evaluation.chunks.slice(turn, turn + 1)
      run.total += branches * evaluationFlops(model, { ...evaluation, chunks, readsMemory: globalTokenMemory && step > 0 })
      run.evaluations += branches * chunks.length
    }
  }
  // With `stagger` each chunk makes the same steps, in more steps of the run: the VIN reads the video that much more often.
  run.total += stagger * (plan.chunks.length - 1) * branchesOf(false) * evaluationFlops(model, { ...method.evaluation(plan, 0, numInferenceSteps, fusion), chunks: [], readsMemory: globalTokenMemory })
  return run
}

function planMemory(options: ResolvedGenerateOptions, transformer: Transformer, vae: VAE | undefined, parts: PipelineParts, plan: MethodPlan, textRows: number): VideoPlan['memory'] {
  const { height, width, latentFrames, guidanceScale, stagger } = options
  const anchorGuidanceScale = anchorScaleOf(options)
  const { in_channels: C, caption_channels: D } = transformer.config
  const weights = transformer.bytes + (vae?.bytes ?? 0) + (parts.textEncoder?.bytes ?? 0)
  const rows = { shape: [textRows, D] }
  const text = guidanceScale !== 1 && (guidanceScale !== 0 || anchorGuidanceScale !== 0) ? { text: rows, negativeText: rows, guidanceScale } : { text: rows, guidanceScale: 1 }
  const latentsOf = { shape: [C, latentFrames, height / 8, width / 8] }
  const request = evaluationRequest({ ...options, anchorGuidanceScale, latents: latentsOf, timestep: 1, frameTimesteps: stagger === 0 ? undefined : plan.chunks.flatMap(({ start, end }, chunk) => Array<number>(end - start).fill(chunk + 1)), text, evaluation: { ...plan, fuse: plan.chunks.length > 1 } })
  const activations = transformer.native.memory(request)
  const cache = options.stepCache === 'off' ? 0 : stepCacheBytes(request, transformer.config.hidden_size)
  const decode = vae === undefined || options.outputType === 'latents' ? 0 : vae.native.memory({ height, width })
  const { num_global_tokens: G = 0, dim = 0 } = transformer.config.vin ?? {}
  const memory = options.globalTokenMemory ? 4 * branchesOfRequest(request) * G * dim : 0
  // Beside the model: latents of this step and the next, the prediction, and start noise.
  const latents = 4 * 4 * C * latentFrames * (height / 8) * (width / 8)
  return { weights, activations, decode, peak: weights + latents + cache + memory + Math.max(activations, decode) }
}

function planWarnings(options: ResolvedGenerateOptions, transformer: Transformer): PipelineWarning[] {
  const warnings: PipelineWarning[] = []
  const { config } = transformer
  if (options.latentFrames > config.max_latent_frames) {
    warnings.push({
      code: 'beyond-trained-length',
      message: `${options.latentFrames} latent frames are more than the ${config.max_latent_frames} the checkpoint was trained with; its time code is interpolated`
    })
  }
  const patch = config.in_channels * 4
  if (patch > config.hidden_size) {
    warnings.push({
      code: 'patch-wider-than-model',
      message: `a patch has ${patch} numbers but the model is ${config.hidden_size} wide: ${Math.round((100 * (patch - config.hidden_size)) / patch)} % of the noise cannot be predicted`
    })
  }
  return warnings
}
