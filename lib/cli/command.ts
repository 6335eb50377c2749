// What a command is, in citty's types. citty itself is an ES module and is loaded when a command runs, also from the CommonJS build.

import type { ArgsDef, CommandDef } from 'citty' with { 'resolution-mode': 'import' }

export type { ArgsDef, CommandDef }

/** Types the arguments of `run` by `args`. */
export function defineCommand<const T extends ArgsDef>(definition: CommandDef<T>): CommandDef<T> {
  return definition
}
