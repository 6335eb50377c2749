// The user's own ffmpeg, where PATH has one: reads videos and the pictures fast-png cannot, writes WebP. Never shipped, never downloaded.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { access, constants, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { VinError, abortReason, notSupported } from '../errors.js'
import type { Frame } from './frames.js'

/** The path of a program on PATH. */
export async function findProgram(name: string): Promise<string | undefined> {
  const file = process.platform === 'win32' ? `${name}.exe` : name
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    if (folder === '') continue
    const path = join(folder, file)
    try {
      await access(path, constants.X_OK)
      if ((await stat(path)).isFile()) return path
    } catch {
      continue
    }
  }
  return undefined
}

export async function requireFfmpeg(purpose: string): Promise<string> {
  const path = await findProgram('ffmpeg')
  if (path === undefined) throw notSupported('ffmpeg', `Expected ffmpeg on PATH to ${purpose} but found none; install ffmpeg`)
  return path
}

interface Process {
  child: ChildProcess
  /** Resolves at exit code 0; rejects with the last words of the program, or with the signal's reason. */
  done: Promise<void>
}

/** Starts a program by its path, no shell; an abort kills it. */
export function start(path: string, args: string[], signal?: AbortSignal): Process {
  signal?.throwIfAborted()
  const child = spawn(path, args, { stdio: ['pipe', 'pipe', 'pipe'], windowsHide: true })
  let errorText = ''
  child.stderr.on('data', (chunk: Buffer) => (errorText = (errorText + chunk.toString()).slice(-2000)))
  // A program that ends early closes its input: its exit code tells why, EPIPE does not.
  child.stdin.on('error', () => {})
  const kill = (): void => void child.kill('SIGKILL')
  signal?.addEventListener('abort', kill, { once: true })
  const done = new Promise<void>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, killedBy) => {
      signal?.removeEventListener('abort', kill)
      if (signal?.aborted === true) reject(abortReason(signal))
      else if (code === 0) resolve()
      else reject(new VinError('ERR_VIN_FORMAT', `Expected ${path} to succeed but it ended with ${killedBy ?? `code ${String(code)}`}: ${errorText.trim().split('\n').at(-1) ?? ''}`, { program: path, code }))
    })
  })
  done.catch(() => {})
  return { child, done }
}

/** Everything a program prints, with bytes for its input. */
export async function collect(path: string, args: string[], input?: Uint8Array, options: { signal?: AbortSignal | undefined; maxBytes?: number } = {}): Promise<Buffer> {
  const { child, done } = start(path, args, options.signal)
  const chunks: Buffer[] = []
  let bytes = 0
  child.stdout!.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > (options.maxBytes ?? 2 ** 31)) child.kill('SIGKILL')
    else chunks.push(chunk)
  })
  child.stdin!.end(input)
  await done
  return Buffer.concat(chunks)
}

export async function hasEncoder(ffmpeg: string, encoder: string): Promise<boolean> {
  const text = (await collect(ffmpeg, ['-hide_banner', '-encoders'])).toString()
  return text.split('\n').some((line) => line.trim().split(/\s+/)[1] === encoder)
}

export interface VideoInfo {
  width: number
  height: number
  fps: number
  seconds: number | undefined
}

export async function probeVideo(path: string, signal?: AbortSignal): Promise<VideoInfo> {
  const ffprobe = await findProgram('ffprobe')
  if (ffprobe === undefined) throw notSupported('ffprobe', `Expected ffprobe on PATH to read ${path} but found none; install ffmpeg`)
  const args = ['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'stream=width,height,r_frame_rate:format=duration', '-of', 'json', 'file:' + path]
  const answer = JSON.parse((await collect(ffprobe, args, undefined, { signal, maxBytes: 1 << 20 })).toString()) as {
    streams?: { width?: number; height?: number; r_frame_rate?: string }[]
    format?: { duration?: string }
  }
  const stream = answer.streams?.[0]
  const [numerator, denominator] = (stream?.r_frame_rate ?? '').split('/').map(Number)
  if (stream?.width === undefined || stream.height === undefined || !(numerator! > 0) || !(denominator! > 0)) {
    throw new VinError('ERR_VIN_FORMAT', `Expected a video stream in ${path} but ffprobe found none`, { file: path, expected: 'video stream', found: 'none' })
  }
  const seconds = Number(answer.format?.duration)
  return { width: stream.width, height: stream.height, fps: numerator! / denominator!, seconds: Number.isFinite(seconds) ? seconds : undefined }
}

/** The frames of a video file at a given rate and size: scaled to cover, centre-cropped. Frames wait in the pipe until they are asked for. */
export async function* readVideo(path: string, target: { width: number; height: number; fps: number; signal?: AbortSignal | undefined }): AsyncGenerator<Frame> {
  const { width, height, fps, signal } = target
  const ffmpeg = await requireFfmpeg(`read ${path}`)
  const filter = `fps=${fps},scale=${width}:${height}:force_original_aspect_ratio=increase:flags=area,crop=${width}:${height}`
  const { child, done } = start(ffmpeg, ['-nostdin', '-v', 'error', '-i', 'file:' + path, '-map', '0:v:0', '-vf', filter, '-f', 'rawvideo', '-pix_fmt', 'rgb24', 'pipe:1'], signal)
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
