// Captions of a folder of videos: NAME.txt beside NAME.mp4, or captions.json / captions.jsonl for the folder. People write them with any editor: a byte order mark is
// no part of the text, and what is not UTF-8 is refused by the name of its file, since it would train on other letters.

import { VinError } from '../errors.js'
import { readSmallFile } from '../files/small-file.js'
import { errorMessage } from '../realms.js'

const maxBytes = { '.txt': 2 ** 20, '.json': 64 * 2 ** 20 }

function formatError(file: string, wanted: string, found: string): VinError {
  return new VinError('ERR_VIN_FORMAT', `Expected ${wanted} in ${file} but found ${found}`, { file, expected: wanted, found })
}

/** A text in UTF-8 without its byte order mark. */
async function readText(file: string, limit: number): Promise<string> {
  const bytes = await readSmallFile(file, limit)
  const utf16 = bytes[0] === 0xff && bytes[1] === 0xfe ? 'UTF-16' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'UTF-16 (big-endian)' : undefined
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw formatError(file, 'text in UTF-8', `${utf16 ?? 'another encoding'}; save it as UTF-8`)
  }
}

/** The caption in NAME.txt. */
export async function readCaption(file: string): Promise<string> {
  return (await readText(file, maxBytes['.txt'])).trim()
}

/** `{ "a.mp4": "a caption" }`, or a list (or lines, in .jsonl) of `{ file, caption }`. */
export async function readCaptions(file: string): Promise<Map<string, string>> {
  const text = await readText(file, maxBytes['.json'])
  const captions = new Map<string, string>()
  const parse = (source: string): unknown => {
    try {
      return JSON.parse(source) as unknown
    } catch (error) {
      throw formatError(file, 'JSON', errorMessage(error))
    }
  }
  const entries = (list: unknown[]) => {
    for (const entry of list) {
      const { file: name, caption } = (typeof entry === 'object' && entry !== null ? entry : {}) as { file?: unknown; caption?: unknown }
      if (typeof name !== 'string' || typeof caption !== 'string') throw formatError(file, '{ "file": …, "caption": … } in every entry', JSON.stringify(entry).slice(0, 60))
      captions.set(name, caption.trim())
    }
  }
  if (file.endsWith('.jsonl')) {
    entries(text.split('\n').filter((line) => line.trim() !== '').map(parse))
    return captions
  }
  const whole = parse(text)
  if (Array.isArray(whole)) entries(whole)
  else if (typeof whole === 'object' && whole !== null) entries(Object.entries(whole).map(([name, caption]) => ({ file: name, caption })))
  else throw formatError(file, 'an object or a list', JSON.stringify(whole).slice(0, 60))
  return captions
}
