// Strict arguments: citty takes any name, so names, missing values and surplus words are refused here first, and numbers are read here. What citty gets is one spelling
// of each option, --name=value: of its own it takes the = of -o=x for a part of the value.

import { expected, near, rangeError, typeError } from '../errors.js'
import type { ArgsDef, Subjects } from './command.js'

interface Option {
  /** As in the definitions. */
  name: string
  boolean: boolean
  /** Takes an empty text: one that is shown, not a number or the name of something. */
  text: boolean
}

function optionsOf(definitions: ArgsDef): Map<string, Option> {
  const known = new Map<string, Option>()
  for (const [name, definition] of Object.entries(definitions)) {
    if (definition.type === 'positional' || definition.type === undefined) continue
    const boolean = definition.type === 'boolean'
    const aliases = 'alias' in definition && definition.alias !== undefined ? [definition.alias].flat() : []
    const option = { name, boolean, text: definition.valueHint === 'text' }
    known.set(`--${name}`, option)
    for (const alias of aliases) known.set(alias.length === 1 ? `-${alias}` : `--${alias}`, option)
    if (boolean) known.set(`--no-${name}`, option)
  }
  for (const name of ['--help', '-h']) known.set(name, { name: 'help', boolean: true, text: false })
  return known
}

/** A value may be a negative number, but not another option. */
function looksLikeOption(text: string): boolean {
  return text.startsWith('-') && text.length > 1 && !/^-[\d.]/.test(text)
}

/**
The same arguments in one spelling.

@throws TypeError for an unknown option or subject, an option of another subject, a missing value, a value of a switch, and a word too many
*/
export function checkArguments(command: string, rawArgs: readonly string[], definitions: ArgsDef, subjects?: Subjects): string[] {
  const known = optionsOf(definitions)
  const places = Object.entries(definitions).filter(([, { type }]) => type === 'positional')
  // The last one takes all words that are left where its name says so: FILE…
  const positionals = places.at(-1)?.[0].endsWith('…') === true ? Infinity : places.length
  const options: string[] = []
  const words: string[] = []
  const foreign: { name: string; of: string }[] = []
  for (let i = 0; i < rawArgs.length; i++) {
    const arg = rawArgs[i]!
    if (arg === '--') {
      words.push(...rawArgs.slice(i + 1))
      break
    }
    if (!looksLikeOption(arg)) {
      words.push(arg)
      continue
    }
    const equals = arg.indexOf('=')
    const [name, value] = equals === -1 ? [arg, undefined] : [arg.slice(0, equals), arg.slice(equals + 1)]
    const option = known.get(name)
    if (option === undefined) {
      if (definitions[name.slice(2)]?.type === 'positional') throw typeError(`Expected ${name.slice(2).toUpperCase()} for ${command} as a word of its own but received it with '${name}'; leave the option's name out`)
      throw unknownOption(command, name, known, words[0] === undefined ? undefined : subjects?.[words[0]], subjects)
    }
    const of = Object.keys(subjects ?? {}).find((subject) => subjects![subject]!.includes(option.name))
    if (of !== undefined) foreign.push({ name: option.name, of })
    if (option.boolean) {
      if (value !== undefined) throw typeError(`Expected ${name} without a value but received '${arg}'`)
      options.push(name.startsWith('--no-') ? name : `--${option.name}`)
      continue
    }
    const next = value ?? rawArgs[++i]
    if (next === undefined || (value === undefined && looksLikeOption(next))) throw typeError(`Expected a value for ${name} but received ${next === undefined ? 'nothing' : `'${next}'`}`)
    if (next === '' && !option.text) throw typeError(`Expected a value for ${name} but received ''`)
    options.push(`--${option.name}=${next}`)
  }
  const [subject] = words
  if (subjects !== undefined && subject !== undefined) {
    const names = Object.keys(subjects)
    if (!names.includes(subject)) {
      const meant = near(subject, names)
      throw typeError(`Expected one of ${names.join(', ')} for ${command} but received '${subject}'${meant === undefined ? '' : `; the nearest one is '${meant}'`}`)
    }
    const other = foreign.find(({ of }) => of !== subject)
    if (other !== undefined) throw typeError(`Expected --${other.name} with ${command} ${other.of} only but received it with ${command} ${subject}`)
  }
  if (words.length > positionals) {
    throw typeError(`Expected at most ${positionals} ${positionals === 1 ? 'word' : 'words'} for ${command} but received '${words[positionals]}' too; put quotes around a prompt`)
  }
  const empty = words.includes('') ? places[Math.min(words.indexOf(''), places.length - 1)]?.[0] : undefined
  if (empty !== undefined && empty !== 'prompt') throw typeError(`Expected ${empty.toUpperCase()} for ${command} but received ''`)
  const missing = places.filter(([, { required }]) => required === true)[words.length]
  if (missing !== undefined) throw typeError(`Expected ${missing[0].toUpperCase()} for ${command} (${missing[1].description ?? ''}) but received nothing`)
  return [...options, '--', ...words]
}

/** The nearest of a command's options, or, of a subject's, of its own and of those that all have. */
function unknownOption(command: string, name: string, known: ReadonlyMap<string, Option>, own: readonly string[] | undefined, subjects: Subjects = {}): Error {
  const others = own === undefined ? [] : Object.values(subjects).flat().filter((option) => !own.includes(option))
  const names = [...known].filter(([candidate, option]) => candidate.startsWith('--') && candidate === `--${option.name}` && !others.includes(option.name)).map(([candidate]) => candidate.slice(2))
  const meant = near(name.replace(/^-+(no-)?/, ''), names)
  const off = name.startsWith('--no-') && known.has(`--no-${meant}`) ? 'no-' : ''
  return typeError(`Expected a known option of ${command} but received '${name}'; ${meant === undefined ? `vin-native help ${command} lists all` : `the nearest one is '--${off}${meant}'`}`)
}

/** The number that an option's text says. */
export function numberOption(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined
  const value = text.trim() === '' ? NaN : Number(text)
  if (Number.isNaN(value)) throw expected('a number', name, text, 'type')
  return value
}

/** '20,40,80' */
export function numbersOption(text: string | undefined, name: string): number[] | undefined {
  return text?.split(',').map((part) => numberOption(part, name)!)
}

/** 'vin,full' */
export function namesOption(text: string | undefined): string[] | undefined {
  return text?.split(',').map((part) => part.trim())
}

/** A seed: exact beyond 2⁵³. */
export function seedOption(text: string | undefined): number | bigint | undefined {
  if (text === undefined) return undefined
  const value = /^\d{1,20}$/.test(text) ? BigInt(text) : -1n
  if (value < 0n || value >= 2n ** 64n) throw rangeError(`Expected an integer from 0 to 18446744073709551615 for --seed but received ${JSON.stringify(text)}`)
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

/** Only the options that were given. */
export function given<T extends Record<string, unknown>>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> }
}

/** A word as a shell takes it. */
export function quoted(word: string): string {
  return /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}
