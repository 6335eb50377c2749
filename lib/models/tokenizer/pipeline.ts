// A tokenizer.json as one function: tokens found in the text, normalizer, pre-tokenizer, model, post-processor, in this order. Semantics are those of the Rust library
// `tokenizers`, whose ids published encoders were trained with.

import { tokenFinder } from './added-tokens.js'
import type { AddedToken } from './added-tokens.js'
import { readBpe } from './bpe.js'
import { Fields, formatError } from './content.js'
import type { Json } from './content.js'
import { readNormalizer } from './normalizers.js'
import { readPostProcessor } from './post-processors.js'
import { readPreTokenizer } from './pre-tokenizers.js'
import { readUnigram } from './unigram.js'
import { readWordLevel, readWordPiece } from './words.js'
import type { Model } from './words.js'

export interface Vocabulary {
  /** Ids of the model's own tokens. */
  ids: ReadonlyMap<string, number>
  unknownId: number | undefined
  added: readonly AddedToken[]
}

/** Most that replacements may make of one character, and most parts of a template; published tokenizers have 1 to 36, and 1 to 3. */
const maxGrowth = 256
const maxParts = 64

function readModel(content: Json, { ids, unknownId }: Vocabulary, file: string): Model {
  const json = content['model'] as Json
  // Old files do not say it.
  const type = json['type'] ?? (Array.isArray(json['vocab']) ? 'Unigram' : json['merges'] !== undefined ? 'BPE' : json['max_input_chars_per_word'] !== undefined ? 'WordPiece' : 'WordLevel')
  const fields = new Fields({ ...json, type }, file, 'model')
  if ((type === 'Unigram') !== Array.isArray(json['vocab'])) throw formatError(file, 'a vocab that fits the type of model', fields.type)
  switch (type) {
    case 'Unigram':
      return readUnigram(fields, ids, unknownId)
    case 'BPE':
      return readBpe(fields, ids, unknownId)
    case 'WordPiece':
      return readWordPiece(fields, ids, unknownId)
    case 'WordLevel':
      return readWordLevel(ids, unknownId)
    default:
      return fields.unknown()
  }
}

/** @throws ERR_VIN_FORMAT for what is malformed, ERR_VIN_NOT_SUPPORTED for what this version does not compute with */
export function readPipeline(content: Json, vocabulary: Vocabulary, file: string): (text: string) => number[] {
  const normalizer = readNormalizer(content['normalizer'], file)
  const preTokenizer = readPreTokenizer(content['pre_tokenizer'], file)
  const growth = normalizer.growth * preTokenizer.growth
  // A few replacements in a row can make gigabytes of a word, and a template can repeat it.
  if (growth > maxGrowth) throw formatError(file, `replacements that make at most ${maxGrowth} characters of one`, `${growth}`)
  const model = readModel(content, vocabulary, file)
  const all = new Map([...vocabulary.ids, ...vocabulary.added.map(({ content: token, id }) => [token, id] as const)])
  const postProcessor = readPostProcessor(content['post_processor'], all, file)
  if (postProcessor.parts > maxParts) throw formatError(file, `at most ${maxParts} parts of a template`, `${postProcessor.parts}`)
  const raw = tokenFinder(vocabulary.added.filter((token) => !token.normalized))
  const normalized = tokenFinder(vocabulary.added.filter((token) => token.normalized).map((token) => ({ ...token, content: normalizer.run(token.content) })))

  /** A piece is at the beginning of a text as it was given, unless the normalizer has dropped what stood there. */
  const drops = (text: string): boolean => normalizer.run(`${String.fromCodePoint(text.codePointAt(0)!)}x`) === normalizer.run('x')

  return (text) => {
    const ids: number[] = []
    for (const outer of raw(text)) {
      if ('id' in outer) {
        ids.push(outer.id)
        continue
      }
      for (const inner of normalized(normalizer.run(outer.text))) {
        if ('id' in inner) ids.push(inner.id)
        else for (const piece of preTokenizer.run({ text: inner.text, first: () => outer.begin === 0 && inner.begin === 0 && !drops(outer.text) })) if (piece !== '') for (const id of model(piece)) ids.push(id)
      }
    }
    return postProcessor.run(ids)
  }
}
