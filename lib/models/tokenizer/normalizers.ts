// Text → text, before it is cut into pieces.

import { Step } from './content.js'
import { readPattern } from './pattern.js'
import { Precompiled } from './precompiled.js'

export interface Normalizer {
  run: (text: string) => string
  /** How many times as long a text may become, at most. */
  growth: number
  /** Whether it drops the beginning of a text, so that what comes behind it does not begin the text. Precompiled does not count what it drops there. */
  drops: (beginning: string) => boolean
}

const keeps = (): boolean => false

/** Replaces or drops what it finds. */
function editing(run: (text: string) => string, growth = 1): Normalizer {
  return { run, growth, drops: (beginning) => beginning !== '' && run(`${beginning}x`) === run('x') }
}

/** Each character by itself: no letter depends on its place in a word. */
function lowercase(text: string): string {
  let result = ''
  for (const character of text) result += character.toLowerCase()
  return result
}

/** @throws ERR_VIN_FORMAT for a step that is malformed; ERR_VIN_NOT_SUPPORTED for a kind that this version does not compute with */
export function readNormalizer(value: unknown, file: string): Normalizer {
  if (value === null || value === undefined) return { run: (text) => text, growth: 1, drops: keeps }
  const step = new Step(value, file, 'normalizer')
  switch (step.type) {
    case 'Sequence': {
      const steps = step.list('normalizers').map((each) => readNormalizer(each, file))
      return {
        run: (text) => steps.reduce((result, { run }) => run(result), text),
        growth: steps.reduce((product, { growth }) => product * growth, 1),
        drops: (beginning) => {
          let rest = beginning
          for (const { run, drops } of steps) {
            if (drops(rest)) return true
            rest = run(rest)
          }
          return false
        }
      }
    }
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD': {
      const form = step.type
      return { run: (text) => text.normalize(form), growth: 1, drops: keeps }
    }
    case 'Lowercase':
      return { run: lowercase, growth: 1, drops: keeps }
    case 'Strip': {
      const [left, right] = [step.boolean('strip_left', true), step.boolean('strip_right', true)]
      return editing((text) => (left ? text.replace(/^\p{White_Space}+/u, '') : text).replace(right ? /\p{White_Space}+$/u : '', ''))
    }
    case 'Replace': {
      const content = step.text('content')
      const pattern = readPattern(step.get('pattern'), file)
      // The replacement is text: `$&` means nothing in it.
      return editing((text) => text.replaceAll(pattern, () => content), Math.max(1, content.length))
    }
    case 'Precompiled': {
      const precompiled = new Precompiled(step.text('precompiled_charsmap'), file)
      return { run: (text) => precompiled.normalize(text), growth: Math.max(1, precompiled.longest), drops: keeps }
    }
    default:
      throw step.unsupported('Sequence, Precompiled, Replace, Strip, Lowercase, NFC, NFD, NFKC or NFKD')
  }
}
