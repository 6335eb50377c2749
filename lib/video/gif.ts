// GIF by gifenc. One palette serves the whole video, against flicker: a first pass over the frames takes samples for it, a second one writes. Frames are decoded
// twice for that, so that memory stays flat.

import { checkFrame, type Frame, type FrameSource } from './frames.js'

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
  let index = 0
  for await (const frame of source.frames()) {
    checkFrame(frame, index++, source)
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

/** Nearest enlargement of palette indices. */
function enlargeIndices(indices: Uint8Array, width: number, height: number, scale: number): Uint8Array {
  if (scale === 1) return indices
  const result = new Uint8Array(indices.length * scale * scale)
  for (let y = 0; y < height * scale; y++) {
    const row = Math.floor(y / scale) * width
    for (let x = 0; x < width * scale; x++) result[y * width * scale + x] = indices[row + Math.floor(x / scale)]!
  }
  return result
}

/** A delay is a whole number of hundredths of a second. Each frame ends at the rounded time, so the video as a whole keeps its length. */
export function gifDelay(index: number, fps: number): number {
  return Math.round(((index + 1) * 100) / fps) - Math.round((index * 100) / fps)
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
  let index = 0
  for await (const frame of source.frames()) {
    checkFrame(frame, index++, source)
    const indices = enlargeIndices(gifenc.applyPalette(toRgba(frame), palette, 'rgb565'), width, height, scale)
    // Only the first frame brings the palette: it becomes the global one.
    const first = frame.index === 0
    gif.writeFrame(indices, width * scale, height * scale, { first, delay: gifDelay(frame.index, fps) * 10, repeat: 0, ...(first && { palette }) })
    yield gif.bytes()
    gif.reset()
  }
  gif.finish()
  yield gif.bytes()
}
