// The pixels of a video from its latents, read: as somebody sees them in the mp4 that the command line would write, or as the VAE decodes them.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { VAE } from '../../models/vae.js'
import type { TensorData } from '../../native/tensor.js'
import { decodeFrames } from '../../pipeline/decode.js'
import { WORLD_FPS, WORLD_SIZE } from '../../training/demo-world.js'
import { readVideo } from '../../video/ffmpeg.js'
import type { Frame } from '../../video/index.js'
import { Video } from '../../video/video.js'
import { readFrame } from '../attributes.js'
import type { FrameReading } from '../attributes.js'
import { worldPixels } from '../index.js'
import { latentFrames } from './latents.js'

/** 'mp4': saved, then decoded by ffmpeg. */
export const framesFromNames = ['mp4', 'vae'] as const
export type FramesFrom = (typeof framesFromNames)[number]

/** The command line enlarges until the shorter side has 256 pixels. */
const SCALE = Math.ceil(256 / WORLD_SIZE)

export interface LatentVideo {
  /** [C, N, H, W] */
  latents: TensorData
  numFrames: number
}

/** Frames as they come back from the mp4 that the command line would write of them. */
export async function* framesThroughMp4(decode: (signal?: AbortSignal) => AsyncIterable<Frame>, numFrames: number): AsyncGenerator<Frame> {
  const folder = await mkdtemp(join(tmpdir(), 'vin-evaluate-'))
  try {
    const file = join(folder, 'video.mp4')
    const size = { width: WORLD_SIZE, height: WORLD_SIZE, fps: WORLD_FPS, numFrames }
    await new Video({ latents: { data: new Float32Array(), shape: [0, 0, 0, 0] }, decode, ...size, seed: 0, options: {}, plan: undefined, timings: {}, warnings: [] }).save(file, { scale: SCALE })
    yield* readVideo(file, size)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Micro-batches decode independently: those without a wanted frame are left out. */
async function* framesOfVae(vae: VAE, { latents, numFrames }: LatentVideo, wanted: (frame: number) => boolean): AsyncGenerator<Frame> {
  const { frames: videoFrames, latentFrames: step } = vae.microBatch
  for (let first = 0; first < numFrames; first += videoFrames) {
    const count = Math.min(videoFrames, numFrames - first)
    if (!Array.from({ length: count }, (_, index) => first + index).some(wanted)) continue
    const begin = (first / videoFrames) * step
    const batch = latentFrames(latents, begin, Math.min(begin + step, latents.shape[1] ?? 0))
    for await (const frame of decodeFrames({ vae, latents: batch, numFrames: count })) yield { ...frame, index: first + frame.index }
  }
}

/** A reading per video frame; only of the frames asked for, where some are. An mp4 is written whole: what a frame looks like in it depends on those before. */
export async function readLatents(vae: VAE, video: LatentVideo, from: FramesFrom, frames?: readonly number[]): Promise<(FrameReading | undefined)[]> {
  const { numFrames } = video
  const asked = frames === undefined ? undefined : new Set(frames)
  const wanted = (frame: number) => asked === undefined || asked.has(frame)
  const readings = new Array<FrameReading | undefined>(numFrames).fill(undefined)
  const pixels = from === 'mp4' ? framesThroughMp4((signal) => decodeFrames({ vae, ...video }, signal), numFrames) : framesOfVae(vae, video, wanted)
  for await (const frame of pixels) if (wanted(frame.index)) readings[frame.index] = readFrame(worldPixels(frame))
  return readings
}
