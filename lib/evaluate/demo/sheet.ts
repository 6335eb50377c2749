// A contact sheet: sixteen evenly spaced frames of each of a few videos in one picture.

import { once, writeFileAtomically } from '../../files/atomic-file.js'
import type { VideoPipeline } from '../../pipeline/pipeline.js'
import { enlarge } from '../../video/frames.js'
import type { Frame, Picture } from '../../video/frames.js'
import { encodePng } from '../../video/png.js'
import type { Sampler } from './sampler.js'

const FRAMES = 16
/** Pixels across. */
const WIDTH = 1024

/** The first, the last, and fourteen between. */
export function sheetFrames(numFrames: number): number[] {
  return Array.from({ length: FRAMES }, (_, index) => Math.round((index * (numFrames - 1)) / (FRAMES - 1)))
}

/** Pictures of one size, row by row. */
export function tile(pictures: readonly Picture[], columns: number): Picture {
  const { width, height } = pictures[0]!
  const across = width * columns
  const data = new Uint8Array(across * height * Math.ceil(pictures.length / columns) * 3)
  pictures.forEach((picture, index) => {
    const left = (index % columns) * width
    const top = Math.floor(index / columns) * height
    for (let y = 0; y < height; y++) data.set(picture.data.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * across + left) * 3)
  })
  return { data, width: across, height: data.length / (across * 3) }
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
    for (const index of wanted) {
      const { data, width, height } = frames.get(index)!
      const scale = Math.max(1, Math.floor(WIDTH / (columns * width)))
      pictures.push({ data: enlarge(data, width, height, scale), width: width * scale, height: height * scale })
    }
    onVideo({ prompt, seed })
  }
  await writeFileAtomically(file, once(await encodePng(tile(pictures, columns))))
}
