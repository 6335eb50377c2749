// The denoiser: an STDiT3-like backbone in one of three attention layouts and, where the checkpoint has `vin.*`, a Video Interface Network.

import { checkInteger, checkNames, checkNumber, checkSignal } from '../check.js'
import { rangeError } from '../errors.js'
import type { Config } from '../native/binding.js'
import { withCancel } from '../native/cancel.js'
import { checkSeed, gatherRows } from '../native/ops.js'
import { Scope, checkShape, toNative, toResult } from '../native/tensor.js'
import type { TensorLike } from '../native/tensor.js'
import { modelOptionNames } from '../options/model.js'
import type { ModelOptions } from '../options/model.js'
import { brand } from '../realms.js'
import { Component, claimed, createModel, loadModel, openFor } from './component.js'
import type { Made, Opened } from './component.js'
import { checkFolder, readConfig } from './config.js'
import { checkMask } from './mask.js'

export interface VinConfig {
  num_global_tokens: number
  dim: number
  num_heads: number
  num_blocks: number
  /** Seconds. */
  keyframe_interval: number
  /** It has `vin.memory.*`, by which global tokens take over from those of the step before. */
  memory?: boolean
  /** Numbers K that the head `vin.global_features.*` tells of a video, in training. */
  global_features?: number
}

/** config.json of a transformer, with the defaults of model.md §2. */
export interface TransformerConfig {
  attention_layout: 'factorised' | 'hybrid' | 'full'
  depth: number
  hidden_size: number
  num_heads: number
  in_channels: number
  patch_size: number[]
  mlp_ratio: number
  caption_channels: number
  model_max_length: number
  qk_norm: boolean
  pred_sigma: boolean
  input_sq_size: number
  chunk_frames: number
  context_frames: number
  latent_fps: number
  max_latent_frames: number
  /** How much the prediction changes for a change of the first block's input, highest power first; see `stepCache` of generate. @default Open-Sora 1.2's */
  step_cache_polynomial?: number[]
  vin?: VinConfig
  /** It has `cam.*`, and `apm.*`, the parts of method 'streaming-t2v'. */
  cam?: boolean
  apm?: boolean
  /** It has `fusion.*`, learned weights of overlaps. */
  fusion?: boolean
}

export interface ForwardOptions<T extends TensorLike = TensorLike> {
  /** [C, N, H, W] */
  latents: T
  /** As the scheduler counts: 0 … 1000. */
  timestep: number
  /** [L, D] */
  promptEmbeds: TensorLike
  /** [L] 1 for rows that count. */
  promptMask?: ArrayLike<number> | undefined
  /** [N] 1 for denoised latent frames, 0 for conditioning frames. */
  frameMask?: ArrayLike<number> | undefined
  /** Video frames per second. */
  fps: number
  /** Pixels. */
  height: number
  /** Pixels. */
  width: number
  /** Stops the work: the call rejects with its reason. */
  signal?: AbortSignal | undefined
}

/** The config with the parts that were asked for, and the beginnings of the names of weights that it did not have. */
function withParts(config: Config, { options }: Opened): { config: Config; added: readonly string[] } {
  const vin = config['vin'] as Config | null | undefined
  const { addParts = [], globalFeatures } = options
  const parts = addParts.filter((part) => part !== 'memory' && config[part] !== true)
  const ofVin: Config = { ...(addParts.includes('memory') ? { memory: true } : {}), ...(globalFeatures === undefined ? {} : { global_features: globalFeatures }) }
  if (Object.keys(ofVin).length > 0 && (vin === undefined || vin === null)) throw rangeError(`Expected a model with a VIN for ${'memory' in ofVin ? "addParts 'memory'" : 'globalFeatures'} but its config has none`)
  const known = vin?.['global_features'] ?? globalFeatures
  if (globalFeatures !== undefined && known !== globalFeatures) throw rangeError(`Expected ${String(known)} for globalFeatures, which the model's head has, but received ${globalFeatures}`)
  const added = Object.keys(ofVin).filter((name) => vin?.[name] !== ofVin[name])
  return { config: { ...config, ...Object.fromEntries(parts.map((part) => [part, true])), ...(added.length === 0 ? {} : { vin: { ...vin, ...ofVin } }) }, added: [...parts, ...added.map((name) => `vin.${name}`)] }
}

export class Transformer extends Component<'transformer'> {
  static {
    brand(this, 'Transformer')
  }

  declare readonly config: Readonly<TransformerConfig>
  /** The checkpoint has `vin.*`. */
  readonly hasGlobalTokens: boolean

  private constructor(made: Made<'transformer'>) {
    super(made, 'Transformer')
    this.hasGlobalTokens = made.model.weights().some(({ name }) => name.startsWith('vin.'))
  }

  /**
  Opens a folder with config.json and weights. Names of Open-Sora 1.2 load as they are.

  @throws ERR_VIN_FORMAT naming the key of a wrong config, ERR_VIN_NOT_SUPPORTED for a value that no backend computes with
  */
  static async fromPretrained(folder: string, options?: ModelOptions | Opened): Promise<Transformer> {
    await checkFolder(folder, 'transformer')
    return Transformer.load(folder, await openFor(options, 'Transformer.fromPretrained'))
  }

  /** @internal */
  static load(folder: string, opened: Opened, given?: Config): Promise<Transformer> {
    return claimed(opened, async () => {
      const { config, added } = withParts(given ?? (await readConfig(opened.engine.binding, folder, opened.options.limits)), opened)
      return new Transformer(await loadModel('transformer', folder, opened, config, added.map((part) => `${part}.`)))
    })
  }

  /** Untrained weights; the same seed gives the same weights. */
  static async fromConfig(config: Config, options: ModelOptions & { seed?: number | bigint } = {}): Promise<Transformer> {
    checkNames(options, 'Transformer.fromConfig', [...modelOptionNames, 'seed'])
    const { seed = 0, ...model } = options
    return Transformer.create(config, checkSeed(seed), await openFor(model, 'Transformer.fromConfig'))
  }

  /** @internal */
  static create(config: Config, seed: bigint, opened: Opened): Promise<Transformer> {
    return claimed(opened, async () => new Transformer(await createModel('transformer', withParts(config, opened).config, seed, opened)))
  }

  /**
  One evaluation of the plain backbone, all latent frames as one chunk: every output channel, [P, N, H, W].

  @throws RangeError when shapes do not fit the checkpoint
  */
  async forward<T extends TensorLike>(options: ForwardOptions<T>): Promise<T> {
    checkNames(options, 'transformer.forward', ['latents', 'timestep', 'promptEmbeds', 'promptMask', 'frameMask', 'fps', 'height', 'width', 'signal'])
    const { in_channels: channels, caption_channels: width } = this.config
    const shape = checkShape(options.latents, 'latents', [channels, 'N', 'H', 'W'])
    const rows = checkShape(options.promptEmbeds, 'promptEmbeds', ['L', width])[0] ?? 0
    const rowMask = options.promptMask === undefined ? undefined : checkMask(options.promptMask, 'promptMask', rows)
    const frameMask = options.frameMask === undefined ? undefined : checkMask(options.frameMask, 'frameMask', shape[1] ?? 0)
    const timestep = checkNumber(options.timestep, 'timestep', 0, 1e6)
    const fps = checkNumber(options.fps, 'fps', 0, 1000, true)
    const height = checkInteger(options.height, 'height', 1, 65_536)
    const pixelWidth = checkInteger(options.width, 'width', 1, 65_536)
    const signal = checkSignal(options.signal)
    signal?.throwIfAborted()
    const engine = this.engine.native
    const scope = new Scope()
    return withCancel(engine, signal, async (cancel) => {
      try {
        const [latents, whole] = await Promise.all([toNative(engine, options.latents, scope, signal), toNative(engine, options.promptEmbeds, scope, signal)])
        const picked = rowMask?.flatMap((value, row) => (value === 1 ? [row] : []))
        const text = picked === undefined || picked.length === rows ? whole : scope.add(gatherRows(engine, whole, picked))
        return await toResult(engine, options.latents, this.native.forward({ latents, timestep, text, fps, height, width: pixelWidth, frameMask, cancel }))
      } finally {
        scope.dispose()
      }
    })
  }
}
