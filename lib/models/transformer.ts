// The denoiser: an STDiT3-like backbone in one of three attention layouts and, where the checkpoint has `vin.*`, a Video Interface Network.

import { join } from 'node:path'
import { checkInteger, checkNames, checkNumber, checkSignal } from '../check.js'
import type { Config, NativeTransformer } from '../native/binding.js'
import { withCancel } from '../native/cancel.js'
import { checkSeed, gatherRows } from '../native/ops.js'
import { Scope, checkShape, toNative, toResult } from '../native/tensor.js'
import type { TensorLike } from '../native/tensor.js'
import { modelOptionNames } from '../options/model.js'
import type { ModelOptions } from '../options/model.js'
import { brand } from '../realms.js'
import { Component, checkConfigObject, engineOf, loadWeights, openFor } from './component.js'
import type { Opened } from './component.js'
import { ConfigReader, checkFolder, readConfig } from './config.js'
import { checkMask } from './mask.js'

export interface VinConfig {
  num_global_tokens: number
  dim: number
  num_heads: number
  num_blocks: number
  /** Seconds. */
  keyframe_interval: number
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
  vin?: VinConfig
}

/** @throws ERR_VIN_FORMAT naming the key, ERR_VIN_NOT_SUPPORTED for a value that no backend computes with */
export function checkTransformerConfig(config: Config, file: string): TransformerConfig {
  const read = new ConfigReader(config, file)
  read.kind({ _class_name: ['VinTransformer3DModel', 'STDiT3'], model_type: ['STDiT3'] })
  const resolved: TransformerConfig = {
    attention_layout: read.oneOf('attention_layout', ['factorised', 'hybrid', 'full'] as const, 'factorised'),
    depth: read.integer('depth', 1, 1024),
    hidden_size: read.integer('hidden_size', 4, 65_536),
    num_heads: read.integer('num_heads', 1, 1024),
    in_channels: read.integer('in_channels', 1, 256, 4),
    patch_size: read.integers('patch_size', 3, 1, 64, [1, 2, 2]),
    mlp_ratio: read.number('mlp_ratio', 0.25, 64, 4),
    caption_channels: read.integer('caption_channels', 1, 65_536),
    model_max_length: read.integer('model_max_length', 1, 65_536, 300),
    qk_norm: read.boolean('qk_norm', true),
    pred_sigma: read.boolean('pred_sigma', true),
    input_sq_size: read.number('input_sq_size', 1, 65_536, 512),
    chunk_frames: read.integer('chunk_frames', 1, 65_536, 20),
    context_frames: read.integer('context_frames', 0, 65_536, 8),
    latent_fps: read.number('latent_fps', 0.01, 1000, 5),
    max_latent_frames: read.integer('max_latent_frames', 1, 1_000_000, 80)
  }
  const { hidden_size: width, num_heads: heads } = resolved
  read.require(width % heads === 0 && (width / heads) % 2 === 0, 'num_heads', `a number of heads that splits hidden_size ${width} into even parts`)
  read.require(width % 4 === 0, 'hidden_size', 'a multiple of 4')
  read.require(resolved.context_frames <= resolved.chunk_frames, 'context_frames', `at most chunk_frames ${resolved.chunk_frames}`)
  read.support(!read.boolean('skip_y_embedder', false), 'skip_y_embedder', 'false (captions pass through y_embedder here)')
  read.support(resolved.patch_size.join() === '1,2,2', 'patch_size', '[1, 2, 2]')
  const vin = read.object('vin')
  if (vin === undefined) return resolved
  resolved.vin = {
    num_global_tokens: vin.integer('num_global_tokens', 1, 65_536),
    dim: vin.integer('dim', 2, 65_536),
    num_heads: vin.integer('num_heads', 1, 1024),
    num_blocks: vin.integer('num_blocks', 0, 256, 4),
    keyframe_interval: vin.number('keyframe_interval', 1e-3, 3600, 1)
  }
  vin.require(resolved.vin.dim % resolved.vin.num_heads === 0, 'num_heads', `a number of heads that divides dim ${resolved.vin.dim}`)
  return resolved
}

export interface ForwardOptions<T extends TensorLike = TensorLike> {
  /** [C, N, H, W] */
  latents: T
  /** As the scheduler counts: 0 … 1000. */
  timestep: number
  /** [L, D] */
  promptEmbeds: TensorLike
  /** [L]: 1 for rows that count. */
  promptMask?: ArrayLike<number> | undefined
  /** [N]: 1 for denoised latent frames, 0 for conditioning frames. */
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

export class Transformer extends Component<NativeTransformer> {
  static {
    brand(this, 'Transformer')
  }

  readonly config: Readonly<TransformerConfig>
  /** The checkpoint has `vin.*`. */
  readonly hasGlobalTokens: boolean

  private constructor(opened: Opened, config: TransformerConfig, model: NativeTransformer) {
    super('transformer', engineOf(opened, 'Transformer'), model)
    this.config = Object.freeze(config)
    this.hasGlobalTokens = model.weights().some(({ name }) => name.startsWith('vin.'))
  }

  /** Opens a folder with config.json and weights. Names of Open-Sora 1.2 load as they are. */
  static async fromPretrained(folder: string, options?: ModelOptions | Opened): Promise<Transformer> {
    await checkFolder(folder, 'transformer')
    const opened = openFor(options, 'Transformer.fromPretrained')
    try {
      const config = checkTransformerConfig(await readConfig(opened.engine.binding, folder, opened.options.limits), join(folder, 'config.json'))
      const model = await loadWeights(opened, folder, 'transformer', (files, extra) => opened.engine.native.load('transformer', { ...config }, files, extra))
      return new Transformer(opened, config, model)
    } catch (error) {
      await opened.engine.release()
      throw error
    }
  }

  /** Untrained weights; the same seed gives the same weights. */
  static async fromConfig(config: Config, options: ModelOptions & { seed?: number | bigint } = {}): Promise<Transformer> {
    checkNames(options, 'Transformer.fromConfig', [...modelOptionNames, 'seed'])
    const { seed = 0, ...model } = options
    return Transformer.create(config, checkSeed(seed), openFor(model, 'Transformer.fromConfig'))
  }

  /** @internal */
  static async create(config: Config, seed: bigint, opened: Opened): Promise<Transformer> {
    try {
      checkConfigObject(config, 'Transformer')
      const checked = checkTransformerConfig(config, 'the config')
      return new Transformer(opened, checked, opened.engine.native.create('transformer', { ...checked }, seed))
    } catch (error) {
      await opened.engine.release()
      throw error
    }
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
