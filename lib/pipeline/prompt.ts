// Text → embeddings on the engine, with warnings for what the tokenizer dropped.

import { VinError, missingComponent, rangeError } from '../errors.js'
import type { EncodedText } from '../models/text-encoder.js'
import type { Tokenizer } from '../models/tokenizer.js'
import type { Transformer } from '../models/transformer.js'
import type { NativeTensor } from '../native/binding.js'
import { checkShape, type Scope } from '../native/tensor.js'
import { callHook } from './hooks.js'
import type { PipelineWarning } from './plan.js'

/** What a pipeline needs of a text encoder; any object of this form can replace the model's. */
export interface TextEncoderLike {
  encode(text: string | { ids: number[]; mask: number[] }, options?: { maxLength?: number; signal?: AbortSignal }): Promise<EncodedText>
}

export interface PromptParts {
  transformer: Transformer
  textEncoder: TextEncoderLike | undefined
  tokenizer: Tokenizer | undefined
  /** The pipeline whose run asks. */
  owner: object
}

/** A text's embeddings [L, D], valid rows only. */
export async function encodePrompt(
  { transformer, textEncoder, tokenizer, owner }: PromptParts,
  text: string,
  name: string,
  scope: Scope,
  signal: AbortSignal,
  warn: (warning: PipelineWarning) => void
): Promise<NativeTensor> {
  if (textEncoder === undefined) throw missingComponent('text_encoder', `Expected a text encoder for ${name} but the model has no text_encoder/; pass promptEmbeds instead`)
  const { model_max_length: most, caption_channels: width } = transformer.config
  let tokens: string | { ids: number[]; mask: number[] } = text
  if (tokenizer !== undefined) {
    const { ids, mask, unknown, truncated } = tokenizer.encode(text, { maxLength: most })
    if (truncated) {
      const whole = tokenizer.encode(text).ids.length
      warn({ code: 'prompt-truncated', message: `${name} was cut at ${most} tokens: ${whole - most} of ${whole} are left out` })
    }
    if (unknown.length > 0) warn({ code: 'unknown-words', message: `${name} has ${unknown.length} ${unknown.length === 1 ? 'word' : 'words'} the model does not know (${unknown.join(', ')}); it knows: ${vocabularyText(tokenizer.vocabulary)}` })
    tokens = { ids, mask }
  }
  const { embeds, mask } = await callHook(owner, signal, () => textEncoder.encode(tokens, { maxLength: most, signal }))
  const rows = checkShape(embeds, `the embeddings of ${name}`, ['L', width])[0] ?? 0
  const valid = mask.filter((value) => value === 1).length
  if (mask.length !== rows || mask.slice(0, valid).includes(0)) throw rangeError(`Expected ${rows} mask values, ones first, from the text encoder but received ${mask.length}`)
  if (valid === 0) throw new VinError('ERR_VIN_FORMAT', `Expected at least one token for ${name} but the tokenizer gave none`, { name })
  if (valid > most) throw rangeError(`Expected at most ${most} rows for ${name} but the text encoder gave ${valid}`)
  const engine = transformer.engine.native
  return scope.add(engine.upload(embeds.data.subarray(0, valid * width), [valid, width]))
}

function vocabularyText(words: readonly string[]): string {
  const shown = words.slice(0, 200).join(' ')
  return words.length > 200 ? `${shown} … (${words.length} words)` : shown
}
