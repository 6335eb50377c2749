// Given frames: an image first, an image last, or a video to go on from. Each becomes clean latent frames and zeros in the frame mask.

import { checkInteger, checkNumber } from '../check.js'
import { VinError, expected, rangeError } from '../errors.js'
import { types } from 'node:util'
import { maxWholeBytes, readSmallFile } from '../files/small-file.js'
import type { VAE } from '../models/vae.js'
import type { Binding, NativeCancel, NativeEngine, NativeTensor } from '../native/binding.js'
import { abortable, abortableItems } from '../native/cancel.js'
import { copyInto, filled } from '../native/ops.js'
import { checkShape, toNative, type Scope, type TensorData, type TensorLike } from '../native/tensor.js'
import type { ResolvedGenerateOptions } from '../options/generate.js'
import { latentFramesOf, type MicroBatch } from '../plan/frames.js'
import { readVideo } from '../video/ffmpeg.js'
import { resample, type Picture } from '../video/frames.js'
import { coverAndCrop, readImage, type ImageInput } from '../video/image.js'
import { Video } from '../video/video.js'
import { callHook } from './hooks.js'
import type { PipelineWarning } from './plan.js'
import { checkFinite } from './finite.js'
import { saidBy, savedVideo } from './saved-latents.js'

/** Clean latent frames [C, n, H, W] that stand at latent frame `at`. */
export interface GivenFrames {
  at: number
  latents: NativeTensor
}

export interface ConditioningContext {
  engine: NativeEngine
  binding: Binding
  /** Asked for only when pixels must be encoded. */
  vae: () => VAE
  channels: number
  microBatch: MicroBatch
  imagePixels: number
  cancel: NativeCancel
  signal: AbortSignal
  /** The pipeline whose run asks. */
  owner: object
  scope: Scope
  warn: (warning: PipelineWarning) => void
}

/** All given frames of a run, encoded. */
export async function givenFrames(options: ResolvedGenerateOptions, context: ConditioningContext): Promise<GivenFrames[]> {
  const given: GivenFrames[] = []
  const last = options.latentFrames - 1
  if (options.image !== undefined) given.push({ at: 0, latents: await encodeImage(options, context, options.image, 'image') })
  if (options.video !== undefined) given.push({ at: 0, latents: await encodeVideo(options, context) })
  const taken = given[0]?.latents.shape[1] ?? 0
  if (options.lastImage !== undefined) {
    if (last < taken) throw rangeError(`Expected numFrames beyond the given frames for lastImage but ${options.numFrames} video frames are ${options.latentFrames} latent frames`)
    given.push({ at: last, latents: await encodeImage(options, context, options.lastImage, 'lastImage') })
  }
  return given
}

/** 1 for latent frames to denoise, 0 for given ones; undefined when nothing is given. */
export function maskOf(given: readonly GivenFrames[], latentFrames: number): number[] | undefined {
  if (given.length === 0) return undefined
  const mask = Array.from({ length: latentFrames }, () => 1)
  for (const { at, latents } of given) mask.fill(0, at, at + (latents.shape[1] ?? 0))
  if (!mask.includes(1)) throw rangeError(`Expected numFrames beyond the given frames but all ${latentFrames} latent frames are given`)
  return mask
}

/** Puts given frames into start latents. */
export function placeFrames(engine: NativeEngine, latents: NativeTensor, given: readonly GivenFrames[]): void {
  for (const { at, latents: clean } of given) {
    const view = engine.slice(latents, 1, at, at + (clean.shape[1] ?? 0))
    copyInto(engine, view, clean)
    view.dispose()
  }
}

/** An image as the video of that one frame: its first latent frame. A last image fills one micro-batch: its last latent frame. */
async function encodeImage({ width, height }: ResolvedGenerateOptions, context: ConditioningContext, input: ImageInput, name: 'image' | 'lastImage'): Promise<NativeTensor> {
  const { engine, scope, signal, microBatch } = context
  const vae = context.vae()
  const plane = coverAndCrop(await abortable(readImage(input, { maxPixels: context.imagePixels, signal, name }), signal), width, height)
  const frames = name === 'image' ? 1 : microBatch.frames
  const latents = encodePixels(context, vae, repeatFrame(plane, frames), frames, height, width)
  const at = name === 'image' ? 0 : (latents.shape[1] ?? 1) - 1
  return scope.add(engine.slice(latents, 1, at, at + 1))
}

/** [3, H, W] → [3, frames, H, W] */
function repeatFrame(plane: Float32Array, frames: number): Float32Array {
  const size = plane.length / 3
  const pixels = new Float32Array(plane.length * frames)
  for (let c = 0; c < 3; c++) for (let frame = 0; frame < frames; frame++) pixels.set(plane.subarray(c * size, (c + 1) * size), (c * frames + frame) * size)
  return pixels
}

function encodePixels({ engine, cancel, scope }: ConditioningContext, vae: VAE, pixels: Float32Array, frames: number, height: number, width: number): NativeTensor {
  const input = engine.upload(pixels, [3, frames, height, width])
  try {
    return scope.add(vae.native.encode(input, { cancel }))
  } finally {
    input.dispose()
  }
}

async function encodeVideo(options: ResolvedGenerateOptions, context: ConditioningContext): Promise<NativeTensor> {
  const { width, height, fps } = options
  const { signal, microBatch } = context
  const video = typeof options.video === 'string' && options.video.endsWith('.safetensors') ? await abortable(readLatents(context, options.video), signal) : options.video
  if (typeof video === 'string') return encodeFrames(options, context, readVideo(video, { width, height, fps, signal, onWarning: context.warn }))
  if (video instanceof Video) {
    const whole = video.numFrames % microBatch.frames === 0 && video.width === width && video.height === height && video.fps === fps
    // Latents are aligned to micro-batches from the first frame on; frames that must be dropped, resized or shown at another rate go through pixels.
    return whole ? latentVideo(options, context, video.latents) : encodeFrames(options, context, resample(video.frames({ signal }), video.fps, fps))
  }
  if (video !== undefined && 'latents' in video) return latentVideo(options, context, video.latents)
  return encodeFrames(options, context, video as AsyncIterable<Picture>)
}

/** A file of latents: the video that was saved, or, where it does not say how that plays, latents alone. */
async function readLatents({ binding, microBatch, vae }: ConditioningContext, file: string): Promise<Video | { latents: TensorData }> {
  const bytes = await readSmallFile(file, maxWholeBytes).catch((cause: unknown) => {
    if (cause instanceof VinError) throw cause
    throw Object.assign(rangeError(`Expected the path of a video for video but ${JSON.stringify(file)} cannot be read`), { cause })
  })
  const { tensors, metadata } = binding.readSafetensors(bytes)
  const { data, shape } = tensors['latents'] ?? {}
  if (!types.isFloat32Array(data) || shape === undefined) throw new VinError('ERR_VIN_FORMAT', `Expected a float tensor named latents in ${file}`, { file, tensor: 'latents' })
  const latents = { data, shape }
  checkFinite(latents, `latents in ${file}`, { file })
  const { numFrames, fps } = saidBy(metadata, file)
  if (numFrames === undefined || fps === undefined || shape.length !== 4) return { latents }
  checkInteger(numFrames, `num_frames of ${file}`, 1, 65_536)
  if (latentFramesOf(numFrames, microBatch) !== shape[1]) return { latents }
  return savedVideo(latents, { vae, numFrames, fps: checkNumber(fps, `fps of ${file}`, 0.1, 1000) })
}

/** Whole micro-batches of latents, from the end: the remainder at the start is dropped. */
async function latentVideo(options: ResolvedGenerateOptions, context: ConditioningContext, latents: TensorLike): Promise<NativeTensor> {
  const { engine, scope, signal, channels, microBatch, warn } = context
  const shape = checkShape(latents, 'video.latents', [channels, 'N', options.height / 8, options.width / 8])
  const frames = shape[1] ?? 0
  const dropped = frames % microBatch.latentFrames
  if (frames === dropped) throw rangeError(`Expected at least ${microBatch.latentFrames} latent frames (one micro-batch) in video but received ${frames}`)
  if (dropped > 0) warn({ code: 'frames-dropped', message: `the first ${dropped} latent frames of video do not fill a micro-batch of ${microBatch.latentFrames} and were dropped` })
  checkRoom(options, frames - dropped)
  const tensor = await toNative(engine, latents, scope, signal)
  return dropped === 0 ? tensor : scope.add(engine.slice(tensor, 1, dropped, frames))
}

function checkRoom({ latentFrames, numFrames }: ResolvedGenerateOptions, given: number): void {
  if (given >= latentFrames) throw rangeError(`Expected numFrames beyond the given video but ${numFrames} video frames are ${latentFrames} latent frames and ${given} are given`)
}

/** Frames → latents of whole micro-batches. */
async function encodeFrames(options: ResolvedGenerateOptions, context: ConditioningContext, source: AsyncIterable<Picture>): Promise<NativeTensor> {
  const { width, height, numFrames } = options
  const { engine, scope, signal, owner, microBatch, warn } = context
  const vae = context.vae()
  const pictures: Picture[] = []
  for await (const picture of abortableItems(source, signal, (call) => callHook(owner, signal, call))) {
    checkPicture(picture, pictures.length)
    // A source may fill one buffer again and again.
    pictures.push({ data: new Uint8Array(picture.data), width: picture.width, height: picture.height })
    if (pictures.length > numFrames) throw rangeError(`Expected numFrames beyond the given video but numFrames is ${numFrames} and more frames came`)
  }
  const dropped = pictures.length % microBatch.frames
  if (pictures.length === dropped) throw rangeError(`Expected at least ${microBatch.frames} frames (one micro-batch) in video but received ${pictures.length}`)
  if (dropped > 0) warn({ code: 'frames-dropped', message: `the first ${dropped} frames of video do not fill a micro-batch of ${microBatch.frames} and were dropped` })
  const batches = (pictures.length - dropped) / microBatch.frames
  checkRoom(options, batches * microBatch.latentFrames)
  const whole = scope.add(filled(engine, [context.channels, batches * microBatch.latentFrames, height / 8, width / 8], 0))
  const size = width * height
  for (let batch = 0; batch < batches; batch++) {
    signal.throwIfAborted()
    const pixels = new Float32Array(3 * microBatch.frames * size)
    for (let frame = 0; frame < microBatch.frames; frame++) {
      const plane = coverAndCrop(pictures[dropped + batch * microBatch.frames + frame] as Picture, width, height)
      for (let c = 0; c < 3; c++) pixels.set(plane.subarray(c * size, (c + 1) * size), (c * microBatch.frames + frame) * size)
    }
    const latents = encodePixels(context, vae, pixels, microBatch.frames, height, width)
    placeFrames(engine, whole, [{ at: batch * microBatch.latentFrames, latents }])
    // Back-pressure: pixels of one micro-batch at a time.
    await latents.ready()
  }
  return whole
}

function checkPicture(picture: Picture, index: number): void {
  const { data, width, height } = picture ?? {}
  if (!types.isUint8Array(data) || !Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1 || data.length !== width * height * 3) {
    throw expected('{ data (RGB), width, height }', `frame ${index} of video`, picture, 'type')
  }
}
