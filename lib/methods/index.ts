// The methods by name; option type and command line take their lists from here.

import { checkOneOf } from '../check.js'
import { notSupported } from '../errors.js'
import { autoregressive } from './autoregressive.js'
import { freenoise } from './freenoise.js'
import { full } from './full.js'
import { independent } from './independent.js'
import type { Method } from './method.js'
import { spectralBlend } from './spectral-blend.js'
import { vin } from './vin.js'

export type { Evaluation, Geometry, Method, MethodPlan } from './method.js'

export const methods = { vin, full, autoregressive, independent, freenoise, 'spectral-blend': spectralBlend } satisfies Record<string, Method>

/** Methods of the published comparison that this version cannot run. */
export const unsupportedMethods = ['streaming-t2v'] as const

export type MethodName = keyof typeof methods | (typeof unsupportedMethods)[number]

export const methodNames: readonly MethodName[] = ['vin', 'full', 'autoregressive', 'freenoise', 'spectral-blend', 'streaming-t2v', 'independent']

/** @throws RangeError for a name that is no method, ERR_VIN_NOT_SUPPORTED for one that this version cannot run */
export function methodByName(name: unknown): Method {
  const runs = Object.keys(methods) as (keyof typeof methods)[]
  if ((unsupportedMethods as readonly unknown[]).includes(name)) {
    throw notSupported(name as string, `Expected one of ${runs.join(', ')} for method but received '${name as string}', which this version does not run`)
  }
  return methods[checkOneOf(name, 'method', runs)]
}
