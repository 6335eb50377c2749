// The user's own ffmpeg, where PATH has one: reads videos and the pictures fast-png cannot, writes WebP. Never shipped, never downloaded.

import { notSupported } from '../errors.js'
import { collectOutput, findProgram, startProgram } from '../native/optional.js'
import type { Frame } from './frames.js'

export async function requireFfmpeg(purpose: string): Promise<string> {
  const path = await findProgram('ffmpeg')
  if (path === undefined) throw notSupported('ffmpeg', `Expected ffmpeg on PATH to ${purpose} but found none; install ffmpeg`)
  return path
}

export async function hasEncoder(ffmpeg: string, encoder: string): Promise<boolean> {
  const text = (await collectOutput(ffmpeg, ['-hide_banner', '-encoders'])).toString()
  return text.split('\n').some((line) => line.trim().split(/\s+/)[1] === encoder)
}

/** The frames of a video file at a given rate and size: scaled to cover, centre-cropped. Frames wait in the pipe until they are asked for. */
export async function* readVideo(path: string, target: { width: number; height: number; fps: number; signal?: AbortSignal | undefined }): AsyncGenerator<Frame> {
  const { width, height, fps, signal } = target
  const ffmpeg = await requireFfmpeg(`read ${path}`)
  const filter = `fps=${fps},scale=${width}:${height}:force_original_aspect_ratio=increase:flags=area,crop=${width}:${height}`
  const { child, done } = startProgram(ffmpeg, ['-nostdin', '-v', 'error', '-i', 'file:' + path, '-map', '0:v:0', '-vf', filter, '-f', 'rawvideo', '-pix_fmt', 'rgb24', 'pipe:1'], signal)
  const frameBytes = width * height * 3
  try {
    let frame = new Uint8Array(frameBytes)
    let filled = 0
    let index = 0
    for await (const chunk of child.stdout as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; ) {
        const take = Math.min(chunk.length - at, frameBytes - filled)
        frame.set(chunk.subarray(at, at + take), filled)
        at += take
        filled += take
        if (filled === frameBytes) {
          yield { index: index++, data: frame, width, height }
          signal?.throwIfAborted()
          frame = new Uint8Array(frameBytes)
          filled = 0
        }
      }
    }
    await done
  } finally {
    child.kill('SIGKILL')
  }
}
