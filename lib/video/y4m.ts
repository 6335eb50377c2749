// YUV4MPEG2, uncompressed, limited range: what encoders read from a pipe. Chroma is kept for every pixel (C444), so nothing is lost before the encoder and odd
// sizes stay as they are. The header has no word for the matrix: whoever reads a file without one takes BT.709 from 720 lines on.

import { frameRateFraction } from './frame-rate.js'
import { enlargedFrames, type FrameSource } from './frames.js'
import { rgbToYuv444 } from './yuv.js'

export async function* encodeY4m(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const width = source.width * scale
  const height = source.height * scale
  const standard = height >= 720 ? 'bt709' : 'bt601'
  const text = new TextEncoder()
  yield text.encode(`YUV4MPEG2 W${width} H${height} F${frameRateFraction(source.fps).join(':')} Ip A1:1 C444 XCOLORRANGE=LIMITED\n`)
  const frameHeader = text.encode('FRAME\n')
  for await (const { data } of enlargedFrames(source, scale)) {
    yield frameHeader
    yield rgbToYuv444(data, standard)
  }
}
