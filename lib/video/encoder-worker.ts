// The worker that encodes one video. It goes with the file it has written, and with it whatever its encoder has loaded.

import { parentPort, workerData } from 'node:worker_threads'
import { VinError } from '../errors.js'
import { errorCode, errorMessage } from '../realms.js'
import type { EncoderJob, FromEncoder, PixelFormat, ToEncoder } from './encoder-thread.js'
import type { Frame, FrameSource } from './frames.js'

type Writer = (source: FrameSource, scale: number) => AsyncGenerator<Uint8Array>

/** Loaded when it is needed. */
const writers: Record<PixelFormat, () => Promise<Writer>> = {
  mp4: async () => (await import('./mp4.js')).encodeMp4,
  gif: async () => (await import('./gif.js')).encodeGif,
  webp: async () => (await import('./webp.js')).encodeWebp,
  apng: async () => (await import('./apng.js')).encodeApng,
  png: async () => (await import('./png.js')).encodePngs,
  y4m: async () => (await import('./y4m.js')).encodeY4m
}

/** What came and was not yet awaited, or who awaits it. */
class Inbox<T> {
  readonly #items: T[] = []
  #wake: () => void = () => {}

  put(item: T): void {
    this.#items.push(item)
    this.#wake()
  }

  async take(): Promise<T> {
    while (this.#items.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
    return this.#items.shift() as T
  }
}

async function run({ format, scale, source }: EncoderJob): Promise<void> {
  const port = parentPort
  if (port === null) throw new Error('encoder-worker runs in a worker thread')
  const send = (message: FromEncoder, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer)
  const frames = new Inbox<Frame | undefined>()
  const asked = new Inbox<void>()
  port.on('message', (message: ToEncoder) => {
    if (message.type === 'next') asked.put()
    else frames.put(message.frame)
  })
  const read = async function* (): AsyncGenerator<Frame> {
    send({ type: 'frames' })
    for (;;) {
      const frame = await frames.take()
      if (frame === undefined) return
      yield frame
      send({ type: 'taken' })
    }
  }
  try {
    const encode = await writers[format]()
    for await (const piece of encode({ ...source, frames: read, warn: (code, message) => send({ type: 'warning', code, message }), signal: undefined }, scale)) {
      await asked.take()
      // A view of its own bytes alone: a clone would bring along all that lies beside them.
      const data = new Uint8Array(piece)
      send({ type: 'piece', data }, [data.buffer])
    }
    await asked.take()
    send({ type: 'piece', data: undefined })
  } catch (error) {
    send({ type: 'failed', code: errorCode(error), message: errorMessage(error), details: error instanceof VinError ? error.details : {} })
  }
}

void run(workerData as EncoderJob)
