// RGB → planar Y'CbCr, 8 bits, limited range; BT.601:
//   Y  = 16  + ( 65.481 R + 128.553 G +  24.966 B) / 255
//   Cb = 128 + (−37.797 R −  74.203 G + 112     B) / 255
//   Cr = 128 + (112     R −  93.786 G −  18.214 B) / 255
// In 4:2:0, chroma is taken from the mean of 2 × 2 pixels and rounded once, at the end. The rows of Cb and Cr sum to 0, so greys have chroma 128 exactly.
// No clamp is needed: for 0 ≤ R, G, B ≤ 255 the results lie in 16 … 235 and 16 … 240.

/** Bytes of a 4:2:0 picture; chroma planes of odd sizes are rounded up. */
export function yuv420Bytes(width: number, height: number): number {
  return width * height + 2 * Math.ceil(width / 2) * Math.ceil(height / 2)
}

/** Of R, G and B to Y, Cb and Cr, limited range. */
const bt601 = [65.481, 128.553, 24.966, -37.797, -74.203, 112, 112, -93.786, -18.214] as const
const bt709 = [46.559, 156.629, 15.812, -25.664, -86.336, 112, 112, -101.73, -10.27] as const

/** rgb [height, width, 3] → Y, Cb, Cr [height, width] one after another. */
export function rgbToYuv444(rgb: Uint8Array, standard: 'bt601' | 'bt709' = 'bt601'): Uint8Array {
  const [yr, yg, yb, br, bg, bb, rr, rg, rb] = standard === 'bt601' ? bt601 : bt709
  const pixels = rgb.length / 3
  const yuv = new Uint8Array(rgb.length)
  for (let pixel = 0, i = 0; pixel < pixels; pixel++, i += 3) {
    const [r, g, b] = [rgb[i]!, rgb[i + 1]!, rgb[i + 2]!]
    yuv[pixel] = Math.floor(16.5 + (yr * r + yg * g + yb * b) / 255)
    yuv[pixels + pixel] = Math.floor(128.5 + (br * r + bg * g + bb * b) / 255)
    yuv[2 * pixels + pixel] = Math.floor(128.5 + (rr * r + rg * g + rb * b) / 255)
  }
  return yuv
}

/** rgb [height, width, 3] → Y [height, width], Cb, Cr [⌈height/2⌉, ⌈width/2⌉] one after another. Odd sizes: the last row or column counts twice in its chroma mean. */
export function rgbToYuv420(rgb: Uint8Array, width: number, height: number, yuv = new Uint8Array(yuv420Bytes(width, height))): Uint8Array {
  for (let pixel = 0, i = 0; pixel < width * height; pixel++, i += 3) {
    yuv[pixel] = Math.floor(16.5 + (65.481 * rgb[i]! + 128.553 * rgb[i + 1]! + 24.966 * rgb[i + 2]!) / 255)
  }
  const chromaWidth = Math.ceil(width / 2)
  const chromaHeight = Math.ceil(height / 2)
  let cb = width * height
  let cr = cb + chromaWidth * chromaHeight
  for (let y = 0; y < chromaHeight; y++) {
    const row0 = 2 * y * width * 3
    const row1 = Math.min(2 * y + 1, height - 1) * width * 3
    for (let x = 0; x < chromaWidth; x++) {
      const left = 2 * x * 3
      const right = Math.min(2 * x + 1, width - 1) * 3
      // Sums of four pixels: the division by 4 joins the one by 255.
      const r = rgb[row0 + left]! + rgb[row0 + right]! + rgb[row1 + left]! + rgb[row1 + right]!
      const g = rgb[row0 + left + 1]! + rgb[row0 + right + 1]! + rgb[row1 + left + 1]! + rgb[row1 + right + 1]!
      const b = rgb[row0 + left + 2]! + rgb[row0 + right + 2]! + rgb[row1 + left + 2]! + rgb[row1 + right + 2]!
      yuv[cb++] = Math.floor(128.5 + (-37.797 * r - 74.203 * g + 112 * b) / 1020)
      yuv[cr++] = Math.floor(128.5 + (112 * r - 93.786 * g - 18.214 * b) / 1020)
    }
  }
  return yuv
}
