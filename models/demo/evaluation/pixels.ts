// The pixels of a video from its latents, read: as somebody sees them in the mp4 that the command line would write, or as the VAE decodes them.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLatents, readVideo } from 'vin-native'
import type { Frame, TensorData, Video, VideoPipeline } from 'vin-native'
import { WORLD_FPS, WORLD_SIZE } from 'vin-native/demo-world'
import { readFrame } from './attributes.js'
import type { FrameReading } from './attributes.js'
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

/** A frame at the size of the world: enlarged ones give the pixel in the middle of each square. */
export function worldPixels({ data, width, height }: Frame): Uint8Array {
  if (width === WORLD_SIZE && height === WORLD_SIZE) return data
  const scale = width / WORLD_SIZE
  if (width !== height || !Number.isInteger(scale)) throw new RangeError(`Expected frames of ${WORLD_SIZE} × ${WORLD_SIZE} pixels or a whole multiple but received ${width} × ${height}`)
  const out = new Uint8Array(WORLD_SIZE * WORLD_SIZE * 3)
  const middle = Math.floor(scale / 2)
  for (let y = 0; y < WORLD_SIZE; y++) {
    for (let x = 0; x < WORLD_SIZE; x++) {
      const from = ((y * scale + middle) * width + x * scale + middle) * 3
      out.set(data.subarray(from, from + 3), (y * WORLD_SIZE + x) * 3)
    }
  }
  return out
}

/** Frames as they come back from the mp4 that the command line would write of them. */
export async function* framesThroughMp4(video: Pick<Video, 'save'>): AsyncGenerator<Frame> {
  const folder = await mkdtemp(join(tmpdir(), 'vin-evaluate-'))
  try {
    const file = join(folder, 'video.mp4')
    await video.save(file, { scale: SCALE })
    yield* readVideo(file, { width: WORLD_SIZE, height: WORLD_SIZE, fps: WORLD_FPS })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Micro-batches decode independently: those without a wanted frame are left out. */
async function* framesOfVae(pipeline: VideoPipeline, { latents, numFrames }: LatentVideo, wanted: (frame: number) => boolean): AsyncGenerator<Frame> {
  const { frames: videoFrames, latentFrames: step } = pipeline.vae.microBatch
  for (let first = 0; first < numFrames; first += videoFrames) {
    const count = Math.min(videoFrames, numFrames - first)
    if (!Array.from({ length: count }, (_, index) => first + index).some(wanted)) continue
    const begin = (first / videoFrames) * step
    const batch = await openLatents(pipeline, latentFrames(latents, begin, Math.min(begin + step, latents.shape[1] ?? 0)), { numFrames: count })
    for await (const frame of batch.frames()) yield { ...frame, index: first + frame.index }
  }
}

/** A reading per video frame; only of the frames asked for, where some are. An mp4 is written whole: what a frame looks like in it depends on those before. */
export async function readLatents(pipeline: VideoPipeline, video: LatentVideo, from: FramesFrom, frames?: readonly number[]): Promise<(FrameReading | undefined)[]> {
  const { latents, numFrames } = video
  const asked = frames === undefined ? undefined : new Set(frames)
  const wanted = (frame: number) => asked === undefined || asked.has(frame)
  const readings = new Array<FrameReading | undefined>(numFrames).fill(undefined)
  const pixels = from === 'mp4' ? framesThroughMp4(await openLatents(pipeline, latents, { numFrames, fps: WORLD_FPS })) : framesOfVae(pipeline, video, wanted)
  for await (const frame of pixels) if (wanted(frame.index)) readings[frame.index] = readFrame(worldPixels(frame))
  return readings
}
