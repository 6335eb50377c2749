// What a caption of the demo world asks for.

import { backgrounds, colours, radii, shapes } from 'vin-native/demo-world'
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
