// A contact sheet: sixteen evenly spaced frames of each of a few videos in one picture.

import { encode } from 'fast-png'
import type { Frame, Picture, VideoPipeline } from 'vin-native'
import { writeWhole } from '../recipe/files.js'
import type { Sampler } from './sampler.js'

const FRAMES = 16
/** Pixels across. */
const WIDTH = 1024

/** The first, the last, and fourteen between. */
export function sheetFrames(numFrames: number): number[] {
  return Array.from({ length: FRAMES }, (_, index) => Math.round((index * (numFrames - 1)) / (FRAMES - 1)))
}

/** Pictures of one size, row by row, each pixel a square. */
export function tile(pictures: readonly Picture[], columns: number, scale: number): Picture {
  const { width, height } = pictures[0]!
  const [across, down] = [width * scale * columns, height * scale * Math.ceil(pictures.length / columns)]
  const data = new Uint8Array(across * down * 3)
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const picture = pictures[Math.floor(y / (height * scale)) * columns + Math.floor(x / (width * scale))]
      const from = (Math.floor((y % (height * scale)) / scale) * width + Math.floor((x % (width * scale)) / scale)) * 3
      if (picture !== undefined) data.set(picture.data.subarray(from, from + 3), (y * across + x) * 3)
    }
  }
  return { data, width: across, height: down }
}

export interface SheetVideo {
  prompt: string
  seed: number
}

/** One row of frames a video; a single video gets two rows of larger ones. `onVideo` hears of each. */
export async function writeSheet(pipeline: VideoPipeline, sampler: Sampler, file: string, videos: readonly SheetVideo[], numFrames: number, onVideo: (video: SheetVideo) => void): Promise<void> {
  const columns = videos.length === 1 ? FRAMES / 2 : FRAMES
  const wanted = sheetFrames(numFrames)
  const pictures: Picture[] = []
  for (const { prompt, seed } of videos) {
    const frames = new Map<number, Frame>()
    const video = await pipeline.generate({ prompt, seed, numFrames, ...sampler })
    for await (const frame of video.frames()) if (wanted.includes(frame.index)) frames.set(frame.index, frame)
    pictures.push(...wanted.map((index) => frames.get(index)!))
    onVideo({ prompt, seed })
  }
  const scale = Math.max(1, Math.floor(WIDTH / (columns * pictures[0]!.width)))
  await writeWhole(file, encode({ ...tile(pictures, columns, scale), channels: 3, depth: 8 }))
}
