// Words to which a text encoder gives nearly one output did not part by training on. Drawn anew they start apart, and a frozen encoder keeps them so.

import type { TextEncoder, Tokenizer } from 'vin-native'
import { PhiloxRandom, streams } from 'vin-native/demo-world'

/**
Embeddings of `words` drawn anew in place: normals with the deviation of the whole table, one block of the stream for each id.

@throws RangeError for a word that the tokenizer does not know as one token
*/
export async function redrawWords(encoder: TextEncoder, tokenizer: Tokenizer, words: readonly string[], seed: number): Promise<void> {
  const { data: table, shape } = await encoder.readWeight('shared.weight')
  const width = shape[1]!
  const deviation = Math.sqrt(table.reduce((sum, value) => sum + value ** 2, 0) / table.length)
  for (const word of words) {
    const { ids, unknown } = tokenizer.encode(word)
    if (unknown.length > 0 || ids.length !== 2) throw new RangeError(`Expected words of the vocabulary for --redraw but received ${JSON.stringify(word)}; the model knows: ${tokenizer.vocabulary.join(', ')}`)
    const id = ids[0]!
    const drawn = new PhiloxRandom(seed, streams.embedding, id).normals(width)
    table.set(drawn.map((value) => deviation * value), id * width)
  }
  encoder.writeWeight('shared.weight', { data: table, shape })
}
