// What a run is given, taken at the call: a run may wait for its turn, or for its model, and begins with what it was called with.

import { types } from 'node:util'
import { Tensor } from '../native/tensor.js'
import type { GenerateOptions } from '../options/generate.js'
import type { ImageInput } from '../video/image.js'
import { Video, withOwnLatents } from '../video/video.js'

/** Inputs whose contents the caller could still change while a run waits. */
type Inputs = Pick<GenerateOptions, 'latents' | 'promptEmbeds' | 'negativePromptEmbeds' | 'image' | 'lastImage' | 'video'>

/**
The same options with inputs of their own: what the caller writes into arrays, transfers or disposes of after the call is not seen. Frames of an iterable are
taken as they come. `release` lets go of the handles.
*/
export function takeInputs<O extends Inputs>(options: O): { options: O; release(): void } {
  const held: Tensor[] = []
  const tensor = <T>(value: T): T => {
    if (value instanceof Tensor) {
      const view = value.view()
      held.push(view)
      return view as T
    }
    if (typeof value !== 'object' || value === null || !('data' in value) || !('shape' in value)) return value
    const { data, shape } = value
    return types.isFloat32Array(data) && Array.isArray(shape) ? ({ data: new Float32Array(data), shape: [...(shape as number[])] } as T) : value
  }
  const picture = (value: ImageInput | undefined): ImageInput | undefined => {
    if (types.isUint8Array(value)) return new Uint8Array(value)
    if (typeof value !== 'object' || value === null) return value
    const { data, width, height } = value
    return types.isUint8Array(data) || types.isUint8ClampedArray(data) ? { data: new Uint8Array(data), width, height } : value
  }
  const { video } = options
  const taken = {
    ...options,
    latents: tensor(options.latents),
    promptEmbeds: tensor(options.promptEmbeds),
    negativePromptEmbeds: tensor(options.negativePromptEmbeds),
    image: picture(options.image),
    lastImage: picture(options.lastImage),
    video: video instanceof Video ? withOwnLatents(video) : typeof video === 'object' && video !== null && 'latents' in video ? { latents: tensor(video.latents) } : video
  }
  return { options: Object.freeze(taken), release: () => held.splice(0).forEach((view) => view.dispose()) }
}
