// Byte-pair encoding: the characters of a piece, then of all neighbours that may be merged those of the earliest merge, the leftmost first, until none may.

import { notSupported } from '../../errors.js'
import { Fields } from './content.js'
import { idsOfBytes } from './words.js'
import type { Model } from './words.js'

interface Merge {
  rank: number
  id: number
}

/** Ids are below 2²⁵. */
const pairKey = (left: number, right: number): number => left * 2 ** 25 + right

/** `merges` names pairs of tokens, and has been checked. */
export function readBpe(fields: Fields, ids: ReadonlyMap<string, number>, unknownId: number | undefined): Model {
  const dropout = fields.get('dropout')
  if (dropout !== undefined && dropout !== 0) throw notSupported('dropout', `Expected null for dropout of BPE in ${fields.file} but found ${JSON.stringify(dropout)}: it draws ids at random`)
  const prefix = fields.text('continuing_subword_prefix', '')
  const suffix = fields.text('end_of_word_suffix', '')
  const fuse = fields.boolean('fuse_unk', false)
  const whole = fields.boolean('ignore_merges', false)
  const bytes = fields.boolean('byte_fallback', false) ? idsOfBytes(ids) : undefined
  const merges = new Map<number, Merge>()
  ;((fields.get('merges') ?? []) as (string | string[])[]).forEach((merge, rank) => {
    const [left, right] = (typeof merge === 'string' ? merge.split(' ') : merge) as [string, string]
    merges.set(pairKey(ids.get(left)!, ids.get(right)!), { rank, id: ids.get(left + right.slice(prefix.length))! })
  })

  const symbols = (piece: string): number[] => {
    const characters = [...piece]
    const result: number[] = []
    let unknown = false
    characters.forEach((character, i) => {
      const text = `${i > 0 ? prefix : ''}${character}${i === characters.length - 1 ? suffix : ''}`
      const id = ids.get(text)
      const fallback = id === undefined ? bytes?.(text) : undefined
      if (id !== undefined) result.push(id)
      else if (fallback !== undefined) result.push(...fallback)
      else if (unknownId !== undefined && !(unknown && fuse)) result.push(unknownId)
      unknown = id === undefined && fallback === undefined
    })
    return result
  }

  return (piece) => {
    const known = whole ? ids.get(piece) : undefined
    return known !== undefined ? [known] : mergeAll(symbols(piece), merges)
  }
}

interface Candidate {
  rank: number
  at: number
  left: number
  right: number
}

const earlier = (a: Candidate, b: Candidate): boolean => a.rank < b.rank || (a.rank === b.rank && a.at < b.at)

/** A binary heap: a piece without blanks may have thousands of characters. */
class Candidates {
  readonly #heap: Candidate[] = []

  push(candidate: Candidate): void {
    const heap = this.#heap
    let at = heap.push(candidate) - 1
    for (let up = (at - 1) >> 1; at > 0 && earlier(candidate, heap[up]!); up = (at - 1) >> 1) {
      heap[at] = heap[up]!
      at = up
    }
    heap[at] = candidate
  }

  pop(): Candidate | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && earlier(heap[child + 1]!, heap[child]!)) child++
      if (!earlier(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function mergeAll(symbols: number[], merges: ReadonlyMap<number, Merge>): number[] {
  const next = symbols.map((_, i) => i + 1)
  const previous = symbols.map((_, i) => i - 1)
  const end = symbols.length
  const candidates = new Candidates()
  const offer = (at: number): void => {
    const after = next[at]!
    if (at < 0 || after >= end) return
    const merge = merges.get(pairKey(symbols[at]!, symbols[after]!))
    if (merge !== undefined) candidates.push({ rank: merge.rank, at, left: symbols[at]!, right: symbols[after]! })
  }
  for (let i = 0; i + 1 < end; i++) offer(i)
  const gone = -1
  for (let found = candidates.pop(); found !== undefined; found = candidates.pop()) {
    const { at, left, right } = found
    const after = next[at]!
    // One of the two has been merged with another since.
    if (symbols[at] !== left || after >= end || symbols[after] !== right) continue
    symbols[at] = merges.get(pairKey(left, right))!.id
    symbols[after] = gone
    next[at] = next[after]!
    if (next[at] < end) previous[next[at]] = at
    offer(previous[at]!)
    offer(at)
  }
  return symbols.filter((id) => id !== gone)
}
