// --prompts FILE: texts, or embeddings for a model that encodes none.

import { basename } from 'node:path'
import { types } from 'node:util'
import type { TensorData } from '../index.js'
import { VinError, rangeError } from '../errors.js'
import { readSmallFile } from '../files/small-file.js'
import { loadBinding } from '../native/load.js'
import { errorCode } from '../realms.js'

const maxFileBytes = 256 << 20

export const promptsArgument = (otherwise: string) => ({ type: 'string', description: `text file with a prompt a line, or .safetensors with embeddings [L, D] by prompt (${otherwise})`, valueHint: 'file' }) as const

/** Embeddings by prompt from a .safetensors file, else texts. @throws RangeError for a file that cannot be read or holds none */
export async function readPrompts(file: string): Promise<{ prompts: string[] } | { promptEmbeds: Record<string, TensorData> }> {
  return file.endsWith('.safetensors') ? { promptEmbeds: await readEmbeds(file) } : { prompts: await readTexts(file) }
}

export async function readInput<T>(file: string, what: string, decode: (bytes: Buffer) => T): Promise<T> {
  try {
    return decode(await readSmallFile(file, maxFileBytes))
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EACCES' || errorCode(error) === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw Object.assign(rangeError(`Expected ${what} but ${JSON.stringify(file)} cannot be read`), { cause: error })
    throw error
  }
}

/** A prompt a line; empty lines, and those that begin with #, are none. */
async function readTexts(file: string): Promise<string[]> {
  const text = await readInput(file, 'a text file with a prompt a line for --prompts', (bytes) => new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  const prompts = text.split('\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  if (prompts.length === 0) throw rangeError(`Expected a prompt a line in ${file} for --prompts but it holds none`)
  return prompts
}

/** Each tensor is a prompt, its name the text. */
async function readEmbeds(file: string): Promise<Record<string, TensorData>> {
  const { tensors } = await readInput(file, 'a file of embeddings for --prompts', (bytes) => loadBinding().readSafetensors(bytes))
  const embeds = Object.entries(tensors).map(([prompt, { data, shape, dtype }]): [string, TensorData] => {
    if (!types.isFloat32Array(data) || shape.length !== 2) throw new VinError('ERR_VIN_FORMAT', `Expected floating-point embeddings [L, D] by prompt in ${basename(file)} but found ${dtype} [${shape.join(', ')}] for ${JSON.stringify(prompt)}`, { file, tensor: prompt, expected: ['L', 'D'], found: shape })
    return [prompt, { data, shape }]
  })
  if (embeds.length === 0) throw rangeError(`Expected embeddings by prompt in ${file} for --prompts but it holds none`)
  return Object.fromEntries(embeds)
}
