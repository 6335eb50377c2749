// Text → the pieces that the vocabulary's model works on, each by itself. Nothing joins what a step has cut.

import { bytesAsCharacters } from './byte-level.js'
import { Fields } from './content.js'
import { readReplacement } from './normalizers.js'
import { cutAt, readPattern, whitespace, wordCharacters } from './pattern.js'
import type { Cut, Part } from './pattern.js'

export interface Piece {
  text: string
  /** Whether it begins where the whole text begins. */
  first: () => boolean
}

export interface PreTokenizer {
  /** The parts of one piece, in order; empty ones are dropped. */
  run: (piece: Piece) => string[]
  growth: number
}

type Step = (pieces: Piece[]) => Piece[]

const behaviors = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const
type Behavior = (typeof behaviors)[number]

const space = cutAt(/\p{White_Space}/gu)
/** ASCII counts symbols as punctuation too. */
const punctuation = cutAt(/[!-/:-@[-`{-~\p{P}]/gu)
const words = cutAt(new RegExp(`[${wordCharacters}\u200c\u200d]+|[^${wordCharacters}\u200c\u200d${whitespace}]+`, 'gv'))
const byteLevelWords = cutAt(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu)

/** What becomes of the parts that a pattern matched, and of those beside them. */
function arrange(parts: Part[], behavior: Behavior, invert: boolean): string[] {
  const flagged = parts.map(({ text, matched }) => ({ text, matched: matched !== invert }))
  if (behavior === 'Removed') return flagged.filter(({ matched }) => !matched).map(({ text }) => text)
  if (behavior === 'Isolated') return flagged.map(({ text }) => text)
  const backwards = behavior === 'MergedWithNext'
  const result: string[] = []
  let previous = false
  for (const { text, matched } of backwards ? flagged.reverse() : flagged) {
    const joins = behavior === 'Contiguous' ? matched === previous : matched && !previous
    if (joins && result.length > 0) result.push(backwards ? text + result.pop()! : result.pop()! + text)
    else result.push(text)
    previous = matched
  }
  return backwards ? result.reverse() : result
}

const split = (cut: Cut, behavior: Behavior, invert = false): PreTokenizer => ({ run: ({ text }) => arrange(cut(text), behavior, invert), growth: 1 })

function metaspace(fields: Fields): PreTokenizer {
  const replacement = fields.text('replacement', '▁')
  // Older files say it by another key.
  const scheme = fields.oneOf('prepend_scheme', ['always', 'first', 'never'] as const, fields.boolean('add_prefix_space', true) ? 'always' : 'never')
  const cuts = fields.boolean('split', true)
  const cut = cutAt(readPattern({ String: replacement }, fields.file))
  return {
    run: ({ text, first }) => {
      const spaced = text.replaceAll(' ', () => replacement)
      const prefixed = (scheme === 'always' || (scheme === 'first' && first())) && !spaced.startsWith(replacement) ? replacement + spaced : spaced
      return cuts ? arrange(cut(prefixed), 'MergedWithNext', false) : [prefixed]
    },
    growth: Math.max(1, replacement.length)
  }
}

function byteLevel(fields: Fields): PreTokenizer {
  const prefix = fields.boolean('add_prefix_space', true)
  const cuts = fields.boolean('use_regex', true)
  return {
    run: ({ text }) => {
      const prefixed = prefix && !text.startsWith(' ') ? ` ${text}` : text
      return (cuts ? byteLevelWords(prefixed).map((part) => part.text) : [prefixed]).map(bytesAsCharacters)
    },
    growth: 2
  }
}

function fixedLength(length: number): PreTokenizer {
  return {
    run: ({ text }) => {
      const characters = [...text]
      return Array.from({ length: Math.ceil(characters.length / length) }, (_, i) => characters.slice(i * length, (i + 1) * length).join(''))
    },
    growth: 1
  }
}

function sequence(steps: PreTokenizer[]): PreTokenizer {
  const apply = ({ run }: PreTokenizer): Step => (pieces) => pieces.flatMap((piece) => run(piece).filter((text) => text !== '').map((text, i) => ({ text, first: i === 0 ? piece.first : () => false })))
  return {
    run: (piece) => steps.reduce((pieces, step) => apply(step)(pieces), [piece]).map(({ text }) => text),
    growth: steps.reduce((product, { growth }) => product * growth, 1)
  }
}

/** @throws ERR_VIN_FORMAT for a step that is malformed or of no known kind; ERR_VIN_NOT_SUPPORTED for what this version does not compute with */
export function readPreTokenizer(value: unknown, file: string): PreTokenizer {
  if (value === null || value === undefined) return { run: ({ text }) => [text], growth: 1 }
  const fields = new Fields(value, file, 'pre_tokenizer')
  switch (fields.type) {
    case 'Sequence':
      return sequence(fields.list('pretokenizers').map((each) => readPreTokenizer(each, file)))
    case 'Whitespace':
      return split(words, 'Removed', true)
    case 'WhitespaceSplit':
      return split(space, 'Removed')
    case 'BertPreTokenizer':
      return sequence([split(space, 'Removed'), split(punctuation, 'Isolated')])
    case 'Punctuation':
      return split(punctuation, fields.oneOf('behavior', behaviors, 'Isolated'))
    case 'Digits':
      return split(cutAt(/\p{N}/gu), fields.boolean('individual_digits', false) ? 'Isolated' : 'Contiguous')
    case 'CharDelimiterSplit':
      return split(cutAt(readPattern({ String: fields.text('delimiter') }, file)), 'Removed')
    case 'Split':
      return split(cutAt(readPattern(fields.get('pattern'), file)), fields.oneOf('behavior', behaviors, 'Removed'), fields.boolean('invert', false))
    case 'Metaspace':
      return metaspace(fields)
    case 'ByteLevel':
      return byteLevel(fields)
    case 'FixedLength':
      return fixedLength(fields.integer('length', 1, 5))
    case 'Replace': {
      const { run, growth } = readReplacement(fields)
      return { run: ({ text }) => [run(text)], growth }
    }
    case 'UnicodeScripts':
      return fields.unsupported()
    default:
      return fields.unknown()
  }
}
