// Words to which a text encoder gives nearly one output did not part by training on. Drawn anew they start apart, and a frozen encoder keeps them so.

import { rangeError } from '../../errors.js'
import type { TextEncoder } from '../../models/text-encoder.js'
import type { Tokenizer } from '../../models/tokenizer.js'
import { copyInto } from '../../native/ops.js'
import { PhiloxRandom, streams } from '../random.js'

/**
Embeddings of `words` drawn anew in place: normals with the deviation of the whole table, one block of the stream for each id.

@throws RangeError for a word that the tokenizer does not know as one token
*/
export async function redrawWords(encoder: TextEncoder, tokenizer: Tokenizer, words: readonly string[], seed: number): Promise<void> {
  const target = encoder.native.weight('shared.weight')
  try {
    const { data, shape } = await target.read()
    const table = Float32Array.from(data as ArrayLike<number>)
    const width = shape[1]!
    const deviation = Math.sqrt(table.reduce((sum, value) => sum + value ** 2, 0) / table.length)
    for (const word of words) {
      const { ids, unknown } = tokenizer.encode(word)
      if (unknown.length > 0 || ids.length !== 2) throw rangeError(`Expected words of the vocabulary for --redraw but received ${JSON.stringify(word)}; the model knows: ${tokenizer.vocabulary.join(', ')}`)
      const id = ids[0]!
      table.set(
        new PhiloxRandom(seed, streams.embedding, id).normals(width).map((value) => deviation * value),
        id * width
      )
    }
    const source = encoder.engine.native.upload(table, shape)
    copyInto(encoder.engine.native, target, source)
    source.dispose()
  } finally {
    target.dispose()
  }
}
