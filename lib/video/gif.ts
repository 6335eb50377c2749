// GIF by gifenc. One palette serves the whole video, against flicker: a first pass over the frames takes samples for it, a second one writes. Frames are decoded
// twice for that, so that memory stays flat.

import { frameDelay } from './frame-rate.js'
import { enlarge, type Frame, type FrameSource } from './frames.js'

/** Pixels that the palette is made from; more of them only cost time. */
const maxSamples = 2 ** 19

/** Pixels at equal distances over the whole video, RGBA. */
async function samplePixels(source: FrameSource): Promise<Uint8Array> {
  const pixels = source.width * source.height * source.numFrames
  const distance = Math.max(1, Math.ceil(pixels / maxSamples))
  const samples = new Uint8Array(Math.ceil(pixels / distance) * 4)
  let next = 0
  let written = 0
  let seen = 0
  for await (const frame of source.frames()) {
    const count = frame.width * frame.height
    for (; next < seen + count; next += distance) {
      const at = (next - seen) * 3
      samples.set([frame.data[at]!, frame.data[at + 1]!, frame.data[at + 2]!, 255], written)
      written += 4
    }
    seen += count
  }
  return samples.subarray(0, written)
}

function toRgba({ data }: Frame): Uint8Array {
  const rgba = new Uint8Array((data.length / 3) * 4).fill(255)
  for (let i = 0, k = 0; i < data.length; i += 3, k += 4) {
    rgba[k] = data[i]!
    rgba[k + 1] = data[i + 1]!
    rgba[k + 2] = data[i + 2]!
  }
  return rgba
}

export async function* encodeGif(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  const module = await import('gifenc')
  // CommonJS: loaders differ in whether its functions are on the module or on its default.
  const gifenc = 'quantize' in module ? (module as unknown as typeof module.default) : module.default
  const { width, height, fps } = source
  const palette = gifenc.quantize(await samplePixels(source), 256, { format: 'rgb565' })
  // Manual mode: `reset` between frames would make the automatic one write a header before each.
  const gif = gifenc.GIFEncoder({ auto: false })
  gif.writeHeader()
  for await (const frame of source.frames()) {
    const indices = enlarge(gifenc.applyPalette(toRgba(frame), palette, 'rgb565'), width, height, scale, 1)
    // Only the first frame brings the palette: it becomes the global one.
    const first = frame.index === 0
    gif.writeFrame(indices, width * scale, height * scale, { first, delay: 10 * frameDelay(frame.index, fps, 100), repeat: 0, ...(first && { palette }) })
    yield gif.bytes()
    gif.reset()
  }
  gif.finish()
  yield gif.bytes()
}
