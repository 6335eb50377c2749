// A run whose chunks are at different noise levels. In each of its steps the chunks that have begun and are not finished are evaluated, each frame at the time of its
// own chunk; finished ones in front of them are clean, and those that have not begun are noise, which the VIN alone reads. Every chunk has a scheduler of its own.

import type { Evaluation, Method, MethodPlan } from '../methods/index.js'
import type { NativeEngine, NativeTensor } from '../native/binding.js'
import { copyInto, copyOf } from '../native/ops.js'
import { fusionAt, type Fusion } from '../plan/fusion.js'
import { Stagger } from '../plan/stagger.js'
import { createScheduler, type Scheduler, type TimestepSize } from '../schedulers/index.js'

export interface StaggeredOptions {
  engine: NativeEngine
  scheduler: Scheduler
  method: Method
  plan: MethodPlan
  fusion: Fusion
  stagger: number
  numInferenceSteps: number
  /** [N]: 0 for conditioning frames. */
  frameMask: readonly number[] | undefined
}

/** What a step's request takes from its chunks. */
export interface StaggeredStep {
  /** Of the noisiest chunk that is not finished. */
  timestep: number
  frameTimesteps: number[]
  /** 1 for frames that this step denoises. */
  frameMask: number[]
  evaluation: Evaluation
  /** A chunk makes its first or its last step. */
  isEdge: boolean
}

export class Staggered {
  readonly #options: StaggeredOptions
  readonly #stagger: Stagger
  readonly #schedulers: Scheduler[]

  constructor(options: StaggeredOptions, size: TimestepSize) {
    const { plan, stagger, numInferenceSteps, frameMask, scheduler } = options
    this.#options = options
    this.#stagger = new Stagger(plan.chunks, stagger, numInferenceSteps, frameMask)
    this.#schedulers = plan.chunks.map(() => createScheduler(scheduler))
    for (const own of this.#schedulers) own.setTimesteps(numInferenceSteps, size)
  }

  /** Of the run. */
  get steps(): number {
    return this.#stagger.steps
  }

  /** The timestep at which a chunk is; 0 when it is finished. */
  #timestepOf(chunk: number, step: number): number {
    return this.#schedulers[chunk]?.timesteps[Math.max(0, this.#stagger.stepOf(chunk, step))] ?? 0
  }

  step(step: number): StaggeredStep {
    const { method, plan, fusion, numInferenceSteps, frameMask } = this.#options
    const { chunks } = plan
    const latentFrames = chunks.at(-1)?.end ?? 0
    const [frameTimesteps, own] = [Array<number>(latentFrames).fill(0), Array<number>(latentFrames).fill(0)]
    const active = chunks.map((_, chunk) => this.#stagger.isActive(chunk, step))
    chunks.forEach(({ start, end }, chunk) => {
      frameTimesteps.fill(this.#timestepOf(chunk, step), start, end)
      for (let frame = start; frame < end; frame++) own[frame] = active[chunk] === true ? (frameMask?.[frame] ?? 1) : 0
    })
    // An overlap belongs to the earlier chunk: its step says whether it is blended.
    const fuse = chunks.slice(1).map((_, earlier) => active[earlier] === true && active[earlier + 1] === true && fusionAt(fusion, this.#stagger.stepOf(earlier, step), numInferenceSteps).fuse)
    return {
      timestep: Math.max(...frameTimesteps),
      frameTimesteps,
      frameMask: own,
      evaluation: { ...method.evaluation(plan, 0, numInferenceSteps, fusion), fuse },
      isEdge: chunks.some((_, chunk) => this.#stagger.isEdge(chunk, step))
    }
  }

  /** The latents after a step: the frames of each active chunk by its own scheduler, all others as they were. */
  queueStep(step: number, eps: NativeTensor, latents: NativeTensor): NativeTensor {
    const { engine, plan } = this.#options
    const next = copyOf(engine, latents)
    for (const [chunk, { start, end }] of plan.chunks.entries()) {
      if (!this.#stagger.isActive(chunk, step)) continue
      const [output, sample, target] = [eps, latents, next].map((tensor) => engine.slice(tensor, 1, start, end)) as [NativeTensor, NativeTensor, NativeTensor]
      const moved = (this.#schedulers[chunk] as Scheduler).queueStep(engine, output, this.#timestepOf(chunk, step), sample)
      copyInto(engine, target, moved)
      for (const tensor of [output, sample, target, moved]) tensor.dispose()
      if (this.#stagger.stepOf(chunk, step) === this.#options.numInferenceSteps - 1) this.#schedulers[chunk]?.reset()
    }
    return next
  }

  /** Latent frames from the beginning on that no later step changes. */
  finishedFrames(step: number): number {
    const { chunks } = this.#options.plan
    const waiting = chunks.findIndex((_, chunk) => this.#stagger.stepOf(chunk, step + 1) < this.#options.numInferenceSteps)
    return waiting < 0 ? (chunks.at(-1)?.end ?? 0) : (chunks[waiting]?.start ?? 0)
  }

  /** What the chunks' schedulers carry, by chunk and name. */
  state(): Record<string, NativeTensor> {
    return Object.fromEntries(this.#schedulers.flatMap((scheduler, chunk) => Object.entries(scheduler.state()).map(([name, tensor]) => [`${chunk}.${name}`, tensor])))
  }

  /** Takes copies back, as they were before a step of the run. */
  restore(state: Record<string, NativeTensor>, step: number): void {
    for (const [chunk, scheduler] of this.#schedulers.entries()) {
      const prefix = `${chunk}.`
      const own = Object.entries(state).flatMap(([name, tensor]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), tensor] as const] : []))
      scheduler.restore(Object.fromEntries(own), this.#stagger.stepOf(chunk, step), this.#options.engine)
    }
  }

  dispose(): void {
    for (const scheduler of this.#schedulers) scheduler.reset()
  }
}
