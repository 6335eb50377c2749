// Text of an evaluation: rows of embeddings for the conditional branch, and rows of the checkpoint's y_embedding (or negative embeddings) for the other one.

import { native } from '../errors.js'
import type { Transformer } from '../models/transformer.js'
import type { NativeTensor } from '../native/binding.js'
import { concat } from '../native/ops.js'
import type { Scope } from '../native/tensor.js'

export interface Rows {
  begin: number
  end: number
}

/** Text tensors of a request. A timeline's entries lie one after another; `chunkText` says which rows a chunk's captions are. */
export interface TextConditioning {
  text: NativeTensor
  negativeText?: NativeTensor
  guidanceScale: number
  chunkText?: Rows[]
  chunkNegativeText?: Rows[]
}

/** The first L rows of y_embedding, for each entry of a timeline. */
export function nullText(transformer: Transformer, lengths: readonly number[], scope: Scope): NativeTensor {
  const engine = transformer.engine.native
  const table = scope.add(native(() => transformer.native.weight('y_embedder.y_embedding')))
  const parts = lengths.map((length) => scope.add(native(() => engine.slice(table, 0, 0, length))))
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : scope.add(concat(engine, parts, 0))
}

/** Rows of each entry, one after another. */
function ranges(lengths: readonly number[]): Rows[] {
  let begin = 0
  return lengths.map((length) => ({ begin, end: (begin += length) }))
}

/**
Both branches for entries of text. `entryOfChunk` gives each chunk's entry; with one entry all chunks share it.
Guidance 1 needs the text alone, guidance 0 the other branch alone.
*/
export function conditionText(
  transformer: Transformer,
  entries: readonly NativeTensor[],
  negative: NativeTensor | undefined,
  guidanceScale: number,
  scope: Scope,
  entryOfChunk?: readonly number[]
): TextConditioning {
  const lengths = entries.map(({ shape }) => shape[0] ?? 0)
  const perEntry = entryOfChunk !== undefined && entries.length > 1
  const rows = perEntry ? entryOfChunk.map((entry) => ranges(lengths)[entry] as Rows) : undefined
  const joined = (): NativeTensor => (entries.length === 1 && entries[0] !== undefined ? entries[0] : scope.add(concat(transformer.engine.native, entries, 0)))
  if (guidanceScale === 1) return { text: joined(), guidanceScale: 1, ...(rows === undefined ? {} : { chunkText: rows }) }
  const other = negative ?? nullText(transformer, lengths, scope)
  // Negative embeddings are one text for all chunks; null rows follow the entries.
  const otherRows = negative === undefined ? rows : undefined
  if (guidanceScale === 0) return { text: other, guidanceScale: 1, ...(otherRows === undefined ? {} : { chunkText: otherRows }) }
  return {
    text: joined(),
    negativeText: other,
    guidanceScale,
    ...(rows === undefined ? {} : { chunkText: rows }),
    ...(otherRows === undefined ? {} : { chunkNegativeText: otherRows })
  }
}
