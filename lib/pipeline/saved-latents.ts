// Latents that `video.save('x.safetensors')` wrote, as a video again: what is left to do after a failed encode, or on another machine.

import { VinError, expected, missingComponent, native } from '../errors.js'
import { verifyFile } from '../models/checksums.js'
import type { VAE } from '../models/vae.js'
import type { TensorData } from '../native/tensor.js'
import { checkInteger, checkNames, checkNumber } from '../options/check.js'
import { videoFramesOf } from '../plan/frames.js'
import { Video } from '../video/video.js'
import { decodeFrames } from './decode.js'
import { checkFinite } from './finite.js'
import type { VideoPipeline } from './pipeline.js'

export interface OpenLatentsOptions {
  /**
  Video frames.

  @default the file's `num_frames`, else as many as the latent frames hold
  */
  numFrames?: number | undefined
  /** @default the file's `fps`, else the checkpoint's */
  fps?: number | undefined
}

/**
A video from a file with the tensor `latents` [C, N, H, W].

@throws ERR_VIN_FORMAT for another file, ERR_VIN_NONFINITE for latents with NaN or Inf, ERR_VIN_MISSING_COMPONENT when the model has no VAE
*/
export async function openLatents(pipeline: VideoPipeline, path: string, options: OpenLatentsOptions = {}): Promise<Video> {
  if (typeof path !== 'string') throw expected('a path', 'path', path, 'type')
  checkNames(options, 'openLatents', ['numFrames', 'fps'])
  if (!pipeline.has('vae')) throw missingComponent('vae', 'Expected a model with vae/ to decode latents')
  const { vae } = pipeline
  await verifyFile(path)
  const { tensors, metadata } = native(() => pipeline.engine.binding.readSafetensors(path))
  const latents = tensors['latents']
  const [channels, latentFrames = 0, height = 0, width = 0] = latents?.shape ?? []
  if (latents?.data === undefined || latents.shape.length !== 4 || channels !== vae.config.latent_channels || latentFrames < 1) {
    const found = latents === undefined ? `tensors ${Object.keys(tensors).slice(0, 4).join(', ')}` : `[${latents.shape.join(', ')}]`
    throw new VinError('ERR_VIN_FORMAT', `Expected a tensor latents [${vae.config.latent_channels}, N, H, W] in ${path} but found ${found}`, {
      file: path,
      tensor: 'latents',
      expected: [vae.config.latent_channels, 'N', 'H', 'W'],
      found: latents?.shape
    })
  }
  const said = saidBy(metadata, path)
  const numFrames = vae.checkFrames(latentFrames, options.numFrames ?? said.numFrames ?? videoFramesOf(latentFrames, vae.microBatch))
  const fps = checkNumber(options.fps ?? said.fps ?? pipeline.defaults.fps, 'fps', 0.1, 1000)
  const data = { data: Float32Array.from(latents.data), shape: [...latents.shape] }
  checkFinite(data, `latents in ${path}`, { file: path })
  checkInteger(8 * width, 'width', 8, 65_536)
  checkInteger(8 * height, 'height', 8, 65_536)
  return savedVideo(data, { vae: () => vae, numFrames, fps, seed: said.seed })
}

/** What `video.save` wrote beside the latents. */
export function saidBy(metadata: Record<string, string>, file: string): { numFrames: number | undefined; fps: number | undefined; seed: number | bigint | undefined } {
  const said = (name: string): number | undefined => {
    const text = metadata[name]
    const value = Number(text)
    if (text !== undefined && (text.trim() === '' || !Number.isFinite(value))) {
      throw new VinError('ERR_VIN_FORMAT', `Expected a number for ${name} in the metadata of ${file} but found ${JSON.stringify(text.slice(0, 60))}`, { file, expected: 'a number', found: text })
    }
    return text === undefined ? undefined : value
  }
  const seed = said('seed')
  // Seeds go up to 2⁶⁴.
  return { numFrames: said('num_frames'), fps: said('fps'), seed: seed === undefined || Number.isSafeInteger(seed) || !/^\d+$/.test(metadata['seed'] ?? '') ? seed : BigInt(metadata['seed'] ?? 0) }
}

/** Latents [C, N, H, W] as a video; the VAE is asked for when frames are. */
export function savedVideo(latents: TensorData, { vae, numFrames, fps, seed = 0 }: { vae: () => VAE; numFrames: number; fps: number; seed?: number | bigint | undefined }): Video {
  const [, , height = 0, width = 0] = latents.shape
  return new Video({
    latents,
    decode: (signal, held) => decodeFrames({ vae: vae(), latents: held, numFrames }, signal),
    width: 8 * width,
    height: 8 * height,
    fps,
    numFrames,
    seed,
    options: {},
    plan: undefined,
    timings: {},
    warnings: []
  })
}
