// How an error reads on the command line: options by the names that were typed, and what the file system says in words.

import { errorMessage, isError } from '../realms.js'
import type { ArgsDef } from './command.js'
import type { Values } from './options.js'

/** Options whose library name is another word. */
const libraryNames: Record<string, string> = { frames: 'numFrames', steps: 'numInferenceSteps', guidance: 'guidanceScale', negative: 'negativePrompt' }

/** Embeddings of prompts come from a file; where no option has them, they are for a program to pass. */
function inPromptsOption(message: string, definitions: ArgsDef, { prompts = '' }: Values): string {
  if (definitions['prompts'] === undefined) return message.replace(/\bpass promptEmbeds\b/g, 'in a program, pass promptEmbeds')
  const option = `--prompts ${prompts.endsWith('.safetensors') ? prompts : 'FILE.safetensors'}`
  return message.replace(/\bpromptEmbeds(?:\[("(?:[^"\\]|\\.)*")\])?/g, (_, prompt?: string) => (prompt === undefined ? option : `${prompt} of ${option}`))
}

const camelCase = (name: string): string => name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())

/**
The options of a message by the names of the command line: `numFrames` becomes `--frames`, and `numFrames=` and `numFrames: 3` stay, which are of a value or of a program. A name that is a word of its own, as `width`, is one where the sentence says
`for width`, or begins with `Expected width to`.
*/
function inOptionNames(message: string, definitions: ArgsDef, values: Values): string {
  let text = inPromptsOption(message, definitions, values)
  for (const [name, { type }] of Object.entries(definitions)) {
    if (type === 'positional') continue
    for (const known of new Set([camelCase(name), libraryNames[name] ?? name])) {
      const pattern = /[A-Z]/.test(known) ? `(?<![\\w-])${known}(?![\\w=]|: )` : `(?<=\\bfor )${known}(?= but |$)|(?<=^Expected )${known}(?= to )`
      text = text.replace(new RegExp(pattern, 'g'), `--${name}`)
    }
  }
  return text
}

/** What the system's codes mean. */
export const reasons: Record<string, string> = {
  EACCES: 'access is denied',
  EBUSY: 'something else is using it',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'a file of that name is there',
  EIO: 'the disk reports an input/output error',
  EISDIR: 'it is a folder',
  ELOOP: 'its links lead in a circle',
  EMFILE: 'too many files are open',
  ENAMETOOLONG: 'its name is too long',
  ENOENT: 'it does not exist',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a file stands where its folder should be',
  EPERM: 'access is denied',
  EROFS: 'the file system is read-only'
}

const verbs: Record<string, string> = { open: 'open', read: 'read', scandir: 'list', mkdir: 'make', write: 'write', rename: 'replace', unlink: 'remove', rmdir: 'remove', spawn: 'start' }

/** An error of the operating system, as Node throws it. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return isError(error) && 'syscall' in error && 'code' in error && typeof error.code === 'string'
}

const raw = /\b(E[A-Z][A-Z0-9]+): [^,\n]*, \w+(?: '[^'\n]*'(?: -> '[^'\n]*')?)?/g
/** No name can be that long: what was given by mistake need not fill the screen. */
const endless = /[^\s/\\'":;,]{256,}/g

/** @param values what was typed for the options */
export function sentence(error: unknown, definitions: ArgsDef = {}, values: Values = {}): string {
  let message = errorMessage(error)
  if (isSystemError(error)) {
    const { code = '', syscall = '', path } = error
    const place = path === undefined ? '' : ` ${path}`
    const said = reasons[code] ?? message.replace(/^\w+: /, '').replace(/, .*/s, '')
    message = `Expected to ${verbs[syscall.split(' ')[0] ?? ''] ?? 'use'}${place === '' ? ' a file' : place} but ${said} (${code})`
  }
  return inOptionNames(message, definitions, values)
    .replace(raw, (found, code: string) => (reasons[code] === undefined ? found : `${reasons[code]} (${code})`))
    .replace(endless, (name) => `${name.slice(0, 40)}…`)
}
