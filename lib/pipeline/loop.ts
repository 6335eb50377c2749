// The sampling loop. TypeScript samples, native code evaluates: every evaluation is one call that returns a handle at once. Without a hook that may replace
// latents the loop awaits the step before the one it has just queued, so that the device never waits for JavaScript.

import { inStep } from '../errors.js'
import type { Method, MethodPlan } from '../methods/index.js'
import type { Transformer } from '../models/transformer.js'
import type { EvaluationRequest, NativeCancel, NativeEngine, NativeTensor } from '../native/binding.js'
import { abortable } from '../native/cancel.js'
import { copyInto, linearCombination } from '../native/ops.js'
import { readNative, type TensorData } from '../native/tensor.js'
import type { Fusion } from '../plan/fusion.js'
import { passesOf } from '../plan/passes.js'
import type { Scheduler, TimestepSize } from '../schedulers/index.js'
import { evaluationRequest } from './evaluation.js'
import { GlobalTokenMemory } from './global-token-memory.js'
import { StepLatents, type StepReport } from './hooks.js'
import { Staggered } from './staggered.js'
import type { StepCache } from './step-cache.js'
import type { TextConditioning } from './text.js'

export interface LoopOptions {
  engine: NativeEngine
  transformer: Transformer
  scheduler: Scheduler
  method: Method
  plan: MethodPlan
  fusion: Fusion
  text: TextConditioning
  /** Of methods with an anchor. */
  anchorGuidanceScale: number
  /** With the second pass: it draws from the seed, and puts the noise that the run started from [C, N, H, W] into what has been sampled. */
  blending: { seed: bigint; noise: () => Promise<NativeTensor> } | undefined
  numInferenceSteps: number
  /** Steps by which each chunk is behind the one before it. */
  stagger: number
  fps: number
  height: number
  width: number
  chunksInFlight: number | undefined
  /** Global tokens go on from those of the step before. */
  globalTokenMemory: boolean
  /** A cache for one pass; absent: every step is computed. */
  stepCache: () => StepCache | undefined
  /** [N]: 0 for conditioning frames, which stay as they are. Absent: all are denoised. */
  frameMask: number[] | undefined
  cancel: NativeCancel
  signal: AbortSignal
  /** An observer that must see a step before the next one is queued: a hook, or a saved state. Returns latents that replace the step's; `carried` is what a run that goes on needs beside them. */
  observe?: ((report: StepReport, latents: StepLatents, carried: () => Promise<Carried>) => Promise<NativeTensor | undefined>) | undefined
  /** Told of every finished step, and awaited; so many latent frames from the beginning on are as they will be. */
  report: (report: StepReport, latents: StepLatents, finished: number) => Promise<void>
}

/** Where a run goes on. */
export interface LoopStart {
  latents: NativeTensor
  /** Steps already made, over all chunks of methods that sample in turn. */
  step: number
  carried?: Carried | undefined
}

/** What passes from step to step beside latents. */
export interface Carried {
  scheduler: Record<string, TensorData>
  stepCache: Record<string, TensorData>
  globalTokenMemory: Record<string, TensorData>
}

/** Runs of frames with mask 0: [begin, end). */
function fixedRuns(mask: readonly number[]): [number, number][] {
  const runs: [number, number][] = []
  mask.forEach((value, frame) => {
    if (value === 1) return
    const last = runs.at(-1)
    if (last !== undefined && last[1] === frame) last[1] = frame + 1
    else runs.push([frame, frame + 1])
  })
  return runs
}

/** Writes the conditioning frames of `source` into `target` [C, N, H, W]. */
function keepFixed(engine: NativeEngine, target: NativeTensor, source: NativeTensor, mask: readonly number[]): void {
  for (const [begin, end] of fixedRuns(mask)) {
    const to = engine.slice(target, 1, begin, end)
    const from = engine.slice(source, 1, begin, end)
    copyInto(engine, to, from)
    to.dispose()
    from.dispose()
  }
}

/** Median of the last few step times: one slow step moves no estimate. */
class Eta {
  readonly #times: number[] = []
  #last = performance.now()

  tick(): number {
    const now = performance.now()
    this.#times.push(now - this.#last)
    this.#last = now
    if (this.#times.length > 9) this.#times.shift()
    return [...this.#times].sort((a, b) => a - b)[this.#times.length >> 1] ?? 0
  }
}

/** Samples latents. The start's latents are consumed; the result belongs to the caller. */
export async function sample(options: LoopOptions, start: LoopStart): Promise<NativeTensor> {
  const { engine, scheduler, method, plan, numInferenceSteps, height, width, blending } = options
  const size: TimestepSize = { height, width, latentFrames: start.latents.shape[1] ?? 0 }
  const staggered = options.stagger > 0 ? new Staggered(options, size) : undefined
  const passes = passesOf(plan.chunks, { inTurn: method.order === 'in turn', blending: blending !== undefined, numInferenceSteps, frameMask: options.frameMask })
  const total = staggered?.steps ?? passes.reduce((sum, { begin }) => sum + numInferenceSteps - begin, 0)
  const eta = new Eta()
  // The newest step is queued, the one before it may still be running.
  let current = new StepLatents(start.latents)
  let pending: { step: Omit<StepReport, 'etaMs'>; latents: StepLatents } | undefined
  const settle = async (): Promise<StepReport | undefined> => {
    if (pending === undefined) return undefined
    const { step, latents } = pending
    await abortable(inStep(step.step, latents.native.ready()), options.signal)
    pending = undefined
    const report = { ...step, etaMs: eta.tick() * (total - 1 - step.step) }
    try {
      await options.report(report, latents, staggered?.finishedFrames(step.step) ?? 0)
    } finally {
      latents.release()
    }
    return report
  }
  let cache: StepCache | undefined
  const memory = options.globalTokenMemory ? new GlobalTokenMemory(options.transformer) : undefined
  if (start.carried !== undefined) memory?.restore(start.carried.globalTokenMemory)
  const carried = async (): Promise<Carried> => {
    const state = Object.entries((staggered ?? scheduler).state()).map(async ([name, tensor]) => [name, await readNative(tensor)] as const)
    return { scheduler: Object.fromEntries(await Promise.all(state)), stepCache: (await cache?.state()) ?? {}, globalTokenMemory: (await memory?.state()) ?? {} }
  }
  try {
    for (const pass of passes) {
      const { frameMask, turn } = pass
      const done = Math.max(0, start.step - pass.firstStep)
      const begin = pass.begin + done
      const end = staggered?.steps ?? numInferenceSteps
      if (begin >= end) continue
      scheduler.setTimesteps(numInferenceSteps, size)
      cache?.dispose()
      cache = options.stepCache()
      if (done > 0 && start.carried !== undefined) {
        const state = uploaded(engine, start.carried.scheduler)
        if (staggered === undefined) scheduler.restore(state, begin, engine)
        else staggered.restore(state, begin)
        cache?.restore(start.carried.stepCache)
      }
      const blended = pass.blends && blending !== undefined && method.blended !== undefined ? { evaluation: method.blended, ...blending } : undefined
      if (blended !== undefined && done === 0) {
        const noisy = await withNoise(options, current.native, scheduler.timesteps[begin] ?? NaN, frameMask, blended.noise)
        current.release()
        current = new StepLatents(noisy)
      }
      for (let step = begin; step < end; step++) {
        options.signal.throwIfAborted()
        const evaluation = blended === undefined ? method.evaluation(plan, step, numInferenceSteps, options.fusion, turn) : blended.evaluation(plan, step, blended.seed)
        const own = staggered?.step(step) ?? { timestep: scheduler.timesteps[step] ?? NaN, evaluation, frameMask, isEdge: step === numInferenceSteps - 1 }
        const { timestep } = own
        const plain = evaluationRequest({ ...options, latents: current.native, ...own })
        const request = memory?.apply(plain) ?? plain
        const number = pass.firstStep + step - pass.begin
        const cached = cache && (await abortable(inStep(number, cache.apply(request, own.isEdge)), options.signal))
        const next = queueStep(options, cached ?? request, staggered && ((eps, latents) => staggered.queueStep(step, eps, latents)))
        const following = new StepLatents(next)
        current.release()
        current = following
        await settle()
        following.hold()
        pending = { step: { step: number, numInferenceSteps: total, timestep, computed: cached?.reuseResiduals !== true }, latents: following }
        if (options.observe === undefined) continue
        const report = await settle()
        const replaced = await options.observe(report as StepReport, current, carried)
        if (replaced !== undefined) {
          current.release()
          current = new StepLatents(replaced)
        }
      }
    }
    await settle()
    current.hold()
    return current.native
  } finally {
    pending?.latents.release()
    current.release()
    cache?.dispose()
    memory?.dispose()
    scheduler.reset()
    staggered?.dispose()
  }
}

function uploaded(engine: NativeEngine, tensors: Record<string, TensorData>): Record<string, NativeTensor> {
  return Object.fromEntries(Object.entries(tensors).map(([name, { data, shape }]) => [name, engine.upload(data, shape)]))
}

/** What has been sampled, at the noise of a timestep; frames that are held fixed stay clean. */
async function withNoise({ engine, scheduler }: LoopOptions, latents: NativeTensor, timestep: number, frameMask: number[] | undefined, noiseOf: () => Promise<NativeTensor>): Promise<NativeTensor> {
  const terms = scheduler.noiseTerms(timestep)
  const noise = await noiseOf()
  try {
    const noisy = linearCombination(engine, [{ factor: terms.sample, tensor: latents }, { factor: terms.noise, tensor: noise }])
    if (frameMask !== undefined) keepFixed(engine, noisy, latents, frameMask)
    return noisy
  } finally {
    noise.dispose()
  }
}

function queueStep({ engine, transformer, scheduler }: LoopOptions, request: EvaluationRequest, advance?: (eps: NativeTensor, latents: NativeTensor) => NativeTensor): NativeTensor {
  const { latents, timestep, frameMask } = request
  const eps = transformer.native.denoise(request)
  try {
    const next = advance?.(eps, latents) ?? scheduler.queueStep(engine, eps, timestep, latents)
    if (frameMask !== undefined) keepFixed(engine, next, latents, frameMask)
    return next
  } finally {
    eps.dispose()
  }
}
