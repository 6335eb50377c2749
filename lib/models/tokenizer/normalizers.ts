// Text → text, before it is cut into pieces.

import { bytesAsCharacters } from './byte-level.js'
import { Fields } from './content.js'
import { readPattern } from './pattern.js'
import { Precompiled } from './precompiled.js'

export interface Normalizer {
  run: (text: string) => string
  /** How many times as long a text may become, at most. */
  growth: number
}

const leftSpace = /^\p{White_Space}+/u
const rightSpace = /\p{White_Space}+$/u
const chinese = /[\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{f900}-\u{faff}\u{2f800}-\u{2fa1f}]/gu

/** Each character by itself: no letter depends on its place in a word. */
function lowercase(text: string): string {
  let result = ''
  for (const character of text) result += character.toLowerCase()
  return result
}

function bert(fields: Fields): (text: string) => string {
  const clean = fields.boolean('clean_text', true)
  const spaced = fields.boolean('handle_chinese_chars', true)
  const lower = fields.boolean('lowercase', true)
  const strip = fields.boolean('strip_accents', lower)
  return (text) => {
    let result = text
    if (clean) result = result.replaceAll(/(?![\t\n\r])[\0\ufffd\p{Cc}\p{Cf}\p{Co}]/gu, '').replaceAll(/\p{White_Space}/gu, ' ')
    if (spaced) result = result.replaceAll(chinese, ' $& ')
    if (strip) result = result.normalize('NFD').replaceAll(/\p{Mn}/gu, '')
    return lower ? lowercase(result) : result
  }
}

/** @throws ERR_VIN_FORMAT for a step that is malformed or of no known kind; ERR_VIN_NOT_SUPPORTED for what this version does not compute with */
export function readNormalizer(value: unknown, file: string): Normalizer {
  if (value === null || value === undefined) return { run: (text) => text, growth: 1 }
  const fields = new Fields(value, file, 'normalizer')
  switch (fields.type) {
    case 'Sequence': {
      const steps = fields.list('normalizers').map((each) => readNormalizer(each, file))
      return { run: (text) => steps.reduce((result, { run }) => run(result), text), growth: steps.reduce((product, { growth }) => product * growth, 1) }
    }
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD': {
      const form = fields.type
      return { run: (text) => text.normalize(form), growth: 1 }
    }
    case 'Lowercase':
      return { run: lowercase, growth: 1 }
    case 'Strip': {
      const [left, right] = [fields.boolean('strip_left', true), fields.boolean('strip_right', true)]
      return { run: (text) => (left ? text.replace(leftSpace, '') : text).replace(right ? rightSpace : /$^/u, ''), growth: 1 }
    }
    case 'StripAccents':
      return { run: (text) => text.replaceAll(/\p{M}/gu, ''), growth: 1 }
    case 'Replace':
      return readReplacement(fields)
    case 'Prepend': {
      const prefix = fields.text('prepend')
      return { run: (text) => (text === '' ? '' : prefix + text), growth: 1 }
    }
    case 'BertNormalizer':
      return { run: bert(fields), growth: 1 }
    case 'Precompiled': {
      const precompiled = new Precompiled(fields.text('precompiled_charsmap'), file)
      return { run: (text) => precompiled.normalize(text), growth: Math.max(1, precompiled.longest) }
    }
    case 'ByteLevel':
      return { run: bytesAsCharacters, growth: 2 }
    case 'Nmt':
      return fields.unsupported()
    default:
      return fields.unknown()
  }
}

/** The replacement is text: `$&` means nothing in it. */
export function readReplacement(fields: Fields): Normalizer {
  const content = fields.text('content')
  const pattern = fields.get('pattern')
  const expression = readPattern(pattern, fields.file)
  const replaced = (pattern as { String?: unknown }).String
  const growth = Math.max(1, content.length / (typeof replaced === 'string' ? Math.max(1, replaced.length) : 1))
  return { run: (text) => text.replaceAll(expression, () => content), growth }
}
