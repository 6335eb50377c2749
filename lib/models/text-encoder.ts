// The text encoder: T5's encoder at any size. Text → token ids (tokenizer.json) → one row of embeddings per token.

import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { checkNames, checkSignal } from '../check.js'
import { expected, missingComponent, rangeError } from '../errors.js'
import type { Config } from '../native/binding.js'
import { withCancel } from '../native/cancel.js'
import { checkSeed } from '../native/ops.js'
import { readNative } from '../native/tensor.js'
import type { TensorData } from '../native/tensor.js'
import { modelOptionNames } from '../options/model.js'
import type { ModelOptions } from '../options/model.js'
import { brand } from '../realms.js'
import { Component, claimed, createModel, loadModel, openFor } from './component.js'
import type { Made, Opened } from './component.js'
import { checkFolder } from './config.js'
import { checkMask } from './mask.js'
import { Tokenizer, tokenizerAdvice } from './tokenizer.js'

/** config.json of a T5 encoder, with transformers' names and defaults. */
export interface TextEncoderConfig {
  vocab_size: number
  d_model: number
  d_kv: number
  d_ff: number
  num_layers: number
  num_heads: number
  relative_attention_num_buckets: number
  relative_attention_max_distance: number
  layer_norm_epsilon: number
  feed_forward_proj: string
}

/** Token ids as a tokenizer gives them: `mask` is 1 for tokens, then 0 for padding. */
export interface TokenIds {
  ids: ArrayLike<number>
  mask?: ArrayLike<number> | undefined
}

export interface EncodedText {
  /** [L, D]; rows of padding are 0. */
  embeds: TensorData
  /** [L] */
  mask: number[]
}

export class TextEncoder extends Component<'t5'> {
  static {
    brand(this, 'TextEncoder')
  }

  declare readonly config: Readonly<TextEncoderConfig>
  /** Needed for text; without one, `encode` takes ids. */
  tokenizer: Tokenizer | undefined

  readonly #advice: string

  private constructor(made: Made<'t5'>, tokenizer?: Tokenizer, advice = 'tokenizer/tokenizer.json') {
    super(made, 'TextEncoder')
    this.tokenizer = tokenizer
    this.#advice = advice
  }

  /**
  Opens a folder with config.json and weights. The tokenizer is read from the folder itself or from `tokenizer/` beside it.

  @throws ERR_VIN_FORMAT naming the key of a wrong config, ERR_VIN_NOT_SUPPORTED for another form of the feed-forward layers
  */
  static async fromPretrained(folder: string, options?: ModelOptions | Opened): Promise<TextEncoder> {
    await checkFolder(folder, 'text_encoder')
    const opened = await openFor(options, 'TextEncoder.fromPretrained')
    return claimed(opened, async () => {
      const { limits, signal } = opened.options
      const places = [folder, join(dirname(resolve(folder)), 'tokenizer')]
      const place = places.find((path) => existsSync(join(path, 'tokenizer.json')))
      const tokenizer =
        place === undefined
          ? undefined
          : await Tokenizer.fromPretrained(place, { limits: { bytes: limits.tokenizerBytes, depth: limits.jsonDepth }, ...(signal === undefined ? {} : { signal }) })
      const made = await loadModel('t5', folder, opened)
      return new TextEncoder(made, tokenizer, tokenizerAdvice(places.findLast((path) => existsSync(path)) ?? folder))
    })
  }

  /** Untrained weights; the same seed gives the same weights. */
  static async fromConfig(config: Config, options: ModelOptions & { seed?: number | bigint } = {}): Promise<TextEncoder> {
    checkNames(options, 'TextEncoder.fromConfig', [...modelOptionNames, 'seed'])
    const { seed = 0, ...model } = options
    return TextEncoder.create(config, checkSeed(seed), await openFor(model, 'TextEncoder.fromConfig'))
  }

  /** @internal */
  static create(config: Config, seed: bigint, opened: Opened): Promise<TextEncoder> {
    return claimed(opened, async () => new TextEncoder(await createModel('t5', config, seed, opened)))
  }

  /**
  Embeddings of a text or of token ids.

  @throws ERR_VIN_MISSING_COMPONENT for a text without a tokenizer; RangeError for ids outside the vocabulary
  */
  async encode(text: string | TokenIds, options: { maxLength?: number | undefined; signal?: AbortSignal | undefined } = {}): Promise<EncodedText> {
    checkNames(options, 'textEncoder.encode', ['maxLength', 'signal'])
    const signal = checkSignal(options.signal)
    signal?.throwIfAborted()
    const { ids, mask } = this.#tokens(text, options.maxLength)
    const rows = mask.indexOf(0) === -1 ? mask.length : mask.indexOf(0)
    if (mask.slice(rows).includes(1)) throw rangeError('Expected all padding at the end of mask but tokens follow it')
    const width = this.config.d_model
    const embeds = { data: new Float32Array(mask.length * width), shape: [mask.length, width] }
    if (rows === 0) return { embeds, mask }
    await withCancel(this.engine.native, signal, async (cancel) => {
      const output = this.native.encode(ids.slice(0, rows), { cancel })
      try {
        embeds.data.set((await readNative(output)).data)
      } finally {
        output.dispose()
      }
    })
    return { embeds, mask }
  }

  #tokens(text: string | TokenIds, maxLength: number | undefined): { ids: number[]; mask: number[] } {
    if (typeof text === 'string') {
      if (this.tokenizer === undefined) throw missingComponent('tokenizer', `Expected a tokenizer to encode text but the model has none; pass { ids, mask }, or add ${this.#advice}`)
      const { ids } = this.tokenizer.encode(text, maxLength === undefined ? {} : { maxLength })
      return { ids, mask: ids.map(() => 1) }
    }
    if (typeof text !== 'object' || text === null || typeof text.ids?.length !== 'number') throw expected('a string or { ids, mask }', 'text', text, 'type')
    const ids = Array.from(text.ids, Number)
    const mask = text.mask === undefined ? ids.map(() => 1) : checkMask(text.mask, 'mask', ids.length)
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= this.config.vocab_size)
    if (wrong !== undefined) throw expected(`token ids from 0 to ${this.config.vocab_size - 1}`, 'ids', wrong, 'range')
    return { ids, mask }
  }
}
