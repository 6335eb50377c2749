// Whether a file ends where its format says that it does. Where it does not, ffmpeg says so of most containers, but takes any end of a GIF or an Ogg file for the video's.

import { open } from 'node:fs/promises'

/** The byte at a place of a file; undefined behind its end. */
type ByteAt = (at: number) => Promise<number | undefined>

/** True for a GIF or an Ogg file without its end. `format` is ffmpeg's word. */
export async function lacksItsEnd(path: string, format: string | undefined): Promise<boolean> {
  const check = format === 'gif' ? hasTrailer : format === 'ogg' ? hasLastPage : undefined
  if (check === undefined) return false
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const window = Buffer.alloc(65_536)
    let [begin, length] = [0, 0]
    const byteAt: ByteAt = async (at) => {
      if (at < begin || at >= begin + length) {
        begin = at
        length = (await file.read(window, 0, window.length, at)).bytesRead
      }
      return length === 0 ? undefined : window[at - begin]
    }
    return !(await check(byteAt, size))
  } finally {
    await file.close()
  }
}

/** GIF: header of 13 bytes, then extensions (0x21) and pictures (0x2c), each a list of blocks that an empty one ends, then the trailer. */
async function hasTrailer(byteAt: ByteAt): Promise<boolean> {
  const tableBytes = async (at: number): Promise<number> => {
    const flags = (await byteAt(at)) ?? 0
    return (flags & 0x80) === 0 ? 0 : 3 * 2 ** ((flags & 7) + 1)
  }
  let at = 13 + (await tableBytes(10))
  for (;;) {
    const kind = await byteAt(at)
    if (kind === 0x3b) return true
    if (kind === 0x21) at += 2
    else if (kind === 0x2c) at += 11 + (await tableBytes(at + 9))
    else return false
    for (let bytes: number | undefined = 1; bytes !== 0; ) {
      bytes = await byteAt(at)
      if (bytes === undefined) return false
      at += 1 + bytes
    }
  }
}

/** Ogg: the last page, of at most 65,307 bytes, is whole and the last one of its stream. */
async function hasLastPage(byteAt: ByteAt, size: number): Promise<boolean> {
  const magic = [...Buffer.from('OggS').entries()]
  for (let at = Math.max(0, size - 65_307); at <= size - 27; at++) {
    let found = true
    for (const [i, letter] of magic) found &&= (await byteAt(at + i)) === letter
    if (!found) continue
    const segments = (await byteAt(at + 26)) ?? 0
    let end = at + 27 + segments
    for (let i = 0; i < segments; i++) end += (await byteAt(at + 27 + i)) ?? 0
    if (end === size) return (((await byteAt(at + 5)) ?? 0) & 4) !== 0
  }
  return false
}
