// Latents as a video: those that `video.save('x.safetensors')` wrote, after a failed encode or on another machine, or those of a loop that was written by hand.

import { checkInteger, checkNames, checkNumber } from '../check.js'
import { VinError, expected, missingComponent } from '../errors.js'
import { verifyFile } from '../models/checksums.js'
import type { VAE } from '../models/vae.js'
import { checkShape, type TensorData } from '../native/tensor.js'
import { videoFramesOf } from '../plan/frames.js'
import { Video } from '../video/video.js'
import { decodeFrames } from './decode.js'
import { checkFinite } from './finite.js'
import type { VideoPipeline } from './pipeline.js'

export interface OpenLatentsOptions {
  /** Video frames. @default the file's `num_frames`, else as many as the latent frames hold */
  numFrames?: number | undefined
  /** @default the file's `fps`, else the checkpoint's */
  fps?: number | undefined
}

/**
A video from latents [C, N, H, W], or from a file with the tensor `latents`.

@throws ERR_VIN_FORMAT for another file, ERR_VIN_NONFINITE for latents with NaN or Inf, ERR_VIN_MISSING_COMPONENT when the model has no VAE
*/
export async function openLatents(pipeline: VideoPipeline, source: string | TensorData, options: OpenLatentsOptions = {}): Promise<Video> {
  if (typeof pipeline !== 'object' || pipeline === null || !('has' in pipeline)) throw expected('a VideoPipeline', 'the pipeline of openLatents', pipeline, 'type')
  if (typeof source !== 'string' && (typeof source !== 'object' || source === null)) throw expected('a path or { data, shape }', 'latents', source, 'type')
  checkNames(options, 'openLatents', ['numFrames', 'fps'])
  if (!pipeline.has('vae')) throw missingComponent('vae', 'Expected a model with vae/ to decode latents')
  const { vae } = pipeline
  const { latents, said } = typeof source === 'string' ? await readLatents(pipeline, source) : { latents: takeLatents(pipeline, source), said: undefined }
  const [, latentFrames = 0, height = 0, width = 0] = latents.shape
  const numFrames = vae.checkFrames(latentFrames, options.numFrames ?? said?.numFrames ?? videoFramesOf(latentFrames, vae.microBatch))
  const fps = checkNumber(options.fps ?? said?.fps ?? pipeline.defaults.fps, 'fps', 0.1, 1000)
  checkFinite(latents, typeof source === 'string' ? `latents in ${source}` : 'latents', typeof source === 'string' ? { file: source } : {})
  checkInteger(8 * width, 'width', 8, 65_536)
  checkInteger(8 * height, 'height', 8, 65_536)
  return savedVideo(latents, { vae: () => vae, numFrames, fps, seed: said?.seed })
}

/** A copy: what the caller changes afterwards is not seen. */
function takeLatents({ vae }: VideoPipeline, value: TensorData): TensorData {
  checkShape(value, 'latents', [vae.config.latent_channels, 'N', 'H', 'W'])
  return { data: value.data.slice(), shape: [...value.shape] }
}

async function readLatents(pipeline: VideoPipeline, path: string): Promise<{ latents: TensorData; said: ReturnType<typeof saidBy> }> {
  const { latent_channels: channels } = pipeline.vae.config
  await verifyFile(path)
  const { tensors, metadata } = pipeline.engine.binding.readSafetensors(path)
  const latents = tensors['latents']
  if (latents?.data === undefined || latents.shape.length !== 4 || latents.shape[0] !== channels || latents.shape[1]! < 1) {
    const found = latents === undefined ? `tensors ${Object.keys(tensors).slice(0, 4).join(', ')}` : `[${latents.shape.join(', ')}]`
    throw new VinError('ERR_VIN_FORMAT', `Expected a tensor latents [${channels}, N, H, W] in ${path} but found ${found}`, { file: path, tensor: 'latents', expected: [channels, 'N', 'H', 'W'], found: latents?.shape })
  }
  return { latents: { data: Float32Array.from(latents.data), shape: [...latents.shape] }, said: saidBy(metadata, path) }
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
