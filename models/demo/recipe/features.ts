// What the global tokens are taught to tell of a video of the world (TrainingExample.globalFeatures): 1 for what is in it, 0 for what is not.

import { backgrounds, colours, radii, shapes } from 'vin-native/demo-world'
import type { EventName, World, WorldObject } from 'vin-native/demo-world'

const events: readonly EventName[] = ['none', 'curtain', 'leave', 'wall']
const colourNames = Object.keys(colours)
const pairs = [...colourNames.flatMap((colour) => shapes.map((shape) => ({ colour, shape }))), ...colourNames.flatMap((colour) => Object.keys(radii).map((size) => ({ colour, size })))]

/** Background, event, whether there is a second object, and of every colour which shapes and which sizes there are. */
export function worldFeatures({ background, event, objects }: World): number[] {
  const is = (pair: Partial<Record<keyof WorldObject, string>>) => objects.some((object) => Object.entries(pair).every(([name, value]) => object[name as keyof WorldObject] === value))
  return [...Object.keys(backgrounds).map((name) => name === background), ...events.map((name) => name === event), objects.length > 1, ...pairs.map(is)].map(Number)
}

/** How many numbers that is. */
export const WORLD_FEATURES = Object.keys(backgrounds).length + events.length + 1 + pairs.length
