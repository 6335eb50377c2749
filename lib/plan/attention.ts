// How a model attends over the frames of a video longer than it was trained with, methods.md §3 and §4. Frames are latent frames.

/** In windows [j · stride, j · stride + frames) and a last one that ends with the video; a frame's result is the mean over its windows, weighted by a pyramid. */
export interface WindowAttention {
  kind: 'windows'
  frames: number
  stride: number
}

/** Everywhere for low frequencies, over about `frames` frames around each for the others. */
export interface FrequencyAttention {
  kind: 'frequencies'
  frames: number
  /** Cut-offs of the low-pass filter, of frames and of rows and columns, as shares of the highest frequency. 0: nearby frames alone. */
  cutoffTime: number
  cutoffSpace: number
  /** False: nearby frames alone. */
  blend: boolean
}

export type FrameAttention = WindowAttention | FrequencyAttention

/** Windows as they are: [begin, end) of the frames seen, of which `counts` frames at the end are new in the last one. */
export function windowsOf({ frames, stride }: Pick<WindowAttention, 'frames' | 'stride'>, latentFrames: number): [number, number][] {
  const windows: [number, number][] = []
  for (let begin = 0; begin + frames <= latentFrames; begin += stride) windows.push([begin, begin + frames])
  if ((windows.at(-1)?.[1] ?? 0) < latentFrames) windows.push([latentFrames - frames, latentFrames])
  return windows
}

/** Frames that each frame sees: [begin, end). */
export function neighbourhoods(frames: number, latentFrames: number): [number, number][] {
  const half = Math.floor(frames / 2)
  return Array.from({ length: latentFrames }, (_, frame) => {
    const [begin, end] = [Math.max(0, frame - half), Math.min(latentFrames, frame + half + 1)]
    if (end - begin >= frames) return [begin, end]
    return begin === 0 ? [0, Math.min(latentFrames, frames)] : [Math.max(0, end - frames), end]
  })
}
