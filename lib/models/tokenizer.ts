// Text → token ids, from a tokenizer.json of the Hugging Face format. The file is untrusted: its size, its depth and every id in it are checked before the
// tokenizer library sees it.

import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { VinError, expected, missingComponent, notSupported } from '../errors.js'
import { readSmallFile } from '../files/small-file.js'
import { loadBinding } from '../native/load.js'
import { brand, errorMessage } from '../realms.js'
import { verifyBytes } from './checksums.js'
import { within } from './deadline.js'

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

/** Most that replacements may make of one character, and most parts of a template; published tokenizers have 1 to 3. */
const maxGrowth = 256
const maxParts = 64

/** Tokens added by hand aside, ids are rows of an embedding table: no published one has more rows than this. */
const maxId = 2 ** 24

type Json = Record<string, unknown>

interface Library {
  encode(text: string): { ids: number[]; tokens: string[] }
}

export class Tokenizer {
  static {
    brand(this, 'Tokenizer')
  }

  readonly #build: () => Library
  readonly #file: string
  #library: Library
  readonly #unknownId: number | undefined
  readonly #endId: number | undefined
  /** Words a caller may be told of: the vocabulary without special tokens, in order of ids. */
  readonly vocabulary: readonly string[]
  /** One more than the largest id. */
  readonly vocabularySize: number
  /** The parsed tokenizer.json, to be written beside a model that is saved. */
  readonly source: Readonly<Json>

  private constructor(build: () => Library, vocabulary: Vocabulary, source: Json, file: string) {
    this.#build = build
    this.#library = build()
    this.#file = file
    this.source = source
    this.#unknownId = vocabulary.unknownId
    this.#endId = vocabulary.endId
    this.vocabulary = vocabulary.words
    this.vocabularySize = vocabulary.size
  }

  /** Reads tokenizer.json, or a folder that holds one. */
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
    return Tokenizer.fromJson(parse(bytes, file, limits), file)
  }

  /** From the parsed content of a tokenizer.json. */
  static async fromJson(json: unknown, file = 'tokenizer.json'): Promise<Tokenizer> {
    const content = object(json, file, 'the file')
    const vocabulary = checkVocabulary(content, file)
    refuseUnsupported(content, file)
    checkGrowth(content, file)
    const { Tokenizer: LibraryTokenizer } = await import('@huggingface/tokenizers')
    const given = { ...withDefaults(content), normalizer: literal(content['normalizer'] ?? null), pre_tokenizer: literal(content['pre_tokenizer'] ?? null) }
    // WordLevel takes its unknown token from the configuration.
    const build = (): Library => new LibraryTokenizer(given, { unk_token: object(content['model'], file, 'model')['unk_token'] })
    let tokenizer: Tokenizer
    try {
      tokenizer = new Tokenizer(build, vocabulary, content, file)
    } catch (error) {
      throw unusable(file, error)
    }
    // Patterns are compiled at their first use.
    tokenizer.#bounded('', () => tokenizer.#ids(''))
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
    const { ids: all, unknown } = this.#bounded(clean, () => ({ ids: this.#ids(clean), unknown: this.#unknownWords(clean) }))
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
      throw unusable(this.#file, error)
    }
    if (done !== undefined) return done.value
    // It was stopped in the middle of something.
    this.#library = this.#build()
    throw formatError(this.#file, `patterns and replacements that ${text.length} characters pass through within ${milliseconds / 1000} s`, 'some that take longer')
  }

  #ids(text: string): number[] {
    // The library has no id for a token outside the vocabulary of a model without an unknown token.
    return this.#library.encode(text).ids.filter((id): id is number => id !== undefined)
  }

  #unknownWords(text: string): string[] {
    if (this.#unknownId === undefined || !this.#ids(text).includes(this.#unknownId)) return []
    const unknown = text.split(/\s+/).filter((word) => word !== '' && this.#ids(word).includes(this.#unknownId!))
    return [...new Set(unknown)]
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

function formatError(file: string, wanted: string, found: string): VinError {
  return new VinError('ERR_VIN_FORMAT', `Expected ${wanted} in ${file} but found ${found}`, { file, expected: wanted, found })
}

/** What the tokenizer library threw. */
function unusable(file: string, error: unknown): VinError {
  return Object.assign(formatError(file, 'a tokenizer that can be built and run', errorMessage(error)), { cause: error })
}

/** JSON.parse recurses, so brackets are counted first. */
function parse(bytes: Uint8Array, file: string, limits: TokenizerLimits): unknown {
  if (bytes.length > limits.bytes) throw formatError(file, `at most ${limits.bytes} bytes`, `${bytes.length}`)
  let depth = 0
  let inString = false
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]
    if (inString) {
      if (byte === 0x5c) i++
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > limits.depth) throw formatError(file, `at most ${limits.depth} nested levels`, 'more')
    } else if (byte === 0x7d || byte === 0x5d) depth--
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    // The strict reader says line and column, or what the file is instead of JSON.
    loadBinding().parseJson(bytes, file, { depth: limits.depth, bytes: limits.bytes })
    throw Object.assign(formatError(file, 'JSON in UTF-8', errorMessage(error)), { cause: error })
  }
}

function object(value: unknown, file: string, name: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw formatError(file, `an object for ${name}`, value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 40))
  return value as Json
}

function checkId(value: unknown, file: string, name: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > maxId) throw formatError(file, `an id from 0 to ${maxId} for ${name}`, JSON.stringify(value) ?? 'nothing')
  return value
}

interface Vocabulary {
  words: string[]
  size: number
  unknownId: number | undefined
  endId: number | undefined
}

function checkVocabulary(content: Json, file: string): Vocabulary {
  const model = object(content['model'], file, 'model')
  const ids = new Map<string, number>()
  const vocab = model['vocab']
  if (Array.isArray(vocab)) {
    vocab.forEach((entry: unknown, id) => {
      if (!Array.isArray(entry) || typeof entry[0] !== 'string' || typeof entry[1] !== 'number' || !Number.isFinite(entry[1])) throw formatError(file, `[token, score] for vocab entry ${id}`, JSON.stringify(entry)?.slice(0, 40) ?? 'nothing')
      ids.set(entry[0], id)
    })
  } else {
    for (const [token, id] of Object.entries(object(vocab, file, 'model.vocab'))) ids.set(token, checkId(id, file, JSON.stringify(token)))
  }
  if (ids.size === 0) throw formatError(file, 'at least one token in model.vocab', 'none')
  checkMerges(model, ids, file)
  const special = new Set<string>()
  const added = content['added_tokens'] ?? []
  if (!Array.isArray(added)) throw formatError(file, 'a list for added_tokens', JSON.stringify(added).slice(0, 40))
  for (const entry of added as unknown[]) {
    const token = object(entry, file, 'an entry of added_tokens')
    if (typeof token['content'] !== 'string' || token['content'] === '') throw formatError(file, 'a text for content in added_tokens', JSON.stringify(token['content']) ?? 'nothing')
    ids.set(token['content'], checkId(token['id'], file, `added token ${JSON.stringify(token['content'])}`))
    if (token['special'] === true) special.add(token['content'])
  }
  let size = 0
  for (const id of ids.values()) size = Math.max(size, id + 1)
  const words = [...ids].filter(([token]) => !special.has(token)).sort((a, b) => a[1] - b[1])
  return { words: words.map(([token]) => token), size, unknownId: unknownId(model, ids, size, file), endId: ids.get('</s>') }
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

/** Each merge names two tokens, as 'a b' or ['a', 'b'], and both and their union are in the vocabulary. */
function checkMerges(model: Json, ids: Map<string, number>, file: string): void {
  const merges = model['merges'] ?? []
  if (!Array.isArray(merges)) throw formatError(file, 'a list for merges', JSON.stringify(merges).slice(0, 40))
  const prefix = typeof model['continuing_subword_prefix'] === 'string' ? model['continuing_subword_prefix'] : ''
  merges.forEach((merge: unknown, i) => {
    const pair: unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : []
    const [left, right] = pair
    const valid = pair.length === 2 && typeof left === 'string' && typeof right === 'string' && ids.has(left) && ids.has(right) && ids.has(left + (prefix !== '' && right.startsWith(prefix) ? right.slice(prefix.length) : right))
    if (!valid) throw formatError(file, `two tokens of the vocabulary whose union is one for merge ${i}`, JSON.stringify(merge)?.slice(0, 60) ?? 'nothing')
  })
}

/** Sentencepiece's Nmt rules are not in the library; leaving them out would change ids silently. */
function refuseUnsupported(content: Json, file: string): void {
  const visit = (normalizer: unknown): void => {
    if (typeof normalizer !== 'object' || normalizer === null) return
    const { type, normalizers } = normalizer as { type?: unknown; normalizers?: unknown }
    if (type === 'Nmt') throw notSupported('Nmt', `Expected a normalizer that can be run but ${file} asks for Nmt; save the tokenizer without it`)
    if (Array.isArray(normalizers)) normalizers.forEach(visit)
  }
  visit(content['normalizer'])
}

/** Normalizers or pre-tokenizers that replace text, in order, wherever they hide. */
function replacements(step: unknown): Json[] {
  if (typeof step !== 'object' || step === null) return []
  const { type, normalizers, pretokenizers } = step as { type?: unknown; normalizers?: unknown; pretokenizers?: unknown }
  const inner = [normalizers, pretokenizers].flatMap((list) => (Array.isArray(list) ? (list as unknown[]).flatMap(replacements) : []))
  return type === 'Replace' ? [step as Json] : inner
}

/** A few replacements in a row can make gigabytes of a word, and a template can repeat it. */
function checkGrowth(content: Json, file: string): void {
  let growth = 1
  for (const { pattern, content: text } of [...replacements(content['normalizer']), ...replacements(content['pre_tokenizer'])]) {
    const replaced = (pattern as { String?: unknown } | null | undefined)?.String
    growth *= Math.max(1, (typeof text === 'string' ? text.length : 0) / (typeof replaced === 'string' ? Math.max(1, replaced.length) : 1))
  }
  if (growth > maxGrowth) throw formatError(file, `replacements that make at most ${maxGrowth} characters of one`, `${growth}`)
  const parts = partsOf(content['post_processor'])
  if (parts > maxParts) throw formatError(file, `at most ${maxParts} parts of a template`, `${parts}`)
}

function partsOf(processor: unknown): number {
  if (typeof processor !== 'object' || processor === null) return 1
  const { single, processors } = processor as { single?: unknown; processors?: unknown }
  const inner = Array.isArray(processors) ? (processors as unknown[]).reduce<number>((product, each) => product * partsOf(each), 1) : 1
  return inner * Math.max(1, Array.isArray(single) ? single.length : 0)
}

/** Replacements are text: the library would read $& and its like in them as JavaScript does. */
function literal(step: unknown): unknown {
  if (typeof step !== 'object' || step === null) return step
  const copy: Json = { ...step }
  for (const key of ['normalizers', 'pretokenizers']) if (Array.isArray(copy[key])) copy[key] = (copy[key] as unknown[]).map(literal)
  if (copy['type'] === 'Replace' && typeof copy['content'] === 'string') copy['content'] = copy['content'].replaceAll('$', '$$$$')
  return copy
}

function withDefaults(content: Json): Json {
  return { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [], ...content }
}
