// What stands behind an option on the command line.

export function integer(text: string, name: string, least: number, most: number): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isInteger(value) || value < least || value > most) throw new RangeError(`Expected an integer from ${least} to ${most} for --${name} but received ${text}`)
  return value
}

export function number(text: string, name: string, least: number, most: number): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= least && value <= most)) throw new RangeError(`Expected a number from ${least} to ${most} for --${name} but received ${text}`)
  return value
}

export function oneOf<T extends string>(text: string, name: string, allowed: readonly T[]): T {
  const found = allowed.find((word) => word === text)
  if (found === undefined) throw new RangeError(`Expected one of ${allowed.join(', ')} for --${name} but received ${text}`)
  return found
}
