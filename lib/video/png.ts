// PNG by fast-png: one picture, or a folder of them, `out.png` → out/000000.png, out/000001.png, …

import { enlargedFrames, type FrameSource, type Picture } from './frames.js'

export async function encodePng({ data, width, height }: Picture): Promise<Uint8Array> {
  const { encode } = await import('fast-png')
  return encode({ data, width, height, channels: 3, depth: 8 })
}

/** The file of each frame. */
export async function* encodePngs(source: FrameSource, scale: number): AsyncGenerator<Uint8Array> {
  for await (const frame of enlargedFrames(source, scale)) yield await encodePng(frame)
}

/** Pictures with their names in a sequence. */
export async function* numberPngs(pictures: AsyncIterable<Uint8Array>): AsyncGenerator<{ name: string; bytes: Uint8Array }> {
  let index = 0
  for await (const bytes of pictures) yield { name: `${String(index++).padStart(6, '0')}.png`, bytes }
}

/** A file of such a sequence. */
export function isPngOfSequence(name: string): boolean {
  return /^\d{6}\.png$/.test(name)
}
