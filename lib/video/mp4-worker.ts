// The worker that encodes one H.264 mp4: enlarges, converts to 4:2:0, encodes, and sends the finished file in pieces. The WebAssembly module is fresh with the
// worker and goes with it. Every frame is answered with 'encoded', so that the other side can keep a few in flight and no more; a piece is sent when it is asked for.

import { Buffer } from 'node:buffer'
import { parentPort, workerData } from 'node:worker_threads'
import type { H264MP4Encoder } from 'h264-mp4-encoder'
import { enlarge, padToEven } from './frames.js'
import { finishedMp4 } from './mp4-boxes.js'
import type { Mp4File } from './mp4-boxes.js'
import type { FromWorker, Mp4Settings, ToWorker } from './mp4.js'
import { rgbToYuv420 } from './yuv.js'

/** The module's file, of which nothing but what is read is copied. */
function openFile({ FS, outputFilename }: H264MP4Encoder): Mp4File {
  const stream = FS.open(outputFilename, 'r')
  return {
    size: (FS.stat(outputFilename) as { size: number }).size,
    read(position, length) {
      const bytes = Buffer.alloc(length)
      FS.read(stream, bytes, 0, length, position)
      return bytes
    }
  }
}

async function run(settings: Mp4Settings): Promise<void> {
  const port = parentPort
  if (port === null) throw new Error('mp4-worker runs in a worker thread')
  const { default: module } = await import('h264-mp4-encoder')
  const encoder = await module.createH264MP4Encoder()
  const width = settings.width * settings.scale
  const height = settings.height * settings.scale
  encoder.width = width + (width & 1)
  encoder.height = height + (height & 1)
  // A whole number to the encoder; the finished file says what it really is.
  encoder.frameRate = Math.max(1, Math.round(settings.fps))
  encoder.quantizationParameter = settings.qp
  encoder.groupOfPictures = settings.keyframeInterval
  encoder.initialize()
  const yuv = new Uint8Array((encoder.width * encoder.height * 3) / 2)
  let pieces: Iterator<Buffer> | undefined
  port.on('message', (message: ToWorker) => {
    if (message.type === 'frame') {
      const picture = padToEven(enlarge(message.data, settings.width, settings.height, settings.scale), width, height)
      encoder.addFrameYuv(rgbToYuv420(picture.data, picture.width, picture.height, yuv))
      port.postMessage({ type: 'encoded' } satisfies FromWorker)
      return
    }
    if (pieces === undefined) {
      encoder.finalize()
      pieces = finishedMp4(openFile(encoder), { width: encoder.width, height: encoder.height, fps: settings.fps })
    }
    const { done, value } = pieces.next()
    port.postMessage({ type: 'piece', data: done === true ? undefined : value } satisfies FromWorker)
  })
  port.postMessage({ type: 'ready' } satisfies FromWorker)
}

// A rejection is uncaught here, and reaches the other side as the worker's error event.
void run(workerData as Mp4Settings)
