// H.264 mp4 by h264-mp4-encoder (WebAssembly), fed with our own 4:2:0 conversion (its own one is too dark). Until the last frame the file lies, compressed, in the
// module's memory: frames × pixels are bounded before anything starts. The module is fresh with the worker that this runs in, and goes with it.

import { Buffer } from 'node:buffer'
import type { H264MP4Encoder } from 'h264-mp4-encoder'
import { VinError } from '../errors.js'
import { enlargedFrames, padToEven, type FrameSource } from './frames.js'
import { finishedMp4, type Mp4File } from './mp4-boxes.js'
import { rgbToYuv420 } from './yuv.js'

/** Pixels of all frames together. At qp 20 even noise stays below a byte a pixel, and a file of 2 GiB is what one buffer of the module can hold. */
const maxPixels = 2 ** 31
const quality = 20

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

export async function* encodeMp4(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const { fps, numFrames } = source
  const width = source.width * scale
  const height = source.height * scale
  const pixels = numFrames * width * height
  if (pixels > maxPixels) {
    throw new VinError(
      'ERR_VIN_OUT_OF_MEMORY',
      `Expected at most ${maxPixels} pixels in all frames of an mp4 but ${numFrames} frames of ${width} × ${height} hold ${pixels}; use a smaller scale, or save .y4m and encode it with ffmpeg`,
      { asked: pixels, free: maxPixels }
    )
  }
  const even = { width: width + (width & 1), height: height + (height & 1) }
  if (even.width !== width || even.height !== height) {
    source.warn('odd-size', `mp4 holds even sizes only: the last ${even.width !== width ? 'column' : 'row'} is repeated, and the file is ${even.width} × ${even.height} instead of ${width} × ${height}`)
  }
  const { default: module } = await import('h264-mp4-encoder')
  const encoder = await module.createH264MP4Encoder()
  encoder.width = even.width
  encoder.height = even.height
  // A whole number to the encoder; the finished file says what it really is.
  encoder.frameRate = Math.max(1, Math.round(fps))
  encoder.quantizationParameter = quality
  // A keyframe every second.
  encoder.groupOfPictures = Math.max(1, Math.round(fps))
  encoder.initialize()
  const yuv = new Uint8Array((even.width * even.height * 3) / 2)
  for await (const { data } of enlargedFrames(source, scale)) {
    const picture = padToEven(data, width, height)
    encoder.addFrameYuv(rgbToYuv420(picture.data, picture.width, picture.height, yuv))
  }
  encoder.finalize()
  yield* finishedMp4(openFile(encoder), { ...even, fps })
}
