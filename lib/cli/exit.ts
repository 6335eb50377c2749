// Exit codes: 0 ok, 1 failed, 2 usage, 3 model, 4 resources, 130 interrupted.

import { VinError, type VinErrorCode } from '../errors.js'
import { errorCode, isAbort } from '../realms.js'
import { isSystemError } from './sentence.js'

export const exitCodes = { ok: 0, failed: 1, usage: 2, model: 3, resources: 4, interrupted: 130 } as const

const byCode: Partial<Record<VinErrorCode, number>> = {
  ERR_VIN_FORMAT: exitCodes.model,
  ERR_VIN_MISSING_COMPONENT: exitCodes.model,
  ERR_VIN_NOT_SUPPORTED: exitCodes.model,
  ERR_VIN_OUT_OF_MEMORY: exitCodes.resources,
  ERR_VIN_DISK: exitCodes.resources,
  ERR_VIN_BACKEND_UNAVAILABLE: exitCodes.resources,
  ERR_VIN_DEVICE: exitCodes.resources
}

/** The reason that the command's signal aborts with. */
export class Interrupted extends Error {
  override name = 'AbortError'
}

export function exitCode(error: unknown): number {
  if (isAbort(error)) return exitCodes.interrupted
  if (error instanceof VinError) return byCode[error.code] ?? exitCodes.failed
  if (isSystemError(error)) return exitCodes.resources
  // Wrong arguments carry a code; a TypeError without one is a defect, not a usage error. citty's own errors are about arguments.
  const code = errorCode(error)
  if (code === 'ERR_OUT_OF_RANGE' || code === 'ERR_INVALID_ARG_TYPE' || code === 'EARG') return exitCodes.usage
  return exitCodes.failed
}
