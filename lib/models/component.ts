// What the three models have in common: a folder with a config and weights on one side, a native model on an engine on the other.

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { checkNames } from '../check.js'
import { VinError, checkMade, expected, nearest } from '../errors.js'
import { withCancel } from '../native/cancel.js'
import type { Config, ModelKind, NativeModels, NativeTensor } from '../native/binding.js'
import { worthTelling } from '../native/backends.js'
import { openEngine } from '../native/engine.js'
import type { Engine, Runtime } from '../native/engine.js'
import { quietLogger, warnOfProcess } from '../native/log.js'
import type { Logger } from '../native/log.js'
import { copyInto } from '../native/ops.js'
import { checkShape, readNative } from '../native/tensor.js'
import type { TensorData } from '../native/tensor.js'
import { resolveModelOptions } from '../options/model.js'
import type { ModelOptions, ResolvedModelOptions } from '../options/model.js'
import { verifyFile } from './checksums.js'
import { readConfig } from './config.js'
import { weightFile, weightFiles } from './files.js'
import { checkWeightType, saveComponent } from './save.js'
import type { ComponentFolder, ComponentName, SaveModelOptions } from './save.js'
import type { TextEncoderConfig } from './text-encoder.js'
import type { TransformerConfig } from './transformer.js'
import type { VAEConfig } from './vae.js'

/** Configs by kind of model, as csrc/models resolves them. */
interface Configs {
  transformer: TransformerConfig
  vae: VAEConfig
  t5: TextEncoderConfig
}

const componentNames = { transformer: 'transformer', vae: 'vae', t5: 'text_encoder' } as const
const classNames = { transformer: 'Transformer', vae: 'VAE', t5: 'TextEncoder' } as const

/** A model on an engine. */
export interface Made<K extends ModelKind> {
  kind: K
  engine: Engine
  config: Configs[K]
  model: NativeModels[K]
}

export abstract class Component<K extends ModelKind> {
  readonly engine: Engine
  /** With every key that its file leaves out. */
  readonly config: Readonly<Configs[K]>
  readonly #model: NativeModels[K]
  readonly #name: ComponentName
  #disposed = false

  constructor(made: Made<K>, className: string) {
    checkMade(typeof made === 'object' && made !== null && 'engine' in made, className, `${className}.fromPretrained(folder) or ${className}.fromConfig(config)`)
    const { kind, engine, config, model } = made
    this.engine = engine
    this.config = Object.freeze(config)
    this.#model = model
    this.#name = componentNames[kind]
  }

  /** The native model; throws after dispose. */
  get native(): NativeModels[K] {
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

/** An engine for a model that is opened alone, or a share of a pipeline's. */
export async function openFor(options: ModelOptions | Opened | undefined, what: string): Promise<Opened> {
  if (typeof options === 'object' && options !== null && 'engine' in options && 'options' in options) return { engine: options.engine.share(), options: options.options }
  const resolved = resolveModelOptions(options, what)
  resolved.signal?.throwIfAborted()
  const engine = await openEngine(resolved)
  if (resolved.device === 'auto') warnOfFallback(engine.runtime, resolved.logger)
  return { engine, options: resolved }
}

/** 'auto' that passes over a GPU says so; where there is none, or no plug-in for one, there is nothing to say. */
function warnOfFallback({ device, rejected }: Runtime, logger: Logger | undefined): void {
  const refused = worthTelling(rejected)
  if (device !== 'cpu' || refused.length === 0) return
  const list = refused.map(({ backend, code, reason }) => `${backend}: ${code}, ${reason}`).join('; ')
  warnOfProcess(logger, 'VIN_CPU_FALLBACK', `Runs on the CPU, because no CUDA plug-in can be used (${list})`, { rejected: refused })
}

/** The engine's claim is given back when `work` fails. */
export async function claimed<R>({ engine }: Opened, work: () => Promise<R>): Promise<R> {
  try {
    return await work()
  } catch (error) {
    await engine.release()
    throw error
  }
}

function resolveConfig<K extends ModelKind>({ engine }: Opened, kind: K, config: Config, file: string): Configs[K] {
  return engine.binding.resolveConfig(kind, config, file) as Configs[K]
}

/** Untrained weights; the same seed gives the same weights. */
export async function createModel<K extends ModelKind>(kind: K, given: Config, seed: bigint, opened: Opened): Promise<Made<K>> {
  const { engine } = opened
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw expected('an object', `the config of ${classNames[kind]}`, given, 'type')
  const config = resolveConfig(opened, kind, given, 'the config')
  return { kind, engine, config, model: await engine.native.create(kind, { ...config }, seed) }
}

/** The weights of a folder; `given` is what its config.json says, where that has been read. A wrong config fails before weights are looked at. Weights whose names begin with one of `untrained` get initial values. */
export async function loadModel<K extends ModelKind>(kind: K, folder: string, opened: Opened, given?: Config, untrained: string[] = []): Promise<Made<K>> {
  const { engine, options } = opened
  const config = resolveConfig(opened, kind, given ?? (await readConfig(engine.binding, folder, options.limits)), join(folder, 'config.json'))
  const component = componentNames[kind]
  return withCancel(engine.native, options.signal, async (cancel) => {
    const file = weightFile(folder)
    const { files, links } = await weightFiles(engine.binding, file, options.limits)
    const total = [...files, ...links].reduce((sum, name) => sum + (statSync(name, { throwIfNoEntry: false })?.size ?? 0), 0)
    options.onProgress?.({ component, done: 0, total })
    for (const each of files) await verifyFile(each, options.signal)
    const begin = performance.now()
    const model = await engine.native.load(kind, { ...config }, [file], { cancel, limits: { ...options.limits }, untrained })
    try {
      for (const each of links) await verifyFile(each, options.signal)
    } catch (error) {
      model.dispose()
      throw error
    }
    const log = options.logger ?? quietLogger
    log.debug({ component, file, bytes: total, milliseconds: Math.round(performance.now() - begin) }, `${component} loaded from ${file}`)
    options.onProgress?.({ component, done: total, total })
    return { kind, engine, config, model }
  })
}
