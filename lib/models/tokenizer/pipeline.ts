// A tokenizer.json as one function: tokens found in the text, normalizer, pre-tokenizer, model, template, in this order. Semantics are those of the Rust library
// `tokenizers`, whose ids published encoders were trained with. Computed is what T5 and its kin are saved with, and whole words for models of one's own.

import { tokenFinder } from './added-tokens.js'
import type { AddedToken } from './added-tokens.js'
import { formatError, unsupported } from './content.js'
import type { Json } from './content.js'
import { readNormalizer } from './normalizers.js'
import { readPreTokenizer } from './pre-tokenizers.js'
import { readTemplate } from './template.js'
import { unigram } from './unigram.js'
import type { Model } from './unigram.js'

export interface Vocabulary {
  /** Ids of the model's own tokens. */
  ids: ReadonlyMap<string, number>
  unknownId: number | undefined
  added: readonly AddedToken[]
}

/** Most that replacements may make of one character; published tokenizers have 1 to 36. */
const maxGrowth = 256

function readModel(json: Json, { ids, unknownId }: Vocabulary, file: string): Model {
  const { vocab } = json
  // Old files do not say it.
  const type = json['type'] ?? (Array.isArray(vocab) ? 'Unigram' : json['merges'] === undefined ? 'WordLevel' : 'BPE')
  if (type !== 'Unigram' && type !== 'WordLevel') throw unsupported(String(type), file, 'Unigram or WordLevel for model')
  if (json['byte_fallback'] === true) throw unsupported('byte_fallback', file, 'a model without byte_fallback', `${type} with it`)
  if ((type === 'Unigram') !== Array.isArray(vocab)) throw formatError(file, 'a vocab that fits the type of model', type)
  if (type === 'Unigram') return unigram(ids, (vocab as [string, number][]).map(([, score]) => score), unknownId)
  return (piece) => {
    const id = ids.get(piece) ?? unknownId
    return id === undefined ? [] : [id]
  }
}

/** @throws ERR_VIN_FORMAT for what is malformed, ERR_VIN_NOT_SUPPORTED for what this version does not compute with */
export function readPipeline(content: Json, vocabulary: Vocabulary, file: string): (text: string) => number[] {
  const model = readModel(content['model'] as Json, vocabulary, file)
  const normalizer = readNormalizer(content['normalizer'], file)
  const preTokenizer = readPreTokenizer(content['pre_tokenizer'], file)
  const growth = normalizer.growth * preTokenizer.growth
  // A few replacements in a row can make gigabytes of a word.
  if (growth > maxGrowth) throw formatError(file, `replacements that make at most ${maxGrowth} characters of one`, `${growth}`)
  const all = new Map([...vocabulary.ids, ...vocabulary.added.map(({ content: token, id }) => [token, id] as const)])
  const template = readTemplate(content['post_processor'], all, file)
  const raw = tokenFinder(vocabulary.added.filter((token) => !token.normalized))
  const normalized = tokenFinder(vocabulary.added.filter((token) => token.normalized).map((token) => ({ ...token, content: normalizer.run(token.content) })))

  return (text) => {
    const ids: number[] = []
    for (const outer of raw(text)) {
      if ('id' in outer) {
        ids.push(outer.id)
        continue
      }
      for (const inner of normalized(normalizer.run(outer.text))) {
        if ('id' in inner) ids.push(inner.id)
        else for (const piece of preTokenizer.run({ text: inner.text, first: () => outer.begin === 0 && inner.begin === 0 && !normalizer.drops(String.fromCodePoint(outer.text.codePointAt(0)!)) })) if (piece !== '') for (const id of model(piece)) ids.push(id)
      }
    }
    return template(ids)
  }
}
