// The video autoencoder: a 2D autoencoder per frame, then a temporal one over micro-batches (16 ↔ 5 or 17 ↔ 5 frames).

import { join } from 'node:path'
import { checkInteger, checkNames, checkSignal } from '../check.js'
import { rangeError } from '../errors.js'
import type { Config, NativeCancel, NativeTensor, NativeVae } from '../native/binding.js'
import { withCancel } from '../native/cancel.js'
import { checkSeed } from '../native/ops.js'
import { Scope, checkShape, isPromiseLike, toNative, toResult } from '../native/tensor.js'
import type { TensorLike } from '../native/tensor.js'
import { modelOptionNames } from '../options/model.js'
import type { ModelOptions } from '../options/model.js'
import { latentFramesOf, videoFramesOf } from '../plan/frames.js'
import type { MicroBatch } from '../plan/frames.js'
import { brand } from '../realms.js'
import { Component, checkConfigObject, engineOf, loadWeights, openFor } from './component.js'
import type { Opened } from './component.js'
import { ConfigReader, checkFolder, readConfig } from './config.js'

/** config.json of a VAE; what is missing is OpenSora VAE 1.2's. */
export interface VAEConfig {
  block_out_channels: number[]
  layers_per_block: number
  norm_num_groups: number
  latent_channels: number
  scaling_factor: number
  temporal: { filters: number; num_res_blocks: number; channel_multipliers: number[]; temporal_downsample: boolean[] }
  micro_frame_size: number
  micro_latent_size: number
  shift?: number[]
  scale?: number[]
}

/** @throws ERR_VIN_FORMAT naming the key, ERR_VIN_NOT_SUPPORTED for a value that no backend computes with */
export function checkVAEConfig(config: Config, file: string): VAEConfig {
  const read = new ConfigReader(config, file)
  read.kind({ _class_name: ['OpenSoraVAE_V1_2', 'VideoAutoencoderPipeline'], model_type: ['VideoAutoencoderPipeline'] })
  const channels = read.integers('block_out_channels', undefined, 1, 8192, [128, 256, 512, 512])
  const temporal = read.object('temporal') ?? new ConfigReader({}, file, 'temporal.')
  const multipliers = temporal.integers('channel_multipliers', undefined, 1, 64, [1, 2, 2, 4])
  read.refuseNull('micro_frame_size', 'a number of frames (null, all frames of a video as one micro-batch, is not computed)')
  const frames = read.integer('micro_frame_size', 1, 4096, 17)
  const resolved: VAEConfig = {
    block_out_channels: channels,
    layers_per_block: read.integer('layers_per_block', 1, 64, 2),
    norm_num_groups: read.integer('norm_num_groups', 1, 1024, 32),
    latent_channels: read.integer('latent_channels', 1, 256, 4),
    scaling_factor: read.number('scaling_factor', 1e-6, 1e6, 0.18215),
    temporal: {
      filters: temporal.integer('filters', 1, 8192, 128),
      num_res_blocks: temporal.integer('num_res_blocks', 1, 64, 4),
      channel_multipliers: multipliers,
      temporal_downsample: temporal.booleans('temporal_downsample', multipliers.length - 1, [false, true, true])
    },
    micro_frame_size: frames,
    micro_latent_size: read.integer('micro_latent_size', Math.ceil(frames / 4), 4096, Math.ceil(frames / 4))
  }
  read.require(
    channels.every((count) => count % resolved.norm_num_groups === 0),
    'norm_num_groups',
    `a divisor of block_out_channels ${channels.join(', ')}`
  )
  read.support(channels.length === 4, 'block_out_channels', '4 levels (8 × 8 pixels a latent)')
  read.support(resolved.temporal.temporal_downsample.filter(Boolean).length === 2, 'temporal', 'temporal_downsample with 2 levels (4 frames a latent)')
  const shift = read.numbers('shift', resolved.latent_channels)
  const scale = read.numbers('scale', resolved.latent_channels)
  if (shift !== undefined) resolved.shift = shift
  if (scale !== undefined) resolved.scale = scale
  return resolved
}

/** Micro-batch sizes of a VAE's config. */
function microBatchOf(config: Readonly<VAEConfig>): MicroBatch {
  return { frames: config.micro_frame_size, latentFrames: config.micro_latent_size }
}

export interface DecodeOptions {
  /**
  Video frames.

  @default as many as the latent frames hold
  */
  numFrames?: number | undefined
  /** Stops the work: the call rejects with its reason. */
  signal?: AbortSignal | undefined
}

export class VAE extends Component<NativeVae> {
  static {
    brand(this, 'VAE')
  }

  readonly config: Readonly<VAEConfig>

  private constructor(opened: Opened, config: VAEConfig, model: NativeVae) {
    super('vae', engineOf(opened, 'VAE'), model)
    this.config = Object.freeze(config)
  }

  /** Opens a folder with config.json and weights. */
  static async fromPretrained(folder: string, options?: ModelOptions | Opened): Promise<VAE> {
    await checkFolder(folder, 'vae')
    const opened = openFor(options, 'VAE.fromPretrained')
    try {
      const config = checkVAEConfig(await readConfig(opened.engine.binding, folder, opened.options.limits), join(folder, 'config.json'))
      const model = await loadWeights(opened, folder, 'vae', (files, extra) => opened.engine.native.load('vae', { ...config }, files, extra))
      return new VAE(opened, config, model)
    } catch (error) {
      await opened.engine.release()
      throw error
    }
  }

  /** Untrained weights; the same seed gives the same weights. */
  static async fromConfig(config: Config, options: ModelOptions & { seed?: number | bigint } = {}): Promise<VAE> {
    checkNames(options, 'VAE.fromConfig', [...modelOptionNames, 'seed'])
    const { seed = 0, ...model } = options
    return VAE.create(config, checkSeed(seed), openFor(model, 'VAE.fromConfig'))
  }

  /** @internal */
  static async create(config: Config, seed: bigint, opened: Opened): Promise<VAE> {
    try {
      checkConfigObject(config, 'VAE')
      const checked = checkVAEConfig(config, 'the config')
      return new VAE(opened, checked, opened.engine.native.create('vae', { ...checked }, seed))
    } catch (error) {
      await opened.engine.release()
      throw error
    }
  }

  get microBatch(): MicroBatch {
    return microBatchOf(this.config)
  }

  /** Pixels [3, T, H, W] in −1 … 1 → mean latents after shift and scale, [C, N, H/8, W/8]. */
  async encode<T extends TensorLike>(pixels: T | PromiseLike<T>, options: { signal?: AbortSignal | undefined } = {}): Promise<T> {
    const given = isPromiseLike(pixels) ? await pixels : pixels
    checkNames(options, 'vae.encode', ['signal'])
    const [, frames = 0, height = 0, width = 0] = checkShape(given, 'pixels', [3, 'T', 'H', 'W'])
    if (frames < 1 || height < 8 || width < 8) throw rangeError(`Expected at least 1 frame of 8 × 8 pixels for pixels but received [3, ${frames}, ${height}, ${width}]`)
    return this.#run(given, options.signal, (input, cancel) => this.native.encode(input, { cancel }))
  }

  /** Latents [C, N, H, W] → pixels [3, numFrames, 8H, 8W]. */
  async decode<T extends TensorLike>(latents: T | PromiseLike<T>, options: DecodeOptions = {}): Promise<T> {
    const given = isPromiseLike(latents) ? await latents : latents
    checkNames(options, 'vae.decode', ['numFrames', 'signal'])
    const frames = this.checkFrames(checkShape(given, 'latents', [this.config.latent_channels, 'N', 'H', 'W'])[1] ?? 0, options.numFrames)
    return this.#run(given, options.signal, (input, cancel) => this.native.decode(input, { numFrames: frames, cancel }))
  }

  /** Video frames that N latent frames decode to; `numFrames` must be a number that N follows from. */
  checkFrames(latentFrames: number, numFrames: number | undefined): number {
    const most = videoFramesOf(latentFrames, this.microBatch)
    if (numFrames === undefined) return most
    const frames = checkInteger(numFrames, 'numFrames', 1, most)
    const needed = latentFramesOf(frames, this.microBatch)
    if (needed !== latentFrames) throw rangeError(`Expected ${needed} latent frames for numFrames ${frames} but received ${latentFrames}`)
    return frames
  }

  async #run<T extends TensorLike>(input: T, signal: AbortSignal | undefined, call: (input: NativeTensor, cancel: NativeCancel) => NativeTensor): Promise<T> {
    checkSignal(signal)
    signal?.throwIfAborted()
    const engine = this.engine.native
    const scope = new Scope()
    return withCancel(engine, signal, async (cancel) => {
      try {
        return await toResult(engine, input, call(await toNative(engine, input, scope, signal), cancel))
      } finally {
        scope.dispose()
      }
    })
  }
}
