// The level of an H.264 stream: what a decoder must be able to do to play it (ITU-T H.264, table A-1). The encoder looks at the size alone.

/** Macroblocks a second, macroblocks a frame, 1000 bits a second and in the buffer; of the baseline profile, counted with NAL units (factor 1200). */
const levels: readonly [level: number, perSecond: number, perFrame: number, rate: number, buffer: number][] = [
  [10, 1485, 99, 64, 175],
  [11, 3000, 396, 192, 500],
  [12, 6000, 396, 384, 1000],
  [13, 11_880, 396, 768, 2000],
  [20, 11_880, 396, 2000, 2000],
  [21, 19_800, 792, 4000, 4000],
  [22, 20_250, 1620, 4000, 4000],
  [30, 40_500, 1620, 10_000, 10_000],
  [31, 108_000, 3600, 14_000, 14_000],
  [32, 216_000, 5120, 20_000, 20_000],
  [40, 245_760, 8192, 20_000, 25_000],
  [41, 245_760, 8192, 50_000, 62_500],
  [42, 522_240, 8704, 50_000, 62_500],
  [50, 589_824, 22_080, 135_000, 135_000],
  [51, 983_040, 36_864, 240_000, 240_000],
  [52, 2_073_600, 36_864, 240_000, 240_000],
  [60, 4_177_920, 139_264, 240_000, 240_000],
  [61, 8_355_840, 139_264, 480_000, 480_000],
  [62, 16_711_680, 139_264, 800_000, 800_000]
]

const nalFactor = 1200

/** The lowest level that a video fits; `sizes` are the bytes of its frames. One that fits none gets the highest. */
export function h264Level({ width, height, fps, sizes }: { width: number; height: number; fps: number; sizes: readonly number[] }): number {
  const [columns, rows] = [Math.ceil(width / 16), Math.ceil(height / 16)]
  const frame = columns * rows
  const peak = 8 * mostInOneSecond(sizes, fps)
  const largest = 8 * sizes.reduce((most, size) => Math.max(most, size), 0)
  const fitting = levels.find(
    ([, perSecond, perFrame, rate, buffer]) =>
      frame <= perFrame && Math.max(columns, rows) <= Math.sqrt(8 * perFrame) && frame * fps <= perSecond && peak <= rate * nalFactor && largest <= buffer * nalFactor
  )
  return (fitting ?? levels.at(-1)!)[0]
}

function mostInOneSecond(sizes: readonly number[], fps: number): number {
  const window = Math.max(1, Math.round(fps))
  let sum = 0
  let most = 0
  sizes.forEach((size, i) => {
    sum += size - (sizes[i - window] ?? 0)
    most = Math.max(most, sum)
  })
  return most
}
