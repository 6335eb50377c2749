// What a Replace replaces: a literal text, or a simple regular expression. Expressions are written for Oniguruma; those read here mean the same in JavaScript, and
// always match something.

import { errorMessage } from '../../realms.js'
import { formatError, object, quoted, unsupported } from './content.js'

/** JavaScript's own \s holds U+FEFF and lacks U+0085. */
const classes: Record<string, string> = { '\\s': '\\p{White_Space}', '\\d': '\\p{Nd}' }
const escape = String.raw`\\(?:[nrtsd]|[^\p{L}\p{N}])`
const characters = String.raw`\[\^?(?:[^\[\]\\&^]|${escape})+\]`
const simple = new RegExp(String.raw`^(?:(?:[^\\^$.*+?()[\]{}|]|${escape}|${characters})(?:\+|\{[1-9]\d*(?:,\d*)?\})?)+$`, 'u')

/** `{ String }` or `{ Regex }`. An empty text matches nowhere. */
export function readPattern(value: unknown, file: string): RegExp {
  const { String: text, Regex: regex } = object(value, file, 'pattern')
  if (typeof text === 'string') return new RegExp(text === '' ? '(?!)' : literal(text), 'gu')
  if (typeof regex !== 'string') throw formatError(file, '{ String } or { Regex } for a pattern', quoted(value))
  if (!simple.test(regex)) throw unsupported(regex, file, 'a text or characters, [classes], \\s, \\d and their repeats by + and {n,m} for a pattern', quoted(regex))
  // Escaped characters by their numbers: JavaScript knows other escapes inside of brackets than outside.
  const source = regex.replaceAll(/\\([^])/gu, (escaped, character: string) => classes[escaped] ?? (/[nrt]/.test(character) ? escaped : `\\u{${character.codePointAt(0)!.toString(16)}}`))
  try {
    return new RegExp(source, 'gu')
  } catch (error) {
    throw Object.assign(formatError(file, 'a regular expression', `${quoted(regex)} (${errorMessage(error)})`), { cause: error })
  }
}

export function literal(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`)
}
