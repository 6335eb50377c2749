import { expect, test } from 'vitest'
import { bytes } from './operands.js'
import { devicesOf, engineOf, testOp, type OpCase } from './test-op.js'

const of = (title: string, [h, w]: [number, number], enlarge: number): OpCase => ({
  title, inputs: { x: bytes([h, w, 3]) }, scalars: { enlarge }, outputs: { y: { shape: [(h * w * enlarge * enlarge * 3) / 2], dtype: 'uint8' } }
})
const rows = [[16, 65.481, 128.553, 24.966], [128, -37.797, -74.203, 112], [128, 112, -93.786, -18.214]] as const
const level = (plane: number, [r, g, b]: number[]): number => {
  const [offset, fr, fg, fb] = rows[plane]!
  return Math.floor(offset + (fr * r! + fg * g! + fb * b!) / 255 + 0.5)
}

testOp('rgb_to_yuv420', {
  cases: [of('odd picture, enlarged', [3, 5], 2), of('three times', [2, 4], 3), of('model', [64, 64], 1), of('empty', [0, 4], 1)],
  reference: ({ x }, { enlarge: s }, { y: shape }) => {
    const [H, W] = [x!.shape[0]! * s!, x!.shape[1]! * s!]
    const pixel = (h: number, w: number) => [0, 1, 2].map((c) => x!.data[(Math.floor(h / s!) * x!.shape[1]! + Math.floor(w / s!)) * 3 + c]!)
    const data = new Float64Array(shape![0]!)
    for (let i = 0; i < H * W; i++) data[i] = level(0, pixel(Math.floor(i / W), i % W))
    for (let i = 0; i < (H * W) / 4; i++) {
      const [h, w] = [2 * Math.floor(i / (W / 2)), 2 * (i % (W / 2))]
      const square = [pixel(h, w), pixel(h, w + 1), pixel(h + 1, w), pixel(h + 1, w + 1)]
      const mean = [0, 1, 2].map((c) => square.reduce((sum, p) => sum + p[c]!, 0) / 4)
      data[H * W + i] = level(1, mean)
      data[(H * W * 5) / 4 + i] = level(2, mean)
    }
    return { y: { shape: shape!, data } }
  },
  tolerance: {}
})

test.each(devicesOf('rgb_to_yuv420'))('%s refuses odd sizes', async (device) => {
  const engine = engineOf(device, 1)
  const { y } = engine.op('rgb_to_yuv420', { y: { shape: [22], dtype: 'uint8' }, x: engine.upload(new Uint8Array(45), [3, 5, 3]), enlarge: 1 })
  await expect(y!.ready()).rejects.toMatchObject({ code: 'VIN_INVALID' })
})
