// The video autoencoder: a 2D autoencoder per frame, then a temporal one over micro-batches (16 ↔ 5 or 17 ↔ 5 frames).

import { checkInteger, checkNames, checkSignal } from '../check.js'
import { rangeError } from '../errors.js'
import type { Config, NativeCancel, NativeTensor } from '../native/binding.js'
import { withCancel } from '../native/cancel.js'
import { checkSeed } from '../native/ops.js'
import { Scope, checkShape, isPromiseLike, toNative, toResult } from '../native/tensor.js'
import type { TensorLike } from '../native/tensor.js'
import { modelOptionNames } from '../options/model.js'
import type { ModelOptions } from '../options/model.js'
import { latentFramesOf, videoFramesOf } from '../plan/frames.js'
import type { MicroBatch } from '../plan/frames.js'
import { brand } from '../realms.js'
import { Component, claimed, createModel, loadModel, openFor } from './component.js'
import type { Made, Opened } from './component.js'
import { checkFolder } from './config.js'

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

export interface DecodeOptions {
  /**
  Video frames.

  @default as many as the latent frames hold
  */
  numFrames?: number | undefined
  /** Stops the work: the call rejects with its reason. */
  signal?: AbortSignal | undefined
}

export class VAE extends Component<'vae'> {
  static {
    brand(this, 'VAE')
  }

  declare readonly config: Readonly<VAEConfig>

  private constructor(made: Made<'vae'>) {
    super(made, 'VAE')
  }

  /**
  Opens a folder with config.json and weights.

  @throws ERR_VIN_FORMAT naming the key of a wrong config, ERR_VIN_NOT_SUPPORTED for a value that no backend computes with
  */
  static async fromPretrained(folder: string, options?: ModelOptions | Opened): Promise<VAE> {
    await checkFolder(folder, 'vae')
    const opened = await openFor(options, 'VAE.fromPretrained')
    return claimed(opened, async () => new VAE(await loadModel('vae', folder, opened)))
  }

  /** Untrained weights; the same seed gives the same weights. */
  static async fromConfig(config: Config, options: ModelOptions & { seed?: number | bigint } = {}): Promise<VAE> {
    checkNames(options, 'VAE.fromConfig', [...modelOptionNames, 'seed'])
    const { seed = 0, ...model } = options
    return VAE.create(config, checkSeed(seed), await openFor(model, 'VAE.fromConfig'))
  }

  /** @internal */
  static create(config: Config, seed: bigint, opened: Opened): Promise<VAE> {
    return claimed(opened, async () => new VAE(await createModel('vae', config, seed, opened)))
  }

  /** Sizes of its micro-batches. */
  get microBatch(): MicroBatch {
    return { frames: this.config.micro_frame_size, latentFrames: this.config.micro_latent_size }
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
