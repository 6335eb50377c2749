// A run as its caller sees it: a thenable of the video, and an async iterable of events.
// Iterating drives decoding: after sampling, each pull decodes the next micro-batch. Awaiting alone does not decode; the video does, when its frames are read.

import { randomUUID } from 'node:crypto'
import { abortReason, notSupported } from '../errors.js'
import type { PreviewEvent, StepEvent } from '../options/generate.js'
import type { Frame } from '../video/index.js'
import type { Video } from '../video/video.js'
import { hookCall, isInside, type HookCall } from './hooks.js'
import type { VideoPlan } from './plan.js'
import type { ChangeListener } from './step-cache.js'

/** A video, and what it was made from: all options resolved, as JSON has them, and the plan. */
export type GeneratedVideo = Video<Readonly<Record<string, unknown>>, VideoPlan>

export type GenerationEvent =
  /** The run waits for its turn, behind `position` others of its pipeline; told again whenever that changes. */
  | { type: 'queued'; position: number }
  | { type: 'plan'; plan: VideoPlan }
  | StepEvent
  | PreviewEvent
  | { type: 'warning'; code: string; message: string }
  | { type: 'decode'; done: number; total: number }
  /** In order; with `stagger` those of finished chunks come while others are sampled. */
  | { type: 'frames'; frames: Frame[] }
  | { type: 'done'; video: GeneratedVideo }

/** An event on its way to observers; `release` lets go of what it holds once an observer has moved on. */
export interface Emitted {
  event: GenerationEvent
  hold?: (() => void) | undefined
  release?: (() => void) | undefined
}

/** What a job gives its run. */
export interface RunContext {
  /** Each of them stops the run, and the decoding of its events: the caller's signal, and cancel(). */
  signals: readonly (AbortSignal | undefined)[]
  emit(emitted: Emitted): void
  /** Says whose runs this one takes turns with, as soon as that is known. */
  takesTurns(owner: object): void
  /** Somebody iterates. */
  readonly observed: boolean
  /** Somebody who iterates wants frames. */
  readonly watched: boolean
  /** Told of the changes from step to step that `stepCache` goes by. */
  changed?: ChangeListener | undefined
}

/** Decoding as events, micro-batch by micro-batch, from a video frame on. Absent for outputType 'latents'. */
export type DecodeEvents = (from: number) => AsyncIterable<GenerationEvent>

export interface RunResult {
  video: GeneratedVideo
  decode?: DecodeEvents | undefined
}

type State = { kind: 'sampling' } | { kind: 'sampled'; result: RunResult } | { kind: 'failed'; error: unknown }

interface Observer {
  queue: Emitted[]
  wake: (() => void) | undefined
  /** It wants frames, and the end of the job. */
  watches: boolean
  /** Video frames it has got. */
  frames: number
}

/** A run: a promise of its video, an async iterable of its events, and the means to stop it. */
export class GenerationJob implements Promise<GeneratedVideo>, AsyncIterable<GenerationEvent> {
  readonly [Symbol.toStringTag] = 'GenerationJob'
  readonly id = randomUUID()
  readonly #canceled = new AbortController()
  readonly #observers = new Set<Observer>()
  /** Plan and warnings so far, and the place in the queue: a late observer still sees them. */
  #past: Emitted[] = []
  #state: State = { kind: 'sampling' }
  readonly #sampled: Promise<GeneratedVideo>
  #decoding: Promise<void> | undefined
  /** The pipeline, and the hooks that wait for this job. */
  #owner: object | undefined
  readonly #waiters: HookCall[] = []

  /** Started at once. */
  constructor(run: (context: RunContext) => Promise<RunResult>, signal: AbortSignal | undefined) {
    const signals = [signal, this.#canceled.signal]
    const job = this
    this.#sampled = (async () => {
      try {
        const result = await run({
          signals,
          emit: (emitted) => this.#emit(emitted),
          takesTurns: (owner) => {
            this.#owner = owner
            this.#refuseDeadlock()
          },
          get observed() {
            return job.#observers.size > 0
          },
          get watched() {
            return [...job.#observers].some(({ watches }) => watches)
          }
        })
        this.#state = { kind: 'sampled', result }
        return result.video
      } catch (error) {
        this.#state = { kind: 'failed', error }
        throw error
      } finally {
        this.#wake()
      }
    })()
  }

  /** Stops the run; the job rejects with the reason. Without one: a DOMException named AbortError. */
  cancel(reason: unknown = abortReason()): void {
    // Whoever cancels knows that the job will reject.
    this.#sampled.catch(() => {})
    this.#canceled.abort(reason)
  }

  then<A = GeneratedVideo, B = never>(onFulfilled?: ((video: GeneratedVideo) => A | PromiseLike<A>) | null, onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<A | B> {
    this.#awaited()
    return this.#result().then(onFulfilled, onRejected)
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<GeneratedVideo | B> {
    return this.then(undefined, onRejected)
  }

  finally(onFinally?: (() => void) | null): Promise<GeneratedVideo> {
    this.#awaited()
    return this.#result().finally(onFinally)
  }

  /** Somebody waits for the end of sampling. */
  #awaited(): void {
    const waiter = hookCall()
    if (waiter === undefined || this.#state.kind !== 'sampling') return
    this.#waiters.push(waiter)
    this.#refuseDeadlock()
  }

  /** A hook that waits for a run of its own pipeline would wait for ever: runs follow one another. */
  #refuseDeadlock(): void {
    const owner = this.#owner
    if (owner === undefined || !this.#waiters.some((call) => isInside(call, owner))) return
    this.cancel(notSupported('generate in a hook', 'Expected generate() to be awaited outside the hooks of the same pipeline (onStep, onPreview, textEncoder, video) but it is awaited inside one, and its run begins when that one has ended; await it later, or use another pipeline'))
  }

  /** Sampled, and whatever an iterator is decoding at that moment. */
  async #result(): Promise<GeneratedVideo> {
    const video = await this.#sampled
    await this.#decoding
    if (this.#state.kind === 'failed') throw this.#state.error
    return video
  }

  #emit(emitted: Emitted): void {
    const { type } = emitted.event
    if (type === 'queued' || type === 'plan') this.#past = this.#past.filter(({ event }) => event.type !== 'queued')
    if (type === 'queued' || type === 'plan' || type === 'warning') this.#past.push(emitted)
    for (const observer of this.#observers) {
      if (type === 'frames' && !observer.watches) continue
      emitted.hold?.()
      observer.queue.push(emitted)
    }
    this.#wake()
  }

  #wake(): void {
    for (const observer of this.#observers) {
      observer.wake?.()
      observer.wake = undefined
    }
  }

  /** The run's events; ends after 'done'. A failure is thrown here, and then counts as observed. */
  [Symbol.asyncIterator](): AsyncGenerator<GenerationEvent, void, undefined> {
    return this.#observe(true)
  }

  /**
  The events of sampling, without frames: for who decodes the video itself.

  @internal
  */
  sampling(): AsyncGenerator<GenerationEvent, void, undefined> {
    return this.#observe(false)
  }

  #observe(watches: boolean): AsyncGenerator<GenerationEvent, void, undefined> {
    // Whoever iterates learns of a failure in the loop.
    this.#sampled.catch(() => {})
    const observer: Observer = { queue: [...this.#past], wake: undefined, watches, frames: 0 }
    this.#observers.add(observer)
    return this.#events(observer)
  }

  async *#events(observer: Observer): AsyncGenerator<GenerationEvent, void, undefined> {
    let handed: Emitted | undefined
    try {
      for (;;) {
        const next = observer.queue.shift()
        if (next !== undefined) {
          handed = next
          const { event } = next
          // Frames come in order: who came too late for the first gets all of them when sampling has ended.
          const skipped = event.type === 'frames' && event.frames[0]?.index !== observer.frames
          if (event.type === 'frames' && !skipped) observer.frames += event.frames.length
          if (!skipped) yield event
          handed.release?.()
          handed = undefined
          continue
        }
        if (this.#state.kind === 'failed') throw this.#state.error
        if (this.#state.kind === 'sampled') break
        this.#awaited()
        await new Promise<void>((resolve) => {
          observer.wake = resolve
        })
      }
      if (!observer.watches) return
      const { video, decode } = this.#state.result
      if (decode !== undefined) yield* this.#decode(decode(observer.frames))
      yield { type: 'done', video }
    } finally {
      handed?.release?.()
      for (const { release } of observer.queue.splice(0)) release?.()
      this.#observers.delete(observer)
    }
  }

  /** Decodes on pull. While a pull is under way the job's promise waits for it, so that a failure rejects both. */
  async *#decode(events: AsyncIterable<GenerationEvent>): AsyncGenerator<GenerationEvent, void, undefined> {
    const iterator = events[Symbol.asyncIterator]()
    try {
      for (;;) {
        const pull = iterator.next()
        const decoding = pull.then(
          () => undefined,
          (error: unknown) => {
            this.#state = { kind: 'failed', error }
          }
        )
        this.#decoding = decoding
        const { done, value } = await pull
        if (done === true) return
        yield value
      }
    } finally {
      await iterator.return?.()
    }
  }
}
