// VideoPipeline: the components of a model on one engine, and what is done with them.

import { VinError, checkMade, expected, missingComponent } from '../errors.js'
import type { TextEncoder } from '../models/text-encoder.js'
import type { Tokenizer } from '../models/tokenizer.js'
import type { Transformer } from '../models/transformer.js'
import type { VAE } from '../models/vae.js'
import type { NativeCancel } from '../native/binding.js'
import { abortable, withCancel } from '../native/cancel.js'
import type { Engine, Runtime } from '../native/engine.js'
import type { Logger } from '../native/log.js'
import { linkSignals } from '../native/signals.js'
import { Scope, readNative, toResult, type TensorData, type TensorLike } from '../native/tensor.js'
import { resolveDenoiseOptions, type DenoiseOptions } from '../options/denoise.js'
import { resolveGenerateOptions, type GenerateContext, type GenerateOptions } from '../options/generate.js'
import type { ModelOptions } from '../options/model.js'
import type { FromConfigOptions, PipelineConfig, PipelineDefaults } from '../options/pipeline.js'
import { paperMicroBatch, type MicroBatch } from '../plan/frames.js'
import { brand } from '../realms.js'
import type { Scheduler } from '../schedulers/index.js'
import { markPrediction } from '../schedulers/scheduler.js'
import { denoiseRequest } from './evaluation.js'
import { GenerationJob, type RunContext, type RunResult } from './job.js'
import { takeInputs } from './inputs.js'
import { createParts, loadParts, type PipelineParts } from './load.js'
import { planVideo, type VideoPlan } from './plan.js'
import type { TextEncoderLike } from './prompt.js'
import { runGenerate } from './run.js'
import { savePipeline, type SavePipelineOptions } from './save.js'

/** Attention of the VIN per head: probabilities, rows add up to 1. */
export interface AttentionMaps {
  /** [heads, G, keys] global tokens over the tokens of the keyframes. */
  encoder: TensorData
  /** Per processor block [heads, G+L, G+L]. */
  processor: TensorData[]
}

/** A run that waits for its turn. */
interface Waiting {
  begin: () => void
  /** Tells how many are before it. */
  moved: (position: number) => void
}

export class VideoPipeline {
  static {
    brand(this, 'VideoPipeline')
  }

  readonly #parts: PipelineParts
  readonly #closing = new AbortController()
  readonly #running = new Set<Promise<unknown>>()
  #disposal: Promise<void> | undefined
  #textEncoder: TextEncoderLike | undefined
  /** Runs of one pipeline follow each other: one samples, the others wait in the order of their calls. */
  #sampling = false
  readonly #waiting: Waiting[] = []

  private constructor(parts: PipelineParts) {
    checkMade(typeof parts === 'object' && parts !== null && 'engine' in parts, 'VideoPipeline', 'VideoPipeline.fromPretrained(folder) or VideoPipeline.fromConfig(config)')
    this.#parts = parts
  }

  /**
  Opens a model folder, or a built-in model by name.

  @param model a folder in diffusers' layout, or 'demo' (the default)
  @throws VinError ERR_VIN_FORMAT for a damaged file, ERR_VIN_MISSING_COMPONENT without a transformer, ERR_VIN_BACKEND_UNAVAILABLE for a device that is not there
  */
  static async fromPretrained(model?: string, options: ModelOptions = {}): Promise<VideoPipeline> {
    return new VideoPipeline(await loadParts(model, options))
  }

  /** Untrained components; the same seed gives the same weights. */
  static async fromConfig(config: PipelineConfig, options: FromConfigOptions = {}): Promise<VideoPipeline> {
    return new VideoPipeline(await createParts(config, options))
  }

  /** What runs the work. */
  get runtime(): Runtime {
    return this.#parts.engine.runtime
  }

  /** What generate() takes where an option is absent. */
  get defaults(): Readonly<PipelineDefaults> {
    return this.#parts.defaults
  }

  get transformer(): Transformer {
    this.#open()
    return this.#parts.transformer
  }

  /** @throws ERR_VIN_MISSING_COMPONENT when the model has no `vae/` */
  get vae(): VAE {
    return this.#need('vae', this.#parts.vae, 'vae/, which turns pixels into latents and back; latents alone can be had with outputType "latents"')
  }

  /** @throws ERR_VIN_MISSING_COMPONENT when the model has no `text_encoder/` */
  get textEncoder(): TextEncoder {
    return this.#need('text_encoder', this.#parts.textEncoder, 'text_encoder/; pass promptEmbeds instead of a prompt')
  }

  /** Replaces the model's text encoder for prompts; it still belongs to the caller. */
  set textEncoder(encoder: TextEncoderLike) {
    this.#open()
    if (typeof encoder?.encode !== 'function') throw expected('an object with encode(text)', 'textEncoder', encoder, 'type')
    this.#textEncoder = encoder
  }

  /** @throws ERR_VIN_MISSING_COMPONENT when the model has no `tokenizer/` */
  get tokenizer(): Tokenizer {
    return this.#need('tokenizer', this.#parts.tokenizer, 'tokenizer/tokenizer.json; pass promptEmbeds instead of a prompt')
  }

  get scheduler(): Scheduler {
    this.#open()
    return this.#parts.scheduler
  }

  /**
  Weights that were updated for a scheduler's target are sampled with that target from now on.

  @internal
  */
  trainedWith(scheduler: Scheduler): void {
    const { target } = this.#parts.scheduler
    const differs = target.sample !== scheduler.target.sample || target.noise !== scheduler.target.noise
    Object.assign(this.#parts, { trainedWith: scheduler, ...(differs ? { scheduler } : {}) })
  }

  /** Whether the model has a part; asking for one that it lacks throws. */
  has(component: 'vae' | 'textEncoder' | 'tokenizer'): boolean {
    return this.#parts[component] !== undefined
  }

  /**
  Prompts can be encoded, by the model or by what replaces its encoder.

  @internal
  */
  get encodesText(): boolean {
    return (this.#textEncoder ?? this.#parts.textEncoder) !== undefined
  }

  /** @internal */
  get engine(): Engine {
    this.#open()
    return this.#parts.engine
  }

  /** @internal */
  get parts(): Readonly<PipelineParts> {
    this.#open()
    return this.#parts
  }

  get disposed(): boolean {
    return this.#closing.signal.aborted
  }

  #open(): void {
    this.#closing.signal.throwIfAborted()
  }

  #need<C>(name: string, component: C | undefined, advice: string): C {
    this.#open()
    if (component === undefined) throw missingComponent(name, `Expected the model to have ${advice}`)
    return component
  }

  /**
  One evaluation: VIN, all chunks, fusion, guidance. A handle gives a handle, plain data gives plain data, [C, N, H, W].

  @throws RangeError or TypeError for wrong options, before any native work
  @throws VinError ERR_VIN_MISSING_COMPONENT for method 'vin' on a plain backbone, ERR_VIN_NONFINITE {block}
  */
  async denoise<T extends TensorLike>(options: DenoiseOptions<T>): Promise<T> {
    this.#open()
    const resolved = resolveDenoiseOptions(options, this.#parts.transformer.config)
    return this.track([resolved.signal], async (signal, cancel) => {
      const { transformer } = this.#parts
      const engine = transformer.engine.native
      const scope = new Scope()
      try {
        const request = await denoiseRequest(transformer, { ...resolved, signal }, cancel, scope)
        const output = transformer.native.denoise(request)
        return markPrediction(await abortable(toResult(engine, resolved.latents, output), signal), this.#parts.trainedWith)
      } finally {
        scope.dispose()
      }
    })
  }

  /**
  Starts a run. The job is a promise of the video and an async iterable of events; wrong options reject it before any native work.

  @example
  const video = await pipeline.generate({ prompt: 'a red circle bounces', numFrames: 256, seed: 7 })
  await video.save('out.mp4')
  */
  generate(options: GenerateOptions = {}): GenerationJob {
    return new GenerationJob((context) => this.run(options, context), checkedSignal(options?.signal))
  }

  /**
  The work of a job.

  @internal
  */
  async run(options: GenerateOptions, context: RunContext, { logger }: { logger?: Logger | undefined } = this.#parts.options): Promise<RunResult> {
    this.#open()
    const { options: taken, release } = takeInputs(resolveGenerateOptions(options, this.#generateContext()))
    const textEncoder = this.#textEncoder ?? this.#parts.textEncoder
    const { signals, emit, takesTurns } = context
    takesTurns(this)
    const moved = (position: number): void => emit({ event: { type: 'queued', position } })
    try {
      return await this.track(signals, (signal, cancel) =>
        this.#inTurn(signal, moved, () =>
          runGenerate(taken, this.#parts, textEncoder, this.microBatch, {
            signal,
            cancel,
            signals,
            owner: this,
            logger,
            emit,
            takesTurns,
            changed: context.changed,
            get observed() {
              return context.observed
            },
            get watched() {
              return context.watched
            }
          })
        )
      )
    } finally {
      release()
    }
  }

  /** What generate() would do with these options: chunks, text per chunk, FLOPs, memory. Synchronous, computes nothing of the video. */
  plan(options: GenerateOptions = {}): VideoPlan {
    this.#open()
    return planVideo(resolveGenerateOptions(options, this.#generateContext(), 'plan'), this.#parts)
  }

  /**
  Micro-batches of its VAE, or those of the paper where there is none.

  @internal
  */
  get microBatch(): MicroBatch {
    return this.#parts.vae?.microBatch ?? paperMicroBatch
  }

  #generateContext(): GenerateContext {
    const { transformer, defaults, scheduler, trainedWith, options } = this.#parts
    return { config: transformer.config, defaults, scheduler, trainedWith, microBatch: this.microBatch, decodes: this.#parts.vae !== undefined, limits: options.limits }
  }

  /**
  Writes a model folder in diffusers' layout, which `fromPretrained` opens. What of an older model the new one lacks goes, other files stay; killed at any moment, the old
  model or the new one is there.

  @throws VinError ERR_VIN_DISK when it cannot be written, or when the folder holds something else than a model of vin-native; what was there stays
  */
  async save(folder: string, options: SavePipelineOptions = {}): Promise<void> {
    return this.track([], () => savePipeline(this, folder, options))
  }

  /** Waits for earlier runs; a run that is aborted while it waits does not start. */
  async #inTurn<R>(signal: AbortSignal, moved: Waiting['moved'], work: () => Promise<R>): Promise<R> {
    if (this.#sampling) await this.#turn(signal, moved)
    this.#sampling = true
    try {
      return await work()
    } finally {
      this.#nextTurn()
    }
  }

  async #turn(signal: AbortSignal, moved: Waiting['moved']): Promise<void> {
    const { queueLimit } = this.#parts.options
    if (this.#waiting.length >= queueLimit) {
      throw new VinError('ERR_VIN_QUEUE_FULL', `Expected at most ${queueLimit} runs to wait for this pipeline but so many wait already; try again later, or raise queueLimit`, { queueLimit })
    }
    let begin = (): void => {}
    const begun = new Promise<void>((resolve) => (begin = resolve))
    const waiting = { begin, moved }
    this.#waiting.push(waiting)
    moved(this.#waiting.length)
    try {
      await abortable(begun, signal)
    } catch (error) {
      const at = this.#waiting.indexOf(waiting)
      // Its turn may have come in the moment of the abort.
      if (at < 0) this.#nextTurn()
      else this.#leave(at)
      throw error
    }
  }

  #nextTurn(): void {
    if (this.#waiting.length === 0) this.#sampling = false
    else this.#leave(0).begin()
  }

  /** Takes a run out of the queue; those behind it move up. */
  #leave(at: number): Waiting {
    const [waiting] = this.#waiting.splice(at, 1) as [Waiting]
    this.#waiting.slice(at).forEach(({ moved }, i) => moved(at + i + 1))
    return waiting
  }

  /** VIN attention of one evaluation, for pictures. Takes the options of `denoise`. */
  async attention(options: DenoiseOptions): Promise<AttentionMaps> {
    this.#open()
    const resolved = resolveDenoiseOptions(options, this.#parts.transformer.config, 'attention')
    return this.track([resolved.signal], async (signal, cancel) => {
      const { transformer } = this.#parts
      const scope = new Scope()
      try {
        const request = await denoiseRequest(transformer, { ...resolved, method: 'vin', signal }, cancel, scope)
        const maps = transformer.native.attention(request)
        scope.add(maps.encoder)
        for (const map of maps.processor) scope.add(map)
        const [encoder, processor] = await abortable(Promise.all([readNative(maps.encoder), Promise.all(maps.processor.map(readNative))]), signal)
        return { encoder, processor }
      } finally {
        scope.dispose()
      }
    })
  }

  /**
  Runs work that dispose() aborts and waits for. The signal it gets joins the given ones and the pipeline's; the flag is for its native calls.

  @internal
  */
  async track<R>(signals: readonly (AbortSignal | undefined)[], work: (signal: AbortSignal, cancel: NativeCancel) => Promise<R>): Promise<R> {
    this.#open()
    const linked = linkSignals(...signals, this.#closing.signal)
    const running = (async () => {
      linked.signal.throwIfAborted()
      return withCancel(this.#parts.engine.native, linked.signal, (cancel) => work(linked.signal, cancel))
    })()
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
      linked.release()
    }
  }

  /**
  Aborts what runs, waits for it, and frees weights and engine. Twice is fine; later use is ERR_VIN_DISPOSED. Videos keep their latents, and `save('x.safetensors')`
  works on; their pixels are decoded by the pipeline's VAE, so read or save them before.
  */
  async dispose(): Promise<void> {
    this.#disposal ??= this.#dispose()
    return this.#disposal
  }

  async #dispose(): Promise<void> {
    this.#closing.abort(new VinError('ERR_VIN_DISPOSED', 'Expected a live pipeline but it was disposed', { component: 'pipeline' }))
    await Promise.allSettled(this.#running)
    const { engine, transformer, vae, textEncoder } = this.#parts
    await engine.native.fence().catch(() => {})
    await transformer.dispose()
    await vae?.dispose()
    await textEncoder?.dispose()
    await engine.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

/** A signal worth listening to; anything else is refused with the other options, inside the job. */
export function checkedSignal(signal: unknown): AbortSignal | undefined {
  return typeof signal === 'object' && signal !== null && 'addEventListener' in signal ? (signal as AbortSignal) : undefined
}
