import { expect, test } from 'vitest'
import { enlarge, padToEven } from '../../lib/video/frames.js'
import { rgbToYuv420, yuv420Bytes } from '../../lib/video/yuv.js'

/** The formula written out for one 2 × 2 block, in integers: all coefficients times 1000, so that halves are exact. */
function block(pixels: number[][]): number[] {
  const nearest = (numerator: bigint, denominator: bigint): number => {
    const twice = 2n * numerator + denominator
    const quotient = twice / (2n * denominator)
    return Number(twice < 0n && twice % (2n * denominator) !== 0n ? quotient - 1n : quotient)
  }
  const dot = (k: bigint[], p: number[]): bigint => k.reduce((sum, value, i) => sum + value * BigInt(p[i]!), 0n)
  const sum = [0, 1, 2].map((c) => pixels.reduce((s, p) => s + p[c]!, 0))
  const luma = pixels.map((p) => 16 + nearest(dot([65481n, 128553n, 24966n], p), 255_000n))
  const cb = 128 + nearest(dot([-37797n, -74203n, 112000n], sum), 1_020_000n)
  const cr = 128 + nearest(dot([112000n, -93786n, -18214n], sum), 1_020_000n)
  return [...luma, cb, cr]
}

test('the conversion is the formula, rounded once, for extreme and for random blocks', () => {
  const blocks: number[][][] = []
  for (const r of [0, 255]) for (const g of [0, 255]) for (const b of [0, 255]) blocks.push(Array.from({ length: 4 }, () => [r, g, b]))
  let state = 1
  const next = (): number => (state = (state * 48271) % 2147483647) & 255
  for (let i = 0; i < 20_000; i++) blocks.push(Array.from({ length: 4 }, () => [next(), next(), next()]))
  for (const pixels of blocks) expect([...rgbToYuv420(Uint8Array.from(pixels.flat()), 2, 2)]).toEqual(block(pixels))
})

test('white is 235, black is 16, and greys have no colour', () => {
  for (let grey = 0; grey < 256; grey++) {
    const yuv = rgbToYuv420(new Uint8Array(12).fill(grey), 2, 2)
    expect([...yuv.subarray(4)]).toEqual([128, 128])
    if (grey === 255) expect(yuv[0]).toBe(235)
    if (grey === 0) expect(yuv[0]).toBe(16)
  }
})

test('planes lie one after another and odd sizes round chroma up', () => {
  const rgb = Uint8Array.from({ length: 5 * 3 * 3 }, (_, i) => (i * 37) & 255)
  const yuv = rgbToYuv420(rgb, 5, 3)
  expect(yuv.length).toBe(yuv420Bytes(5, 3))
  expect(yuv.length).toBe(15 + 2 * 6)
  const padded = padToEven(rgb, 5, 3)
  const even = rgbToYuv420(padded.data, 6, 4)
  expect([...yuv.subarray(15)]).toEqual([...even.subarray(24)])
})

test('padding repeats the last column and the last row', () => {
  const { data, width, height } = padToEven(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9]), 3, 1)
  expect([width, height]).toEqual([4, 2])
  expect([...data]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 7, 8, 9])
})

test('enlargement repeats pixels', () => {
  const large = enlarge(Uint8Array.from({ length: 2 * 3 * 3 }, (_, i) => i), 2, 3, 4)
  expect(large.length).toBe(8 * 12 * 3)
  for (let y = 0; y < 12; y++) for (let x = 0; x < 8; x++) for (let c = 0; c < 3; c++) expect(large[(y * 8 + x) * 3 + c]).toBe((Math.floor(y / 4) * 2 + Math.floor(x / 4)) * 3 + c)
})
