// Finds the command, checks its options, runs it, and turns what went wrong into a message and an exit code.

import { VinError, near, typeError } from '../errors.js'
import { packageVersion } from '../native/package-root.js'
import { errorCode, isAbort, isError } from '../realms.js'
import { checkArguments } from './arguments.js'
import type { ArgsDef, Command } from './command.js'
import { commandNames, commands, laterCommands } from './commands.js'
import { exitCode, exitCodes } from './exit.js'
import { StopOnSignal } from './interrupt.js'
import { textValues, type Values } from './options.js'
import { writeLine } from './output.js'
import { sentence } from './sentence.js'

/** The command that runs: its options, by whose names errors speak. */
interface Running {
  definitions: ArgsDef
  values: Values
  stop: StopOnSignal
}

export async function main(argv: string[]): Promise<number> {
  const stop = new StopOnSignal()
  const reader = watchOutput(stop)
  const running: Running = { definitions: {}, values: {}, stop }
  try {
    return await run(argv, running)
  } catch (error) {
    if (!(reader.left && isAbort(error))) report(error, argv.includes('--json'), running)
    return exitCode(error)
  } finally {
    stop.dispose()
  }
}

/** Who reads the output may leave, as `| head -1` does: then there is nobody to tell, and a run that goes on is stopped and saved, as by Ctrl-C. */
function watchOutput(stop: StopOnSignal): { left: boolean } {
  const reader = { left: false }
  for (const stream of [process.stdout, process.stderr]) {
    // Stays for what is written late.
    stream.on('error', (error) => {
      const code = errorCode(error)
      if (code !== 'EPIPE' && code !== 'ERR_STREAM_DESTROYED') {
        if (stream === process.stdout) process.stderr.write(`vin-native: ${sentence(error)}\n`)
        process.exit(exitCodes.resources)
      }
      reader.left = true
      stop.stop()
    })
  }
  return reader
}

async function run(argv: string[], running: Running): Promise<number> {
  const [name, ...rawArgs] = argv
  if (name === '--help' || name === '-h' || name === 'help') {
    const [of, ...more] = rawArgs
    if (more.length > 0) throw typeError(`Expected one command for help but received '${more[0]}' too`)
    writeLine(of === undefined ? await overview() : await usage(await commandNamed(of)))
    return exitCodes.ok
  }
  if (name === undefined) {
    writeLine(await overview())
    return exitCodes.usage
  }
  if (name === '--version' || name === '-v') {
    writeLine(packageVersion())
    return exitCodes.ok
  }
  const command = await commandNamed(name)
  const definitions = (command.args ?? {}) as ArgsDef
  running.definitions = definitions
  const options = rawArgs.includes('--') ? rawArgs.slice(0, rawArgs.indexOf('--')) : rawArgs
  if (options.includes('--help') || options.includes('-h')) {
    writeLine(await usage(command))
    return exitCodes.ok
  }
  const { parseArgs } = await import('citty')
  const args = parseArgs(checkArguments(name, rawArgs, definitions, command.subjects), definitions)
  running.values = textValues(args)
  const code: unknown = await command.run?.({ rawArgs, args, cmd: command, data: running.stop })
  return typeof code === 'number' ? code : exitCodes.ok
}

async function commandNamed(name: string): Promise<Command> {
  if ((laterCommands as readonly string[]).includes(name)) {
    throw new VinError('ERR_VIN_NOT_SUPPORTED', `Expected a command of this version but received '${name}', which is not built yet`, { name })
  }
  if (!Object.hasOwn(commands, name)) {
    const meant = near(name, commandNames)
    throw typeError(`Expected a command but received '${name}'; ${meant === undefined ? '' : `the nearest one is '${meant}', and `}vin-native --help lists all`)
  }
  return (await commands[name as keyof typeof commands].load()) as Command
}

async function usage(command: Command): Promise<string> {
  const { renderUsage } = await import('citty')
  return renderUsage(command, { meta: { name: 'vin-native', version: packageVersion() } })
}

async function overview(): Promise<string> {
  const width = Math.max(...commandNames.map((name) => name.length))
  const lines = commandNames.map((name) => `  ${name.padEnd(width)}  ${commands[name].description}`)
  return [`vin-native ${packageVersion()}: long videos from text`, '', 'Usage: vin-native COMMAND [options]', '', ...lines, '', 'vin-native help COMMAND lists the options of one.'].join('\n')
}

function report(error: unknown, json: boolean, { definitions, values }: Running): void {
  const code = errorCode(error)
  const message = sentence(error, definitions, values)
  if (json) {
    const details = error instanceof VinError ? error.details : {}
    writeLine(JSON.stringify({ type: 'error', code: isAbort(error) ? 'cancelled' : (code ?? 'ERR_UNKNOWN'), message, details }))
  }
  process.stderr.write(`vin-native: ${message}\n`)
  // What has no code was not foreseen: its stack is the report.
  if (isError(error) && code === undefined && !isAbort(error)) process.stderr.write(`This is a fault of vin-native itself: please report it with what follows.\n${error.stack ?? error.name}\n`)
}
