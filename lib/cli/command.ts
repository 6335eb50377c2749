// What a command is, in citty's types. citty itself is an ES module and is loaded when a command runs, also from the CommonJS build.

import type { ArgsDef, CommandDef } from 'citty' with { 'resolution-mode': 'import' }

export type { ArgsDef, CommandDef }

/** Of a command whose first word says what it is about: its words, each with the names of options that it alone has. */
export type Subjects = Readonly<Record<string, readonly string[]>>

export type Command<T extends ArgsDef = ArgsDef> = CommandDef<T> & { subjects?: Subjects }

/** Types the arguments of `run` by `args`. */
export function defineCommand<const T extends ArgsDef>(definition: Command<T>): Command<T> {
  return definition
}
