// What a caption of the demo world asks for.

import { backgrounds, colours, radii, shapes } from '../training/demo-world.js'
import type { Attribute } from './attributes.js'

const words: Record<Attribute, readonly string[]> = {
  background: Object.keys(backgrounds),
  colour: Object.keys(colours),
  shape: shapes,
  size: Object.keys(radii)
}

/** Attributes that a caption names; of objects, those of the first. */
export function promptedAttributes(prompt: string): { attribute: Attribute; value: string }[] {
  const said = prompt.toLowerCase().split(/[^a-z0-9]+/)
  return (Object.keys(words) as Attribute[]).flatMap((attribute) => {
    const value = said.find((word) => words[attribute].includes(word))
    return value === undefined ? [] : [{ attribute, value }]
  })
}

/** Seconds at which a caption's curtain closes and opens. */
export function promptedGap(prompt: string): { t1: number; t2: number } | undefined {
  const match = /curtain closes at (\d+)s opens at (\d+)s/.exec(prompt.toLowerCase())
  return match === null ? undefined : { t1: Number(match[1]), t2: Number(match[2]) }
}
