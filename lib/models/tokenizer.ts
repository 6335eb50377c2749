// Text → token ids, from a tokenizer.json of the Hugging Face format. The file is untrusted: its size, its depth and every id in it are checked before a text is
// encoded with it, and encoding has a deadline.

import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { VinError, checkMade, expected, missingComponent } from '../errors.js'
import { readSmallFile } from '../files/small-file.js'
import { loadBinding } from '../native/load.js'
import { brand, errorMessage } from '../realms.js'
import { verifyBytes } from './checksums.js'
import { within } from './deadline.js'
import { formatError, list, object, quoted } from './tokenizer/content.js'
import type { Json } from './tokenizer/content.js'
import { readPipeline } from './tokenizer/pipeline.js'
import type { Vocabulary } from './tokenizer/pipeline.js'

export interface Encoding {
  /** Token ids, the end of sequence included, without padding. */
  ids: number[]
  /** 1 for every id: the length L of the text that the encoder sees. */
  mask: number[]
  /** Words of the text that the vocabulary does not hold, in order, each once. */
  unknown: string[]
  /** The text was longer than `maxLength`: its end is cut, the end of sequence is kept. */
  truncated: boolean
}

export interface TokenizerLimits {
  bytes: number
  depth: number
}

const defaultLimits: TokenizerLimits = { bytes: 64 * 2 ** 20, depth: 64 }

/** What a tokenizer may take for each 8,192 characters of a text; published ones take a few milliseconds. */
const deadline = { milliseconds: 1000, characters: 8192 }

/** Tokens added by hand aside, ids are rows of an embedding table: no published one has more rows than this. */
const maxId = 2 ** 24

export class Tokenizer {
  static {
    brand(this, 'Tokenizer')
  }

  readonly #file: string
  readonly #run: (text: string) => number[]
  readonly #unknownId: number | undefined
  readonly #endId: number | undefined
  /** Words a caller may be told of: the vocabulary without special tokens, in order of ids. */
  readonly vocabulary: readonly string[]
  /** One more than the largest id. */
  readonly vocabularySize: number
  /** The parsed tokenizer.json, to be written beside a model that is saved. */
  readonly source: Readonly<Json>

  private constructor(source: Json, file: string) {
    checkMade(typeof source === 'object' && source !== null && typeof file === 'string', 'Tokenizer', 'Tokenizer.fromPretrained(path) or Tokenizer.fromJson(json)')
    const { words, size, endId, ...vocabulary } = checkVocabulary(source, file)
    this.#file = file
    this.#run = readPipeline(source, vocabulary, file)
    this.source = source
    this.#unknownId = vocabulary.unknownId
    this.#endId = endId
    this.vocabulary = words
    this.vocabularySize = size
  }

  /**
  Reads tokenizer.json, or a folder that holds one: those of T5 and its kin (Unigram), and of whole words (WordLevel).

  @throws ERR_VIN_NOT_SUPPORTED for a model or a step of another kind, such as BPE, by its name
  */
  static async fromPretrained(path: string, options: { limits?: Partial<TokenizerLimits>; signal?: AbortSignal } = {}): Promise<Tokenizer> {
    options.signal?.throwIfAborted()
    const limits = { ...defaultLimits, ...options.limits }
    const file = basename(path).endsWith('.json') ? path : join(path, 'tokenizer.json')
    const bytes = await readSmallFile(file, limits.bytes).catch((error: unknown) => {
      if (error instanceof VinError) throw error
      throw Object.assign(missingComponent('tokenizer', `Expected a tokenizer at ${file} but it cannot be read; pass promptEmbeds, or add ${tokenizerAdvice(dirname(file))}`), { cause: error })
    })
    options.signal?.throwIfAborted()
    await verifyBytes(file, bytes)
    return Tokenizer.fromJson(loadBinding().parseJson(bytes, file, limits), file)
  }

  /** From the parsed content of a tokenizer.json. */
  static async fromJson(json: unknown, file = 'tokenizer.json'): Promise<Tokenizer> {
    const tokenizer = new Tokenizer(object(json, file, 'the file'), file)
    // Patterns are compiled at their first use.
    tokenizer.#bounded('', () => tokenizer.#run(''))
    return tokenizer
  }

  /**
  The ids of a text. NUL characters are dropped and lone surrogates become U+FFFD.

  @throws ERR_VIN_FORMAT when the file's patterns or replacements take seconds for it
  @example
  const { ids, unknown } = tokenizer.encode('a red circle bounces', { maxLength: 24 })
  */
  encode(text: string, options: { maxLength?: number } = {}): Encoding {
    if (typeof text !== 'string') throw expected('a string', 'text', text, 'type')
    const { maxLength } = options
    if (maxLength !== undefined && !(Number.isInteger(maxLength) && maxLength >= 1)) throw expected('a positive integer', 'maxLength', maxLength, 'range')
    const clean = wellFormed(text)
    const { ids: all, unknown } = this.#bounded(clean, () => this.#encode(clean))
    let ids = all
    if (this.#endId !== undefined && ids.at(-1) !== this.#endId) ids.push(this.#endId)
    const truncated = maxLength !== undefined && ids.length > maxLength
    // The last id is the end of sequence, whoever added it.
    if (truncated) ids = [...ids.slice(0, maxLength - 1), ids.at(-1)!]
    return { ids, mask: ids.map(() => 1), unknown, truncated }
  }

  /** Runs work whose cost the file's patterns and replacements decide. */
  #bounded<T>(text: string, work: () => T): T {
    const milliseconds = deadline.milliseconds * Math.max(1, Math.ceil(text.length / deadline.characters))
    let done: { value: T } | undefined
    try {
      done = within(milliseconds, work)
    } catch (error) {
      throw Object.assign(formatError(this.#file, 'a tokenizer that can be built and run', errorMessage(error)), { cause: error })
    }
    if (done !== undefined) return done.value
    throw formatError(this.#file, `patterns and replacements that ${text.length} characters pass through within ${milliseconds / 1000} s`, 'some that take longer')
  }

  #encode(text: string): { ids: number[]; unknown: string[] } {
    const ids = this.#run(text)
    const unknownId = this.#unknownId
    if (unknownId === undefined || !ids.includes(unknownId)) return { ids, unknown: [] }
    const words = text.split(/\p{White_Space}+/u).filter((word) => word !== '' && this.#run(word).includes(unknownId))
    return { ids, unknown: [...new Set(words)] }
  }
}

/** What to add where tokenizer.json is missing: published T5 encoders come with the model of SentencePiece alone. */
export function tokenizerAdvice(folder: string): string {
  const other = ['spiece.model', 'tokenizer.model', 'vocab.json', 'vocab.txt'].find((name) => existsSync(join(folder, name)))
  return `tokenizer/tokenizer.json to the model${other === undefined ? '' : ` (${other} is not read: transformers' AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes one from it)`}`
}

/** NUL ends strings in other languages, and half a surrogate pair has no UTF-8. */
function wellFormed(text: string): string {
  return text.replaceAll('\0', '').replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, '\uFFFD')
}

function checkId(value: unknown, file: string, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > maxId) throw formatError(file, `an id from 0 to ${maxId} for ${name}`, quoted(value))
  return value
}

interface Checked extends Vocabulary {
  words: string[]
  size: number
  endId: number | undefined
}

function checkVocabulary(content: Json, file: string): Checked {
  const model = object(content['model'], file, 'model')
  const ids = new Map<string, number>()
  const vocab = model['vocab']
  if (Array.isArray(vocab)) {
    vocab.forEach((entry: unknown, id) => {
      if (!Array.isArray(entry) || typeof entry[0] !== 'string' || typeof entry[1] !== 'number' || !Number.isFinite(entry[1])) throw formatError(file, `[token, score] for vocab entry ${id}`, quoted(entry, 40))
      ids.set(entry[0], id)
    })
  } else {
    for (const [token, id] of Object.entries(object(vocab, file, 'model.vocab'))) ids.set(token, checkId(id, file, JSON.stringify(token)))
  }
  if (ids.size === 0) throw formatError(file, 'at least one token in model.vocab', 'none')
  checkMerges(model, ids, file)
  const added = list(content['added_tokens'] ?? [], file, 'added_tokens').map((entry) => {
    const token = object(entry, file, 'an entry of added_tokens')
    const text = token['content']
    if (typeof text !== 'string' || text === '') throw formatError(file, 'a text for content in added_tokens', quoted(text))
    const id = checkId(token['id'], file, `added token ${JSON.stringify(text)}`)
    const flag = (key: string, otherwise = false): boolean => (typeof token[key] === 'boolean' ? token[key] : otherwise)
    const special = flag('special')
    return { content: text, id, special, singleWord: flag('single_word'), left: flag('lstrip'), right: flag('rstrip'), normalized: flag('normalized', !special) }
  })
  const all = new Map([...ids, ...added.map(({ content: text, id }) => [text, id] as const)])
  let size = 0
  for (const id of all.values()) size = Math.max(size, id + 1)
  const special = new Set(added.filter((token) => token.special).map((token) => token.content))
  const words = [...all].filter(([token]) => !special.has(token)).sort((a, b) => a[1] - b[1])
  return { ids, added, words: words.map(([token]) => token), size, unknownId: unknownId(model, all, size, file), endId: all.get('</s>') }
}

function unknownId(model: Json, ids: Map<string, number>, size: number, file: string): number | undefined {
  if (model['unk_id'] !== undefined && model['unk_id'] !== null) {
    const id = checkId(model['unk_id'], file, 'unk_id')
    if (id >= size) throw formatError(file, `an unk_id below ${size}`, `${id}`)
    return id
  }
  const token = model['unk_token']
  if (token === undefined || token === null) return undefined
  const id = typeof token === 'string' ? ids.get(token) : undefined
  if (id === undefined) throw formatError(file, 'an unk_token of the vocabulary', JSON.stringify(token))
  return id
}

/** Of a model that is refused for its kind: a damaged file is said to be damaged. */
function checkMerges(model: Json, ids: Map<string, number>, file: string): void {
  const merges = list(model['merges'] ?? [], file, 'merges')
  const prefix = typeof model['continuing_subword_prefix'] === 'string' ? model['continuing_subword_prefix'] : ''
  merges.forEach((merge, i) => {
    const [left, right, ...rest] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? (merge as unknown[]) : []
    const valid = rest.length === 0 && typeof left === 'string' && typeof right === 'string' && ids.has(left) && ids.has(right) && ids.has(left + right.slice(prefix.length))
    if (!valid) throw formatError(file, `two tokens of the vocabulary whose union is one for merge ${i}`, quoted(merge))
  })
}
