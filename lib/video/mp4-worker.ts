// The worker that encodes one H.264 mp4: enlarges, converts to 4:2:0, encodes, and sends the finished file. The WebAssembly module is fresh with the worker
// and goes with it. Every frame is answered with 'encoded', so that the other side can keep a few in flight and no more.

import { parentPort, workerData } from 'node:worker_threads'
import { enlarge, padToEven } from './frames.js'
import { finishMp4 } from './mp4-boxes.js'
import type { Mp4Settings, ToWorker } from './mp4.js'
import { rgbToYuv420 } from './yuv.js'

async function run(settings: Mp4Settings): Promise<void> {
  const port = parentPort
  if (port === null) throw new Error('mp4-worker runs in a worker thread')
  const { default: module } = await import('h264-mp4-encoder')
  const encoder = await module.createH264MP4Encoder()
  const width = settings.width * settings.scale
  const height = settings.height * settings.scale
  encoder.width = width + (width & 1)
  encoder.height = height + (height & 1)
  encoder.frameRate = settings.fps
  encoder.quantizationParameter = settings.qp
  encoder.groupOfPictures = settings.keyframeInterval
  encoder.initialize()
  const yuv = new Uint8Array((encoder.width * encoder.height * 3) / 2)
  port.on('message', (message: ToWorker) => {
    if (message.type === 'frame') {
      const picture = padToEven(enlarge(message.data, settings.width, settings.height, settings.scale), width, height)
      encoder.addFrameYuv(rgbToYuv420(picture.data, picture.width, picture.height, yuv))
      port.postMessage({ type: 'encoded' })
      return
    }
    encoder.finalize()
    const file = finishMp4(encoder.FS.readFile(encoder.outputFilename), encoder.height)
    encoder.delete()
    port.postMessage({ type: 'file', data: file })
    port.close()
  })
  port.postMessage({ type: 'ready' })
}

// A rejection is uncaught here, and reaches the other side as the worker's error event.
void run(workerData as Mp4Settings)
