// H.264 mp4 by h264-mp4-encoder (WebAssembly) in a worker thread, fed with our own 4:2:0 conversion (its own one is too dark). Frames go in
// one by one, and the file comes back in pieces. Until the last frame it lies, compressed, in the worker's memory: frames × pixels are bounded before anything starts.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { VinError, abortReason } from '../errors.js'
import { onAbort } from '../native/signals.js'
import { packageRoot } from '../native/package-root.js'
import { permitted } from '../native/permission.js'
import { errorCode, errorMessage, isError } from '../realms.js'
import { checkFrame } from './frames.js'
import type { FrameSource } from './frames.js'

export interface Mp4Settings {
  /** Of the frames, before enlargement. */
  width: number
  height: number
  scale: number
  fps: number
  qp: number
  /** Frames from one keyframe to the next. */
  keyframeInterval: number
}

/** 'next' asks for a piece of the file; the first one ends the video. */
export type ToWorker = { type: 'frame'; data: Uint8Array } | { type: 'next' }
/** A piece without data is the end of the file. */
export type FromWorker = { type: 'ready' } | { type: 'encoded' } | { type: 'piece'; data: Uint8Array | undefined }

/** Pixels of all frames together. At qp 20 even noise stays below a byte a pixel, and a file of 2 GiB is what one buffer of the module can hold. */
const maxPixels = 2 ** 31
/** Frames that wait for the encoder: enough to overlap decoding with encoding. */
const maxInFlight = 4

/** The compiled worker; `dist` also serves when this file itself runs from source (tests). */
function workerFile(): string {
  const file = join(packageRoot(), 'dist', 'esm', 'video', 'mp4-worker.js')
  if (!existsSync(file)) {
    throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected the mp4 encoder's worker at ${file} but it is not there; run npm run build, or keep dist/ beside a bundle`, {
      component: 'mp4-worker',
      path: file
    })
  }
  return file
}

export async function* encodeMp4(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const { width, height, fps, numFrames, signal } = source
  signal?.throwIfAborted()
  const pixels = numFrames * width * scale * height * scale
  if (pixels > maxPixels) {
    throw new VinError(
      'ERR_VIN_OUT_OF_MEMORY',
      `Expected at most ${maxPixels} pixels in all frames of an mp4 but ${numFrames} frames of ${width * scale} × ${height * scale} hold ${pixels}; use a smaller scale, or save .y4m and encode it with ffmpeg`,
      { asked: pixels, free: maxPixels }
    )
  }
  if ((width * scale) % 2 === 1 || (height * scale) % 2 === 1) {
    const even = [width * scale, height * scale].map((size) => size + (size & 1)).join(' × ')
    source.warn('odd-size', `mp4 holds even sizes only: the last ${(width * scale) % 2 === 1 ? 'column' : 'row'} is repeated, and the file is ${even} instead of ${width * scale} × ${height * scale}`)
  }
  const settings: Mp4Settings = { width, height, scale, fps, qp: 20, keyframeInterval: Math.max(1, Math.round(fps)) }
  const encoder = new EncoderThread(permitted('--allow-worker', 'the thread that encodes mp4', () => new Worker(workerFile(), { workerData: settings, name: 'vin-native mp4' })), signal)
  try {
    await encoder.ready
    let index = 0
    for await (const frame of source.frames()) {
      checkFrame(frame, index++, source)
      await encoder.add(frame.data)
    }
    yield* encoder.file()
  } finally {
    await encoder.close()
  }
}

/** The other end of mp4-worker: promises for its answers, all of which reject when the thread dies or the signal aborts. */
class EncoderThread {
  readonly #worker: Worker
  readonly #release: () => void
  readonly ready: Promise<void>
  readonly #failed: Promise<never>
  #inFlight = 0
  #failure: { reason: unknown } | undefined
  #wake: () => void = () => {}
  #onPiece: (data: Uint8Array | undefined) => void = () => {}

  constructor(worker: Worker, signal: AbortSignal | undefined) {
    this.#worker = worker
    let isReady: () => void = () => {}
    let fail: (reason: unknown) => void = () => {}
    this.#failed = new Promise<never>((_, reject) => {
      fail = (reason) => {
        this.#failure ??= { reason }
        reject(this.#failure.reason)
        this.#wake()
      }
    })
    this.ready = Promise.race([new Promise<void>((resolve) => (isReady = resolve)), this.#failed])
    // Whoever awaits sees the failure; a failure after that has been said already.
    for (const promise of [this.#failed, this.ready]) promise.catch(() => {})
    this.#release = onAbort(signal, () => fail(abortReason(signal)))
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'ready') isReady()
      if (message.type === 'piece') this.#onPiece(message.data)
      if (message.type === 'encoded') {
        this.#inFlight--
        this.#wake()
      }
    })
    worker.on('error', (error) => fail(encoderError(error)))
    worker.on('exit', (code) => fail(encoderError(new Error(`the thread ended with code ${code}`))))
  }

  /** Hands over one frame; waits while enough are under way. The data is copied, so the caller's stays valid. */
  async add(data: Uint8Array): Promise<void> {
    while (this.#inFlight >= maxInFlight && this.#failure === undefined) await new Promise<void>((resolve) => (this.#wake = resolve))
    if (this.#failure !== undefined) throw this.#failure.reason
    this.#inFlight++
    const copy = new Uint8Array(data)
    this.#worker.postMessage({ type: 'frame', data: copy } satisfies ToWorker, [copy.buffer])
  }

  /** The finished file, in pieces. */
  async *file(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = new Promise<Uint8Array | undefined>((resolve) => (this.#onPiece = resolve))
      this.#worker.postMessage({ type: 'next' } satisfies ToWorker)
      const data = await Promise.race([piece, this.#failed])
      if (data === undefined) return
      yield data
    }
  }

  async close(): Promise<void> {
    this.#release()
    await this.#worker.terminate()
  }
}

function encoderError(error: unknown): VinError {
  const text = errorMessage(error)
  const memory = isError(error) && (errorCode(error) === 'ERR_WORKER_OUT_OF_MEMORY' || /out of memory|cannot enlarge memory|allocation failed/i.test(text))
  return new VinError(
    memory ? 'ERR_VIN_OUT_OF_MEMORY' : 'ERR_VIN_DEVICE',
    `Expected an mp4 from the encoder but it stopped: ${text}; nothing was written, save .safetensors and use vin-native decode`,
    { component: 'h264-mp4-encoder' },
    { cause: error }
  )
}
