// The characters that stand for bytes in byte-level vocabularies: the printable ones of Latin-1 for themselves, the others from U+0100 on, in order.

import { Buffer } from 'node:buffer'

const printable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae

const characters: readonly string[] = (() => {
  let others = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : others++))
})()

/** The UTF-8 of a text, a character a byte. */
export function bytesAsCharacters(text: string): string {
  let result = ''
  for (const byte of Buffer.from(text)) result += characters[byte]!
  return result
}
