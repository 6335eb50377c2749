// Text of an evaluation: rows of embeddings for the conditional branch, and rows of the checkpoint's y_embedding (or negative embeddings) for the other one.

import type { Transformer } from '../models/transformer.js'
import type { NativeTensor, Rows } from '../native/binding.js'
import { concat, linearCombination, type Term } from '../native/ops.js'
import type { Scope } from '../native/tensor.js'

/**
Text tensors of a request. A timeline's entries lie one after another, then the blends that chunks take where an entry fades in; `chunkText` says which rows
a chunk's captions are, and the VIN reads the entries alone, the first `vinTextRows` rows.
*/
export interface TextConditioning<T = NativeTensor> {
  text: T
  negativeText?: T
  guidanceScale: number
  chunkText?: Rows[]
  chunkNegativeText?: Rows[]
  vinTextRows?: number
  vinNegativeTextRows?: number
}

/** The first L rows of y_embedding, for each of some texts. */
export function nullText(transformer: Transformer, lengths: readonly number[], scope: Scope): NativeTensor {
  return joined(transformer, lengths.map((length) => nullRows(transformer, 0, length, scope)), scope)
}

function nullRows(transformer: Transformer, begin: number, end: number, scope: Scope): NativeTensor {
  const table = scope.add(transformer.native.weight('y_embedder.y_embedding'))
  return scope.add(transformer.engine.native.slice(table, 0, begin, end))
}

function joined({ engine }: Transformer, texts: readonly NativeTensor[], scope: Scope): NativeTensor {
  return texts.length === 1 && texts[0] !== undefined ? texts[0] : scope.add(concat(engine.native, texts, 0))
}

/** Rows of each text, one after another. */
function ranges(lengths: readonly number[]): Rows[] {
  let begin = 0
  return lengths.map((length) => ({ begin, end: (begin += length) }))
}

/** The texts of a timeline: its entries, then the blends. */
interface TimelineTexts {
  /** Rows of all texts. */
  lengths: number[]
  /** Shares of each blend. */
  blends: readonly number[][]
  /** Each chunk's text. */
  ofChunk: number[]
}

function timelineTexts(entryLengths: readonly number[], sharesOfChunks: readonly number[][]): TimelineTexts {
  const lengths = [...entryLengths]
  const blends: number[][] = []
  const ofChunk = sharesOfChunks.map((shares) => {
    const alone = shares.indexOf(1)
    if (alone >= 0) return alone
    blends.push(shares)
    return lengths.push(Math.max(...entryLengths.filter((_, entry) => (shares[entry] ?? 0) > 0))) - 1
  })
  return { lengths, blends, ofChunk }
}

/** Σ share · entry, row by row. A shorter entry goes on with rows of y_embedding: no word stands there. */
function blendText(transformer: Transformer, entries: readonly NativeTensor[], shares: readonly number[], length: number, scope: Scope): NativeTensor {
  const engine = transformer.engine.native
  const terms = entries.flatMap((entry, i): Term[] => {
    const factor = shares[i] ?? 0
    const rows = entry.shape[0] ?? 0
    if (factor === 0) return []
    return [{ factor, tensor: rows === length ? entry : joined(transformer, [entry, nullRows(transformer, rows, length, scope)], scope) }]
  })
  let sum = scope.add(linearCombination(engine, terms.slice(0, 4)))
  for (let i = 4; i < terms.length; i += 3) sum = scope.add(linearCombination(engine, [{ factor: 1, tensor: sum }, ...terms.slice(i, i + 3)]))
  return sum
}

/**
Both branches for entries of text. `sharesOfChunks` gives each chunk's share of every entry; with one entry all chunks share it.
Guidance 1 needs the text alone, guidance 0 the other branch alone, unless `anchored`: then another guidance reads the text.
*/
export function conditionText(
  transformer: Transformer,
  entries: readonly NativeTensor[],
  negative: NativeTensor | undefined,
  guidanceScale: number,
  scope: Scope,
  sharesOfChunks?: readonly number[][],
  anchored = false
): TextConditioning {
  const entryLengths = entries.map(({ shape }) => shape[0] ?? 0)
  const { lengths, blends, ofChunk } = timelineTexts(entryLengths, sharesOfChunks ?? [])
  const places = ranges(lengths)
  const chunkText = entries.length > 1 && ofChunk.length > 0 ? ofChunk.map((text) => places[text] as Rows) : undefined
  const vinTextRows = blends.length > 0 ? places[entries.length - 1]?.end : undefined
  const text = (): NativeTensor => {
    const blended = blends.map((shares, i) => blendText(transformer, entries, shares, lengths[entries.length + i] ?? 0, scope))
    return joined(transformer, [...entries, ...blended], scope)
  }
  const rows = { ...(chunkText === undefined ? {} : { chunkText }), ...(vinTextRows === undefined ? {} : { vinTextRows }) }
  if (guidanceScale === 1) return { text: text(), guidanceScale: 1, ...rows }
  // Negative embeddings are one text for all chunks; null rows follow the entries and blends.
  if (guidanceScale === 0 && !anchored) return negative === undefined ? { text: nullText(transformer, lengths, scope), guidanceScale: 1, ...rows } : { text: negative, guidanceScale: 1 }
  return {
    text: text(),
    negativeText: negative ?? nullText(transformer, lengths, scope),
    guidanceScale,
    ...rows,
    ...(negative === undefined && chunkText !== undefined ? { chunkNegativeText: chunkText } : {}),
    ...(negative === undefined && vinTextRows !== undefined ? { vinNegativeTextRows: vinTextRows } : {})
  }
}
