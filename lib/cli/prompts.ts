// --prompts FILE: texts, or embeddings for a model that encodes none.

import { types } from 'node:util'
import type { TensorData } from '../index.js'
import { VinError, rangeError, show, typeError } from '../errors.js'
import { openToRead, readSmallFile } from '../files/small-file.js'
import { loadBinding } from '../native/load.js'
import { errorCode } from '../realms.js'
import { checkInput } from './inputs.js'

const maxFileBytes = 256 << 20

export const promptsArgument = (otherwise: string) => ({ type: 'string', description: `text file with a prompt a line, or .safetensors with embeddings [L, D] by prompt (${otherwise})`, valueHint: 'file' }) as const

/** @throws RangeError for a file that cannot be read or holds none; ERR_VIN_FORMAT for one that is neither UTF-8 text nor embeddings */
export async function readPrompts(file: string): Promise<{ prompts: string[] } | { promptEmbeds: Record<string, TensorData> }> {
  const hasEmbeds = file.endsWith('.safetensors')
  await checkInput(file, `a ${hasEmbeds ? '.safetensors file with embeddings by prompt' : 'text file with a prompt a line'} for --prompts`)
  return hasEmbeds ? { promptEmbeds: await readEmbeds(file) } : { prompts: await readTexts(file) }
}

/** What a command that needs prompts says without. */
export function noPrompts(command: string): Error {
  return typeError(`Expected --prompts with a text file of a prompt a line for ${command} but received none; embeddings by prompt, in a .safetensors file, do as well`)
}

/** A prompt a line; empty lines, and those that begin with #, are none. */
async function readTexts(file: string): Promise<string[]> {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await readSmallFile(file, maxFileBytes))
  } catch (error) {
    if (errorCode(error) !== 'ERR_ENCODING_INVALID_ENCODED_DATA') throw error
    throw new VinError('ERR_VIN_FORMAT', `Expected UTF-8 text with a prompt a line in ${file} but found other bytes; embeddings are read from a name that ends in .safetensors`, { file, expected: 'UTF-8 text' }, { cause: error })
  }
  const prompts = text.split('\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  if (prompts.length === 0) throw rangeError(`Expected a prompt a line in ${file} for --prompts but it holds none`)
  return prompts
}

/** Each tensor is a prompt, its name the text. */
async function readEmbeds(file: string): Promise<Record<string, TensorData>> {
  const { handle } = await openToRead(file, maxFileBytes)
  await handle.close()
  // By its path: the reader names the file.
  const { tensors } = loadBinding().readSafetensors(file)
  const embeds = Object.entries(tensors).map(([prompt, { data, shape, dtype }]): [string, TensorData] => {
    const wrong = !types.isFloat32Array(data) || shape.length !== 2 || shape[0] === 0 ? `${dtype} [${shape.join(', ')}]` : data.some((value) => !Number.isFinite(value)) ? 'NaN or Inf' : undefined
    if (wrong !== undefined) throw new VinError('ERR_VIN_FORMAT', `Expected finite floating-point embeddings [L, D] by prompt in ${file} but found ${wrong} for ${show(prompt)}`, { file, tensor: prompt, expected: ['L', 'D'], found: shape })
    return [prompt, { data: data as Float32Array, shape }]
  })
  if (embeds.length === 0) throw rangeError(`Expected embeddings by prompt in ${file} for --prompts but it holds none`)
  return Object.fromEntries(embeds)
}
