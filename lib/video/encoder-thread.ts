// Every encoder runs in a worker thread of its own: frames go in a few at a time, the file comes back in pieces, each when it is asked for. The JavaScript thread
// decodes and hands on.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { VinError, abortReason, rangeError, typeError, type VinErrorCode } from '../errors.js'
import { loadSharp } from '../native/optional.js'
import { packageRoot } from '../native/package-root.js'
import { permitted } from '../native/permission.js'
import { onAbort } from '../native/signals.js'
import { errorCode, errorMessage } from '../realms.js'
import type { VideoFormat } from './formats.js'
import { checkFrame, type Frame, type FrameSource } from './frames.js'

/** Formats of pixels. */
export type PixelFormat = Exclude<VideoFormat, 'safetensors'>

/** What the worker is started with: the writer, and the source but its functions. */
export interface EncoderJob {
  format: PixelFormat
  scale: number
  source: Omit<FrameSource, 'frames' | 'warn' | 'signal'>
}

/** 'next' asks for a piece of the file; a frame that is absent ends a pass over the frames. */
export type ToEncoder = { type: 'frame'; frame: Frame | undefined } | { type: 'next' }
/** 'frames' begins a pass, 'taken' has a frame done with; a piece without data is the end of the file. */
export type FromEncoder =
  | { type: 'frames' }
  | { type: 'taken' }
  | { type: 'piece'; data: Uint8Array | undefined }
  | { type: 'warning'; code: string; message: string }
  | { type: 'failed'; code: string | undefined; message: string; details: Record<string, unknown> }

/** Frames that wait for the encoder: enough to overlap decoding with encoding. */
const maxInFlight = 4

/** The compiled worker; `dist` also serves when this file itself runs from source (tests). */
function workerFile(): string {
  const file = join(packageRoot(), 'dist', 'esm', 'video', 'encoder-worker.js')
  if (!existsSync(file)) {
    throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected the encoders' worker at ${file} but it is not there; run npm run build, or install vin-native where a bundle of it runs`, {
      component: 'encoder-worker',
      path: file
    })
  }
  return file
}

/** Without the program's own flags: some of them, as --input-type, refuse a file. */
function startWorker(job: EncoderJob): Worker {
  try {
    return permitted('--allow-worker', `the thread that encodes ${job.format}`, () => new Worker(workerFile(), { workerData: job, name: `vin-native ${job.format}`, execArgv: [] }))
  } catch (error) {
    if (errorCode(error) === 'ERR_WORKER_INIT_FAILED') throw new VinError('ERR_VIN_OUT_OF_MEMORY', `Expected a thread for the ${job.format} encoder but the system gives none; raise the limit of processes (ulimit -u, or pids of the container)`, {}, { cause: error })
    throw error
  }
}

/** The bytes of a file; for 'png' each piece is the file of one frame. */
export async function* encodeInThread(format: PixelFormat, source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  source.signal?.throwIfAborted()
  // On glibc an addon that several threads load stays whole only if the main one has it too.
  if (format === 'webp') await loadSharp()
  const { width, height, fps, numFrames } = source
  const encoder = new EncoderThread(startWorker({ format, scale, source: { width, height, fps, numFrames } }), format, source)
  try {
    yield* encoder.file()
  } finally {
    await encoder.close()
  }
}

/** The other end of encoder-worker: what is awaited rejects when the worker fails or dies, a frame cannot be had, or the signal aborts. */
class EncoderThread {
  readonly #worker: Worker
  readonly #source: FrameSource
  readonly #release: () => void
  readonly #failed: Promise<never>
  readonly #fail: (reason: unknown) => void
  #inFlight = 0
  #ended = false
  #wake: () => void = () => {}
  #onPiece: (data: Uint8Array | undefined) => void = () => {}

  constructor(worker: Worker, format: PixelFormat, source: FrameSource) {
    this.#worker = worker
    this.#source = source
    let reject: (reason: unknown) => void = () => {}
    this.#failed = new Promise<never>((_, fail) => (reject = fail))
    // Whoever awaits sees the failure; a failure after that has been said already.
    this.#failed.catch(() => {})
    this.#fail = (reason) => {
      reject(reason)
      this.#end()
    }
    this.#release = onAbort(source.signal, () => this.#fail(abortReason(source.signal)))
    worker.on('message', (message: FromEncoder) => {
      if (message.type === 'frames') void this.#sendFrames().catch(this.#fail)
      else if (message.type === 'taken') {
        this.#inFlight--
        this.#wake()
      } else if (message.type === 'piece') this.#onPiece(message.data)
      else if (message.type === 'warning') source.warn(message.code, message.message)
      else this.#fail(failure(format, message))
    })
    worker.on('error', (error) => this.#fail(encoderError(format, error)))
    worker.on('exit', (code) => this.#fail(encoderError(format, new Error(`the thread ended with code ${code}`))))
  }

  /** One pass over the frames, a few ahead of the encoder. They are copied, so that the caller's stay valid. */
  async #sendFrames(): Promise<void> {
    let index = 0
    for await (const frame of this.#source.frames()) {
      checkFrame(frame, index++, this.#source)
      while (this.#inFlight >= maxInFlight && !this.#ended) await new Promise<void>((resolve) => (this.#wake = resolve))
      if (this.#ended) return
      this.#inFlight++
      const data = new Uint8Array(frame.data)
      const { width, height } = frame
      this.#worker.postMessage({ type: 'frame', frame: { index: frame.index, data, width, height } } satisfies ToEncoder, [data.buffer])
    }
    this.#worker.postMessage({ type: 'frame', frame: undefined } satisfies ToEncoder)
  }

  /** The file, in pieces. */
  async *file(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = new Promise<Uint8Array | undefined>((resolve) => (this.#onPiece = resolve))
      this.#worker.postMessage({ type: 'next' } satisfies ToEncoder)
      const data = await Promise.race([piece, this.#failed])
      if (data === undefined) return
      yield data
    }
  }

  #end(): void {
    this.#ended = true
    this.#wake()
  }

  async close(): Promise<void> {
    this.#release()
    this.#end()
    await this.#worker.terminate()
  }
}

/** What a writer threw on the other thread. */
function failure(format: PixelFormat, { code, message, details }: Extract<FromEncoder, { type: 'failed' }>): Error {
  if (code?.startsWith('ERR_VIN_') === true) return new VinError(code as VinErrorCode, message, details)
  if (code === 'ERR_OUT_OF_RANGE') return rangeError(message)
  if (code === 'ERR_INVALID_ARG_TYPE') return typeError(message)
  return encoderError(format, new Error(message))
}

function encoderError(format: PixelFormat, error: unknown): VinError {
  const text = errorMessage(error)
  const memory = errorCode(error) === 'ERR_WORKER_OUT_OF_MEMORY' || /out of memory|cannot enlarge memory|allocation failed/i.test(text)
  return new VinError(
    memory ? 'ERR_VIN_OUT_OF_MEMORY' : 'ERR_VIN_DEVICE',
    `Expected a file from the ${format} encoder but it stopped: ${text}; nothing was written, save .safetensors and use vin-native decode`,
    { component: format },
    { cause: error }
  )
}
