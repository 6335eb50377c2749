// The methods by name; option type and command line take their lists from here.

import { checkOneOf } from '../check.js'
import { autoregressive } from './autoregressive.js'
import { freenoise } from './freenoise.js'
import { full } from './full.js'
import { independent } from './independent.js'
import type { Method } from './method.js'
import { spectralBlend } from './spectral-blend.js'
import { streamingT2V } from './streaming-t2v.js'
import { vin } from './vin.js'

export type { Evaluation, Geometry, Method, MethodPlan } from './method.js'

export const methods = { vin, full, autoregressive, independent, freenoise, 'spectral-blend': spectralBlend, 'streaming-t2v': streamingT2V } satisfies Record<string, Method>

export type MethodName = keyof typeof methods

export const methodNames = Object.keys(methods) as readonly MethodName[]

/** @throws RangeError for a name that is no method */
export function methodByName(name: unknown): Method {
  return methods[checkOneOf(name, 'method', methodNames)]
}
