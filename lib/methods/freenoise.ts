// FreeNoise (arXiv 2310.15169; methods.md §3): the noise of the first frames is repeated in shuffled blocks, and self-attention over frames runs in windows of the
// trained length whose results are averaged. Needs no training.

import { wholeVideo } from '../plan/chunks.js'
import { rescheduledNoise, strideOf } from '../plan/noise.js'
import type { Method } from './method.js'

export const freenoise: Method = {
  name: 'freenoise',
  order: 'parallel',
  globalTokens: false,
  plan: ({ latentFrames, chunkFrames }) => ({
    chunks: wholeVideo(latentFrames),
    attention: latentFrames <= chunkFrames ? undefined : { kind: 'windows', frames: chunkFrames, stride: strideOf(chunkFrames) }
  }),
  noise: ({ latentFrames, chunkFrames }, seed) => rescheduledNoise(latentFrames, chunkFrames, seed),
  evaluation: ({ chunks, attention }) => ({ chunks, attention, fuse: false })
}
