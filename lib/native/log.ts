// What is loaded and why, and what is warned of, as pino has it: the facts, then a sentence.

import { debuglog } from 'node:util'
import { expected } from '../errors.js'

/** pino, or anything of its shape (Fastify's `log`, bunyan, console). Warnings go to `warn`; to `debug` goes what was loaded and why. */
export interface Logger {
  debug(facts: object, message: string): void
  warn(facts: object, message: string): void
}

export function checkLogger(value: unknown): Logger | undefined {
  if (value === undefined) return undefined
  const methods = value as Partial<Record<'debug' | 'warn', unknown>> | null
  if ((typeof value !== 'object' && typeof value !== 'function') || typeof methods?.debug !== 'function' || typeof methods.warn !== 'function') {
    throw expected("an object with the methods debug and warn, as pino's", 'logger', value, 'type')
  }
  return value as Logger
}

const debug = debuglog('vin-native')

/** Where a program gives no logger: NODE_DEBUG=vin-native shows what was loaded. */
export const quietLogger: Pick<Logger, 'debug'> = {
  debug: (facts, message) => debug('%s %o', message, facts)
}

const warned = new Set<string>()

/** A warning about this process, of which there is no job that could carry it: to the logger, else once as Node's own. */
export function warnOfProcess(logger: Logger | undefined, code: string, message: string, facts: object = {}): void {
  if (logger !== undefined) logger.warn({ code, ...facts }, message)
  else if (!warned.has(code)) {
    warned.add(code)
    process.emitWarning(message, { type: 'VinNativeWarning', code })
  }
}
