// Node's permission model (--permission) and --no-addons: told by the codes of their errors, whose words differ between versions of Node.

import { VinError } from '../errors.js'
import { errorCode } from '../realms.js'

/** Refused by the permission model. */
export function isDenied(error: unknown): boolean {
  return errorCode(error) === 'ERR_ACCESS_DENIED'
}

/**
Starts a process or a thread.

@throws ERR_VIN_NOT_SUPPORTED naming the flag, where the permission model forbids it
*/
export function permitted<T>(flag: '--allow-child-process' | '--allow-worker', what: string, start: () => T): T {
  try {
    return start()
  } catch (error) {
    if (!isDenied(error)) throw error
    throw new VinError('ERR_VIN_NOT_SUPPORTED', `Expected to start ${what} but Node's permission model forbids it; start Node with ${flag}`, { name: what, flag }, { cause: error })
  }
}
