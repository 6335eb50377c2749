// Where a pattern of a tokenizer.json matches a text. Its regular expressions are written for Oniguruma, in Ruby's syntax, with classes of all of Unicode; they are
// translated to JavaScript's, and what has no translation is refused, since it would change ids in silence.

import { notSupported } from '../../errors.js'
import { errorMessage } from '../../realms.js'
import { formatError, object, quoted } from './content.js'

/** A part of a text, and whether the pattern matched it. */
export interface Part {
  text: string
  matched: boolean
}

/** Cuts a text where a pattern matches; the parts make up the text. */
export type Cut = (text: string) => Part[]

/** Inside brackets. JavaScript's own \s holds U+FEFF and lacks U+0085. */
export const whitespace = String.raw`\p{White_Space}`
/** \w of Oniguruma. Outside of brackets it has the numbers of Latin-1 too; \w of Rust has two joiners. */
export const wordCharacters = String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}`

export function cutAt(expression: RegExp): Cut {
  return (text) => {
    const parts: Part[] = []
    let end = 0
    for (const match of text.matchAll(expression)) {
      if (match.index > end) parts.push({ text: text.slice(end, match.index), matched: false })
      parts.push({ text: match[0], matched: true })
      end = match.index + match[0].length
    }
    if (end < text.length) parts.push({ text: text.slice(end), matched: false })
    return parts
  }
}

/** `{ String }` or `{ Regex }`. An empty text matches nowhere. */
export function readPattern(value: unknown, file: string): RegExp {
  const { String: text, Regex: regex } = object(value, file, 'pattern')
  if (typeof text === 'string') return new RegExp(text === '' ? '(?!)' : [...text].map(literal).join(''), 'gv')
  if (typeof regex !== 'string') throw formatError(file, '{ String } or { Regex } for a pattern', quoted(value))
  const source = new Translation(regex, file).source()
  try {
    return new RegExp(source, 'gv')
  } catch (error) {
    throw Object.assign(formatError(file, 'a regular expression', `${quoted(regex)} (${errorMessage(error)})`), { cause: error })
  }
}

const syntax = new Set('\\^$.*+?()[]{}|/')
const literal = (character: string): string => (syntax.has(character) ? `\\${character}` : character)
const coded = (character: string): string => `\\u{${character.codePointAt(0)!.toString(16)}}`

const controls: Record<string, string> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', a: '\x07', e: '\x1b' }
/** Reading recurses. */
const maxDepth = 100
/** Classes by the letter of their escape, as the inside of brackets; the capital letter is all the rest. */
const classes: Record<string, string> = { s: whitespace, w: wordCharacters, d: String.raw`\p{Nd}`, h: '0-9a-fA-F' }
/** Classes by name, in `[:alpha:]` and `\p{Alpha}`. */
const named: Record<string, string> = {
  alpha: String.raw`\p{Alphabetic}`,
  digit: String.raw`\p{Nd}`,
  alnum: String.raw`\p{Alphabetic}\p{Nd}`,
  upper: String.raw`\p{Uppercase}`,
  lower: String.raw`\p{Lowercase}`,
  punct: String.raw`\p{P}\p{S}`,
  space: whitespace,
  word: wordCharacters,
  cntrl: String.raw`\p{Cc}`,
  xdigit: '0-9a-fA-F'
}
const complement = (inside: string): string => `[^${inside}]`
const word = `[${wordCharacters}²³¹¼½¾]`
/** Places in a text, by the letter of their escape. */
const places: Record<string, string> = {
  A: '(?<![^])',
  z: '(?![^])',
  Z: String.raw`(?=\n?(?![^]))`,
  b: `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`,
  B: `(?:(?<=${word})(?=${word})|(?<!${word})(?!${word}))`
}

/** The characters that are one without their case. */
function folded(character: string): string[] {
  const lower = character.toLowerCase()
  const all = [character, lower, character.toUpperCase(), lower === 's' ? 'ſ' : lower === 'k' ? '\u212a' : character]
  return [...new Set(all)].filter((each) => [...each].length === 1)
}

class Translation {
  readonly #characters: string[]
  readonly #pattern: string
  readonly #file: string
  #at = 0
  #groups = 0
  #depth = 0

  constructor(pattern: string, file: string) {
    this.#pattern = pattern
    this.#characters = [...pattern]
    this.#file = file
  }

  source(): string {
    const source = this.#alternatives(false)
    if (this.#at < this.#characters.length) throw this.#bad('an opening bracket for each closing one')
    return source
  }

  #bad(wanted: string): Error {
    return formatError(this.#file, `${wanted} in a regular expression`, quoted(this.#pattern))
  }

  #refuse(what: string): never {
    throw notSupported(what, `Expected a regular expression that can be run in ${this.#file} but found ${what} in ${quoted(this.#pattern)}, which this version does not compute with`)
  }

  #next(): string | undefined {
    return this.#characters[this.#at]
  }

  #take(text: string): boolean {
    if (![...text].every((character, i) => this.#characters[this.#at + i] === character)) return false
    this.#at += [...text].length
    return true
  }

  /** What comes next, if it fits; it is taken. */
  #match(expression: RegExp): RegExpExecArray | null {
    const found = expression.exec(this.#characters.slice(this.#at, this.#at + 64).join(''))
    if (found !== null) this.#at += [...found[0]].length
    return found
  }

  /** Up to the bracket that closes the group, or the end. `(?i)` holds for what follows it in its group. */
  #alternatives(ignoreCase: boolean): string {
    if (++this.#depth > maxDepth) throw this.#bad(`at most ${maxDepth} brackets in brackets`)
    let source = ''
    for (let ignore = ignoreCase; this.#next() !== undefined && this.#next() !== ')'; ) {
      if (this.#take('(?i)')) ignore = true
      else source += this.#take('|') ? '|' : this.#quantified(this.#atom(ignore))
    }
    this.#depth--
    return source
  }

  #quantified(atom: string): string {
    let result = atom
    for (;;) {
      const [quantifier, low, comma, high] = this.#match(/^(?:[*+?]|\{(?=[\d,]*\d)(\d*)(,?)(\d*)\})/) ?? []
      if (quantifier === undefined) return result
      const interval = comma === undefined ? undefined : `{${low === '' ? '0' : low}${comma}${high}}`
      result = `(?:${result})${interval ?? quantifier}`
      if (this.#take('?')) result += '?'
      // A plus behind an interval repeats it; behind the others it keeps what they took.
      else if (interval === undefined && this.#take('+')) result = this.#kept(result)
    }
  }

  /** What matched is not given up again: lookaheads do not backtrack. */
  #kept(source: string): string {
    const group = `kept${this.#groups++}`
    return `(?:(?=(?<${group}>${source}))\\k<${group}>)`
  }

  #atom(ignoreCase: boolean): string {
    const character = this.#characters[this.#at++]!
    if (character === '(') return this.#group(ignoreCase)
    if (character === '[') return this.#brackets(ignoreCase)
    // Lines end at \n alone, and each has a beginning and an end.
    if (character === '.') return String.raw`[^\n]`
    if (character === '^') return String.raw`(?<![^\n])`
    if (character === '$') return String.raw`(?![^\n])`
    if ('*+?'.includes(character)) throw this.#bad('something to repeat')
    if (character !== '\\') return this.#letter(character, ignoreCase)
    const place = places[this.#next() ?? '']
    if (place !== undefined) {
      this.#at++
      return place
    }
    if (this.#take('w')) return word
    if (this.#take('W')) return complement(word)
    const escaped = this.#escaped()
    return 'inside' in escaped ? `[${escaped.inside}]` : this.#letter(escaped.character, ignoreCase)
  }

  #letter(character: string, ignoreCase: boolean): string {
    return ignoreCase && folded(character).length > 1 ? `[${folded(character).map(coded).join('')}]` : literal(character)
  }

  #group(ignoreCase: boolean): string {
    const kind = ['?:', '?=', '?!', '?<=', '?<!', '?>', '?i:', '?-i:'].find((each) => this.#take(each))
    if (kind === undefined && this.#next() === '?') this.#refuse(`(${this.#characters.slice(this.#at, this.#at + 3).join('')}`)
    const inner = this.#alternatives(kind === '?i:' || (kind !== '?-i:' && ignoreCase))
    if (!this.#take(')')) throw this.#bad('a closing bracket for each opening one')
    if (kind === '?>') return this.#kept(inner)
    // No pattern that is read refers back to a group.
    return `(${kind === undefined || kind.endsWith('i:') ? '?:' : kind}${inner})`
  }

  /** What an escape stands for: a character, or a class as the inside of brackets. */
  #escaped(): { character: string } | { inside: string } {
    const letter = this.#characters[this.#at++]
    if (letter === undefined) throw this.#bad(String.raw`a character behind \ `.trim())
    if (Object.hasOwn(controls, letter)) return { character: controls[letter]! }
    if (Object.hasOwn(classes, letter)) return { inside: classes[letter]! }
    if (Object.hasOwn(classes, letter.toLowerCase())) return { inside: complement(classes[letter.toLowerCase()]!) }
    if (letter === 'p' || letter === 'P') return { inside: this.#property(letter === 'P') }
    if (letter === 'x' || letter === 'u') {
      const found = this.#match(letter === 'x' ? /^(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{1,2}))/ : /^([0-9a-fA-F]{4})/)
      const code = Number.parseInt(found?.[1] ?? found?.[2] ?? '', 16)
      if (!(code <= 0x10ffff)) throw this.#bad(`a number behind \\${letter}`)
      return { character: String.fromCodePoint(code) }
    }
    if (/[\p{L}\p{N}]/u.test(letter)) this.#refuse(`\\${letter}`)
    return { character: letter }
  }

  #property(negated: boolean): string {
    const [, not, name = ''] = this.#match(/^\{(\^?)([\w =-]+)\}/) ?? []
    if (name === '') throw this.#bad(String.raw`{name} behind \p`)
    const lower = name.toLowerCase()
    // By this name punctuation has no symbols.
    const own = lower === 'punct' ? String.raw`\p{P}` : named[lower]
    const candidates = own !== undefined ? [own] : [name, `Script=${name}`, `Script=${name.charAt(0).toUpperCase()}${lower.slice(1)}`].map((each) => `\\p{${each}}`)
    const inside = candidates.find((each) => isClass(each))
    if (inside === undefined) return this.#refuse(`\\p{${name}}`)
    return negated === (not === '^') ? inside : complement(inside)
  }

  #brackets(ignoreCase: boolean): string {
    if (++this.#depth > maxDepth) throw this.#bad(`at most ${maxDepth} brackets in brackets`)
    const negated = this.#take('^')
    let inside = ''
    /** Of the character before, which may begin a range. */
    let before: string | undefined
    const add = (character: string): void => {
      inside += (ignoreCase ? folded(character) : [character]).map(coded).join('')
    }
    for (let first = true; ; first = false) {
      const character = this.#characters[this.#at++]
      if (character === undefined) throw this.#bad('a closing bracket for each opening one')
      if (character === ']' && !first) break
      if (character === '&' && this.#next() === '&') this.#refuse('&&')
      if (character === '-' && before !== undefined && this.#next() !== ']') {
        this.#range(before, ignoreCase, (text) => (inside += text))
        before = undefined
        continue
      }
      const [, not, name] = character === '[' ? (this.#match(/^:(\^?)([a-z]+):\]/) ?? []) : []
      const own = named[name ?? '']
      if (own !== undefined) inside += not === '^' ? complement(own) : own
      else if (character === '[') inside += this.#brackets(ignoreCase)
      const one = character === '[' ? undefined : character === '\\' ? this.#escaped() : { character }
      before = one !== undefined && 'character' in one ? one.character : undefined
      if (before !== undefined) add(before)
      else if (one !== undefined && 'inside' in one) inside += one.inside
    }
    this.#depth--
    return `[${negated ? '^' : ''}${inside}]`
  }

  #range(from: string, ignoreCase: boolean, add: (inside: string) => void): void {
    const last = this.#characters[this.#at++]
    const end = last === '\\' ? this.#escaped() : { character: last ?? '' }
    if (!('character' in end) || last === '[' || last === undefined) return this.#refuse('a range that does not end with a character')
    const [low, high] = [from.codePointAt(0)!, end.character.codePointAt(0)!]
    if (high < low) throw this.#bad('ranges that rise')
    add(`${coded(from)}-${coded(end.character)}`)
    if (ignoreCase && high - low > 0x400) this.#refuse('a long range without its case')
    if (ignoreCase) for (let code = low; code <= high; code++) add(folded(String.fromCodePoint(code)).map(coded).join(''))
  }
}

function isClass(source: string): boolean {
  try {
    return new RegExp(`[${source}]`, 'v').global === false
  } catch {
    return false
  }
}
