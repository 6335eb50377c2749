// Text → the pieces that the vocabulary's model works on, each by itself. Nothing joins what a step has cut.

import { Step, formatError, quoted } from './content.js'
import { literal } from './pattern.js'

export interface Piece {
  text: string
  /** Whether it begins where the whole text begins. */
  first: () => boolean
}

export interface PreTokenizer {
  /** The parts of one piece, in order; empty ones are dropped. */
  run: (piece: Piece) => string[]
  /** How many times as long a text may become, at most. */
  growth: number
}

function metaspace(step: Step): PreTokenizer {
  const replacement = step.text('replacement', '▁')
  if ([...replacement].length !== 1) throw formatError(step.file, 'one character for replacement of Metaspace', quoted(replacement))
  // Older files say it by another key.
  const scheme = step.oneOf('prepend_scheme', ['always', 'first', 'never'] as const, step.boolean('add_prefix_space', true) ? 'always' : 'never')
  const cuts = step.boolean('split', true)
  const beginnings = new RegExp(`(?=${literal(replacement)})`, 'u')
  return {
    run: ({ text, first }) => {
      const spaced = text.replaceAll(' ', () => replacement)
      const prefixed = (scheme === 'always' || (scheme === 'first' && first())) && !spaced.startsWith(replacement) ? replacement + spaced : spaced
      return cuts ? prefixed.split(beginnings) : [prefixed]
    },
    growth: replacement.length
  }
}

function sequence(steps: PreTokenizer[]): PreTokenizer {
  const apply = (pieces: Piece[], { run }: PreTokenizer): Piece[] =>
    pieces.flatMap((piece) => run(piece).filter((text) => text !== '').map((text, i) => ({ text, first: i === 0 ? piece.first : () => false })))
  return { run: (piece) => steps.reduce(apply, [piece]).map(({ text }) => text), growth: steps.reduce((product, { growth }) => product * growth, 1) }
}

/** @throws ERR_VIN_FORMAT for a step that is malformed; ERR_VIN_NOT_SUPPORTED for a kind that this version does not compute with */
export function readPreTokenizer(value: unknown, file: string): PreTokenizer {
  if (value === null || value === undefined) return { run: ({ text }) => [text], growth: 1 }
  const step = new Step(value, file, 'pre_tokenizer')
  switch (step.type) {
    case 'Sequence':
      return sequence(step.list('pretokenizers').map((each) => readPreTokenizer(each, file)))
    case 'WhitespaceSplit':
      return { run: ({ text }) => text.split(/\p{White_Space}+/u), growth: 1 }
    case 'Metaspace':
      return metaspace(step)
    default:
      throw step.unsupported('Sequence, WhitespaceSplit or Metaspace')
  }
}
