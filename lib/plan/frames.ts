// Video frames ↔ latent frames, model.md §7. A micro-batch of r video frames (r = F, or what is left at the end) becomes ⌈r/4⌉ + L − ⌈F/4⌉ latent frames.

import { rangeError } from '../errors.js'

export interface MicroBatch {
  /** Video frames F. */
  frames: number
  /** Latent frames L. */
  latentFrames: number
}

/** The pair of models without a VAE. */
export const paperMicroBatch: MicroBatch = { frames: 16, latentFrames: 5 }

/** Latent frames of every micro-batch that stand for padding: L − ⌈F/4⌉. */
function extra({ frames, latentFrames }: MicroBatch): number {
  return latentFrames - Math.ceil(frames / 4)
}

export function latentFramesOf(videoFrames: number, micro: MicroBatch): number {
  const rest = videoFrames % micro.frames
  return Math.floor(videoFrames / micro.frames) * micro.latentFrames + (rest === 0 ? 0 : Math.ceil(rest / 4) + extra(micro))
}

/** The last micro-batch of N latent frames would hold padding alone, which decodes to no video frame. */
export function endsInPadding(latentFrames: number, micro: MicroBatch): boolean {
  const rest = latentFrames % micro.latentFrames
  return rest > 0 && rest <= extra(micro)
}

/** Most video frames that N latent frames decode to. @throws RangeError where the last micro-batch would hold padding alone */
export function videoFramesOf(latentFrames: number, micro: MicroBatch): number {
  const rest = latentFrames % micro.latentFrames
  if (latentFrames < 1 || endsInPadding(latentFrames, micro)) {
    throw rangeError(
      `Expected latent frames that decode to video frames but received ${latentFrames}: micro-batches hold ${micro.latentFrames} latent frames, and a last one of ${extra(micro)} or fewer is padding alone`
    )
  }
  return Math.floor(latentFrames / micro.latentFrames) * micro.frames + (rest === 0 ? 0 : Math.min(micro.frames, 4 * (rest - extra(micro))))
}

/** The first of the video frames that a latent frame decodes to. */
export function firstVideoFrame(latentFrame: number, micro: MicroBatch): number {
  return Math.floor(latentFrame / micro.latentFrames) * micro.frames + 4 * Math.max(0, (latentFrame % micro.latentFrames) - extra(micro))
}

/** Fewest video frames that become at least N latent frames. */
export function fewestVideoFrames(latentFrames: number, micro: MicroBatch): number {
  const whole = Math.floor((latentFrames - 1) / micro.latentFrames)
  // Frames 4k + 1 begin a new latent frame of a micro-batch that is not whole; its padding comes with the first.
  const rest = latentFrames - whole * micro.latentFrames
  return whole * micro.frames + 4 * Math.max(0, rest - extra(micro) - 1) + 1
}
