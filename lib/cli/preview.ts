// --preview: the newest preview of a run as an animated picture beside its output, out.preview.apng.

import { Video, type Frame } from '../index.js'
import { standardOutput } from './standard-output.js'

export function previewPath(output: string): string {
  return (output === standardOutput ? 'out' : output).replace(/\.[^./\\]+$/, '') + '.preview.apng'
}

export async function writePreview(output: string, frames: readonly Frame[]): Promise<void> {
  const [first] = frames
  if (first === undefined) return
  const { width, height } = first
  const video = new Video({
    latents: { data: new Float32Array(0), shape: [0] },
    decode: async function* () {
      // Frames of a preview are numbered as in the video.
      for (const [index, frame] of frames.entries()) yield { ...frame, index }
    },
    width,
    height,
    fps: 8,
    numFrames: frames.length,
    seed: 0,
    options: {},
    plan: undefined,
    timings: {},
    warnings: []
  })
  await video.save(previewPath(output), { scale: Math.max(1, Math.ceil(128 / Math.min(width, height))) })
}
