// Masks over latent frames or text rows.

import { expected, rangeError } from '../errors.js'

/** Ones and zeros of a mask argument; true and false count as 1 and 0. */
export function checkMask(mask: ArrayLike<number | boolean>, name: string, length: number): number[] {
  if (typeof mask !== 'object' || mask === null || typeof mask.length !== 'number') throw expected(`${length} ones and zeros`, name, mask, 'type')
  const values = Array.from(mask, Number)
  if (values.length !== length) throw rangeError(`Expected ${length} values for ${name} but received ${values.length}`)
  const wrong = values.find((value) => value !== 0 && value !== 1)
  if (wrong !== undefined) throw rangeError(`Expected ones and zeros for ${name} but received ${wrong}`)
  return values
}
