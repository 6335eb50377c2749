// A value may come from another realm: Jest and vitest's vm pools give every test file globals of its own, and what the addon and Node make belongs to the realm
// that loaded them. Or from another copy of this library: its ESM and its CommonJS build in one process, a bundled one beside an installed one. `instanceof` knows
// neither. So built-in types are asked of V8, and own classes bear a brand.

import { types } from 'node:util'

/** An Error or DOMException of any realm. */
export function isError(value: unknown): value is Error {
  return types.isNativeError(value) || Object.prototype.toString.call(value) === '[object DOMException]'
}

/** What an aborted signal or a cancelled job ends with, where no other reason was given. */
export function isAbort(error: unknown): boolean {
  return isError(error) && error.name === 'AbortError'
}

/** The `code` of an error, where it has one. */
export function errorCode(error: unknown): string | undefined {
  return isError(error) && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

export function errorMessage(error: unknown): string {
  return isError(error) ? error.message : String(error)
}

const own = { Float32Array, Float64Array, Int32Array, Uint8Array }

/** The same memory as an array of this realm, so that `instanceof Float32Array` holds for whoever calls the library. */
export function ownArray<A extends Float32Array | Float64Array | Int32Array | Uint8Array>(array: A): A {
  const constructor = own[array[Symbol.toStringTag]]
  return Object.getPrototypeOf(array) === constructor.prototype ? array : (new constructor(array.buffer as ArrayBuffer, array.byteOffset, array.length) as A)
}

/** Makes `value instanceof constructor` hold for instances of the same class in every realm and copy of this library. Classes that extend it keep JavaScript's own rule. */
export function brand(constructor: { readonly prototype: object }, name: string): void {
  const mark = Symbol.for(`vin-native.${name}`)
  Object.defineProperty(constructor.prototype, mark, { value: true })
  Object.defineProperty(constructor, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      return this === constructor ? typeof value === 'object' && value !== null && mark in value : Function.prototype[Symbol.hasInstance].call(this, value)
    }
  })
}
