// Where the heads of the VIN look: their attention over the keyframes of a finished video, as one small picture below the video's own frames.

import type { TensorData } from '../native/tensor.js'
import type { VideoPipeline } from '../pipeline/pipeline.js'
import type { Frame, Picture } from '../video/index.js'
import { coverAndCrop } from '../video/image.js'

/** More do not fit beside each other on a page. */
const maxColumns = 8
const maxHeads = 16
/** Pixels of the shorter side of a tile, at most, and between tiles. */
const tileSide = 48
const gap = 2
/** Nearly without noise. */
const TIMESTEP = 1

export interface AttentionPicture {
  /** Latent frames of the columns. */
  keyframes: number[]
  /** Rows below the video's own frames; where there are no frames, all rows. */
  heads: number
  picture: Picture
}

/** Keyframes that are shown, evenly picked. */
export function shownKeyframes(keyframes: readonly number[]): number[] {
  const count = Math.min(maxColumns, keyframes.length)
  return Array.from({ length: count }, (_, i) => keyframes[count === 1 ? 0 : Math.round((i * (keyframes.length - 1)) / (count - 1))]!)
}

/**
Each head's attention, mean over the global tokens, by patch of the latents. Heads are shown each by its own maximum: how much of a keyframe a head reads compares within a
row, not between rows. The encoder reads no text, so none is given.

@param frames the video's frames at `shownKeyframes`; none: there are no pixels
*/
export async function attentionPicture(
  pipeline: VideoPipeline,
  latents: TensorData,
  keyframes: readonly number[],
  frames: readonly Frame[],
  options: { fps?: number | undefined; keyframeInterval?: number | undefined; signal?: AbortSignal | undefined }
): Promise<AttentionPicture> {
  const wide = pipeline.transformer.config.caption_channels
  const { encoder } = await pipeline.attention({ latents, timestep: TIMESTEP, promptEmbeds: { data: new Float32Array(wide), shape: [1, wide] }, ...options })
  const [, , height = 0, width = 0] = latents.shape
  const [rows, columns] = [Math.ceil(height / 2), Math.ceil(width / 2)]
  const scale = Math.max(1, Math.floor(tileSide / Math.min(rows, columns)))
  const tile = { width: columns * scale, height: rows * scale }
  const shown = shownKeyframes(keyframes)
  const heads = Math.min(maxHeads, encoder.shape[0] ?? 0)
  const sheet = new Sheet(shown.length, heads + (frames.length > 0 ? 1 : 0), tile)
  for (const [column, frame] of frames.entries()) {
    const planes = coverAndCrop(frame, tile.width, tile.height)
    const size = tile.width * tile.height
    sheet.draw(0, column, (x, y, channel) => Math.round(127.5 * (planes[channel * size + y * tile.width + x]! + 1)))
  }
  for (let head = 0; head < heads; head++) {
    const maps = shown.map((frame) => headMap(encoder, head, keyframes.indexOf(frame), rows * columns))
    const most = Math.max(...maps.map((map) => Math.max(...map))) || 1
    for (const [column, map] of maps.entries()) sheet.draw(head + (frames.length > 0 ? 1 : 0), column, (x, y) => Math.round((255 * map[Math.floor(y / scale) * columns + Math.floor(x / scale)]!) / most))
  }
  return { keyframes: shown, heads, picture: sheet.picture }
}

/** [heads, G, keys] → of one head and keyframe, mean over G. */
function headMap({ data, shape }: TensorData, head: number, keyframe: number, tokens: number): Float64Array {
  const [, G = 0, keys = 0] = shape
  const map = new Float64Array(tokens)
  for (let g = 0; g < G; g++) for (let token = 0; token < tokens; token++) map[token]! += data[(head * G + g) * keys + keyframe * tokens + token]! / G
  return map
}

/** Tiles with gaps between them. */
class Sheet {
  readonly picture: Picture
  readonly #tile: { width: number; height: number }

  constructor(columns: number, rows: number, tile: { width: number; height: number }) {
    this.#tile = tile
    const [width, height] = [columns * (tile.width + gap) - gap, rows * (tile.height + gap) - gap]
    this.picture = { width, height, data: new Uint8Array(3 * width * height).fill(128) }
  }

  draw(row: number, column: number, value: (x: number, y: number, channel: number) => number): void {
    const { width, height } = this.#tile
    for (let y = 0; y < height; y++) {
      const start = (row * (height + gap) + y) * this.picture.width + column * (width + gap)
      for (let x = 0; x < width; x++) for (let channel = 0; channel < 3; channel++) this.picture.data[3 * (start + x) + channel] = value(x, y, channel)
    }
  }
}
