// SentencePiece's normalizer as tokenizers keeps it: a double-array trie from UTF-8 prefixes to places in a list of replacements.
//   bytes of the trie (uint32), the trie (uint32 each), the replacements, each ended by a zero byte

import { Buffer } from 'node:buffer'
import { formatError } from './content.js'

const maxKept = 4096

export class Precompiled {
  readonly #trie: Uint32Array
  readonly #replacements: Buffer
  readonly #found = new Map<string, string | undefined>()
  readonly #graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })

  constructor(charsmap: string, file: string) {
    const bytes = Buffer.from(charsmap, 'base64')
    const size = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0
    if (size < 4 || size % 4 !== 0 || 4 + size > bytes.length) throw formatError(file, 'a trie and its replacements for precompiled_charsmap', `${bytes.length} bytes with a trie of ${size}`)
    this.#trie = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i))
    this.#replacements = bytes.subarray(4 + size)
  }

  /** Bytes of the longest replacement. */
  get longest(): number {
    let longest = 0
    for (let at = 0; at < this.#replacements.length; ) {
      const end = this.#endOf(at)
      longest = Math.max(longest, end - at)
      at = end + 1
    }
    return longest
  }

  #endOf(at: number): number {
    const end = this.#replacements.indexOf(0, at)
    return end === -1 ? this.#replacements.length : end
  }

  /** The replacement of the shortest prefix that has one; for all of the text, as SentencePiece's readers do. */
  #replacement(text: string): string | undefined {
    const trie = this.#trie
    const offset = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)
    let node = offset(trie[0]!)
    for (const byte of Buffer.from(text)) {
      if (byte === 0) return undefined
      node ^= byte
      const unit = trie[node]
      // The label, with the bit that marks a leaf's value.
      if (unit === undefined || (unit & 0x800000ff) !== byte) return undefined
      node ^= offset(unit)
      if ((unit & 0x100) === 0) continue
      const at = (trie[node] ?? 0) & 0x7fffffff
      return at >= this.#replacements.length ? '' : this.#replacements.toString('utf8', at, this.#endOf(at))
    }
    return undefined
  }

  /** Of one grapheme or character; most texts hold few different ones. */
  #kept(text: string): string | undefined {
    if (this.#found.has(text)) return this.#found.get(text)
    const replacement = this.#replacement(text)
    if (this.#found.size < maxKept) this.#found.set(text, replacement)
    return replacement
  }

  #characters(text: string): string {
    let result = ''
    for (const character of text) result += this.#kept(character) ?? character
    return result
  }

  /** Grapheme by grapheme where one is short and has a replacement, else character by character. */
  normalize(text: string): string {
    let result = ''
    let done = 0
    // Characters of ASCII are graphemes, but for the last before another.
    for (const ascii of text.matchAll(/[ -~]+(?=[ -~]|$)/g)) {
      result += this.#graphemeByGrapheme(text.slice(done, ascii.index)) + this.#characters(ascii[0])
      done = ascii.index + ascii[0].length
    }
    return result + this.#graphemeByGrapheme(text.slice(done))
  }

  #graphemeByGrapheme(text: string): string {
    if (text === '') return ''
    let result = ''
    for (const { segment } of this.#graphemes.segment(text)) result += (Buffer.byteLength(segment) < 6 ? this.#kept(segment) : undefined) ?? this.#characters(segment)
    return result
  }
}
