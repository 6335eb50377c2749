// Finds the command, checks its options, runs it, and turns what went wrong into a message and an exit code.

import { VinError, nearest, typeError } from '../errors.js'
import { packageVersion } from '../native/package-root.js'
import { errorCode, errorMessage, isError } from '../realms.js'
import { checkArguments } from './arguments.js'
import type { ArgsDef, CommandDef } from './command.js'
import { commandNames, commands, laterCommands } from './commands.js'
import { exitCode, exitCodes, isAbort } from './exit.js'
import { StopOnSignal } from './interrupt.js'
import { writeLine } from './output.js'

export async function main(argv: string[]): Promise<number> {
  const stop = new StopOnSignal()
  const json = argv.includes('--json')
  try {
    return await run(argv, stop)
  } catch (error) {
    report(error, json)
    return exitCode(error)
  } finally {
    stop.dispose()
  }
}

async function run(argv: string[], stop: StopOnSignal): Promise<number> {
  const [name, ...rawArgs] = argv
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    writeLine(await overview())
    return name === undefined ? exitCodes.usage : exitCodes.ok
  }
  if (name === '--version' || name === '-v') {
    writeLine(packageVersion())
    return exitCodes.ok
  }
  if ((laterCommands as readonly string[]).includes(name)) {
    throw new VinError('ERR_VIN_NOT_SUPPORTED', `Expected a command of this version but received '${name}', which is not built yet`, { name })
  }
  if (!Object.hasOwn(commands, name)) {
    throw typeError(`Expected a command but received '${name}'; the nearest one is '${nearest(name, commandNames) ?? commandNames[0]}', and vin-native --help lists all`)
  }
  const load = commands[name as keyof typeof commands].load
  const command = (await load()) as CommandDef<ArgsDef>
  const { parseArgs, renderUsage } = await import('citty')
  const definitions = (command.args ?? {}) as ArgsDef
  if (rawArgs.includes('--help') || rawArgs.includes('-h')) {
    writeLine(await renderUsage(command, { meta: { name: 'vin-native', version: packageVersion() } }))
    return exitCodes.ok
  }
  checkArguments(name, rawArgs, definitions)
  const code: unknown = await command.run?.({ rawArgs, args: parseArgs(rawArgs, definitions), cmd: command, data: stop })
  return typeof code === 'number' ? code : exitCodes.ok
}

async function overview(): Promise<string> {
  const width = Math.max(...commandNames.map((name) => name.length))
  const lines = commandNames.map((name) => `  ${name.padEnd(width)}  ${commands[name].description}`)
  return [`vin-native ${packageVersion()}: long videos from text`, '', 'Usage: vin-native COMMAND [options]', '', ...lines, '', 'vin-native COMMAND --help lists the options of one.'].join('\n')
}

function report(error: unknown, json: boolean): void {
  const code = errorCode(error)
  const message = errorMessage(error)
  if (json) {
    const details = error instanceof VinError ? error.details : {}
    writeLine(JSON.stringify({ type: 'error', code: isAbort(error) ? 'cancelled' : (code ?? 'ERR_UNKNOWN'), message, details }))
  }
  // What has no code was not foreseen: its stack is the report.
  if (isAbort(error)) process.stderr.write(`vin-native: ${message}\n`)
  else process.stderr.write(`vin-native: ${code !== undefined || !isError(error) ? message : (error.stack ?? message)}\n`)
}
