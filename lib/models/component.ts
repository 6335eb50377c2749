// What the three models have in common: a folder with a config and weights on one side, a native model on an engine on the other.

import { statSync } from 'node:fs'
import { checkNames } from '../check.js'
import { VinError, checkMade, expected, nearest } from '../errors.js'
import { withCancel } from '../native/cancel.js'
import type { NativeCancel, NativeModel, NativeTensor } from '../native/binding.js'
import { openEngine, shareEngine } from '../native/engine.js'
import type { Engine, Runtime } from '../native/engine.js'
import { quietLogger, warnOfProcess } from '../native/log.js'
import type { Logger } from '../native/log.js'
import { copyInto } from '../native/ops.js'
import { checkShape, readNative } from '../native/tensor.js'
import type { TensorData } from '../native/tensor.js'
import { resolveModelOptions } from '../options/model.js'
import type { ModelOptions, ResolvedModelOptions } from '../options/model.js'
import { verifyFile } from './checksums.js'
import { weightFile, weightFiles } from './files.js'
import { checkWeightType, saveComponent } from './save.js'
import type { ComponentFolder, ComponentName, SaveModelOptions } from './save.js'

export abstract class Component<M extends NativeModel> {
  readonly engine: Engine
  abstract readonly config: object
  readonly #model: M
  readonly #name: ComponentName
  #disposed = false

  constructor(name: ComponentName, engine: Engine, model: M) {
    this.#name = name
    this.engine = engine
    this.#model = model
  }

  /** The native model; throws after dispose. */
  get native(): M {
    if (this.#disposed) throw new VinError('ERR_VIN_DISPOSED', `Expected a live ${this.#name} but it was disposed`, { component: this.#name })
    return this.#model
  }

  /** Bytes of its weights. */
  get bytes(): number {
    return this.native.bytes()
  }

  /** Names and shapes of its weights. */
  weights(): { name: string; shape: number[] }[] {
    return this.native.weights()
  }

  /**
  The values of one weight.

  @throws RangeError for a name that is not of `weights()`
  */
  async readWeight(name: string): Promise<TensorData> {
    const weight = this.#weight(name)
    try {
      return await readNative(weight)
    } finally {
      weight.dispose()
    }
  }

  /**
  Replaces the values of one weight, for whatever is computed from now on.

  @throws RangeError for a name that is not of `weights()`, or for another shape
  */
  writeWeight(name: string, value: TensorData): void {
    const weight = this.#weight(name)
    try {
      checkShape(value, name, weight.shape)
      const source = this.engine.native.upload(value.data, value.shape)
      copyInto(this.engine.native, weight, source)
      source.dispose()
    } finally {
      weight.dispose()
    }
  }

  #weight(name: string): NativeTensor {
    const names = this.weights().map((weight) => weight.name)
    if (!names.includes(name)) throw expected(`the name of a weight (the nearest is ${nearest(name, names) ?? names[0]})`, `a weight of the ${this.#name}`, name, typeof name === 'string' ? 'range' : 'type')
    return this.native.weight(name)
  }

  /**
  Writes config.json and the weights: a folder that `fromPretrained` opens. What of an older one the new one lacks goes, other files stay.

  @throws VinError ERR_VIN_DISK when it cannot be written, or when the folder holds something else than such a model; what was there stays
  */
  async save(folder: string, options: SaveModelOptions = {}): Promise<void> {
    checkNames(options, `${this.#name}.save`, ['dtype'])
    const dtype = checkWeightType(options.dtype)
    await saveComponent(folder, this.description(), (path) => this.native.save(path, { dtype }))
  }

  /**
  What its folder holds beside the weights.

  @internal
  */
  description(): ComponentFolder {
    return { name: this.#name, config: this.config }
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** Frees the weights once queued work has run. Twice is fine. */
  async dispose(): Promise<void> {
    if (this.#disposed) return
    this.#disposed = true
    this.#model.dispose()
    await this.engine.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

export interface Opened {
  engine: Engine
  options: ResolvedModelOptions
}

/** @throws TypeError for a config that is no object, before its keys are read */
export function checkConfigObject(config: unknown, className: string): void {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) throw expected('an object', `the config of ${className}`, config, 'type')
}

/** The engine of a model that a function of its class makes. */
export function engineOf(opened: Opened, className: string): Engine {
  checkMade(typeof opened === 'object' && opened !== null && 'engine' in opened, className, `${className}.fromPretrained(folder) or ${className}.fromConfig(config)`)
  return opened.engine
}

/** An engine for a model that is opened alone, or a share of a pipeline's. */
export function openFor(options: ModelOptions | Opened | undefined, what: string): Opened {
  if (typeof options === 'object' && options !== null && 'engine' in options && 'options' in options) return { engine: shareEngine(options.engine), options: options.options }
  const resolved = resolveModelOptions(options, what)
  resolved.signal?.throwIfAborted()
  const engine = openEngine(resolved)
  if (resolved.device === 'auto') warnOfFallback(engine.runtime, resolved.logger)
  return { engine, options: resolved }
}

/** 'auto' that passes over a plug-in which is there says so; where none is installed there is nothing to say. */
function warnOfFallback({ device, rejected }: Runtime, logger: Logger | undefined): void {
  const refused = rejected.filter(({ code }) => code !== 'not_found')
  if (device !== 'cpu' || refused.length === 0) return
  const list = refused.map(({ backend, code, reason }) => `${backend}: ${code}, ${reason}`).join('; ')
  warnOfProcess(logger, 'VIN_CPU_FALLBACK', `Runs on the CPU, because no CUDA plug-in can be used (${list})`, { rejected: refused })
}

/** Runs `load` with a cancel flag bound to the signal; the engine's claim is given back when it fails. */
export async function loadWeights<M extends NativeModel>(
  { engine, options }: Opened,
  folder: string,
  component: string,
  load: (files: string[], native: { cancel: NativeCancel; limits: Record<string, number> }) => Promise<M>
): Promise<M> {
  return withCancel(engine.native, options.signal, async (cancel) => {
    const file = weightFile(folder)
    const { files, links } = await weightFiles(engine.binding, file, options.limits)
    const total = [...files, ...links].reduce((sum, name) => sum + (statSync(name, { throwIfNoEntry: false })?.size ?? 0), 0)
    options.onProgress?.({ component, done: 0, total })
    for (const each of files) await verifyFile(each, options.signal)
    const begin = performance.now()
    const model = await load([file], { cancel, limits: { ...options.limits } })
    try {
      for (const each of links) await verifyFile(each, options.signal)
    } catch (error) {
      model.dispose()
      throw error
    }
    const log = options.logger ?? quietLogger
    log.debug({ component, file, bytes: total, milliseconds: Math.round(performance.now() - begin) }, `${component} loaded from ${file}`)
    options.onProgress?.({ component, done: total, total })
    return model
  })
}
