// Chunk 0 runs all steps; chunk i then runs all steps behind its context, the finished latent frames of chunk i − 1, which are held fixed. No global tokens, no fusion.

import { planChunks } from '../plan/chunks.js'
import type { Method } from './method.js'

export const autoregressive: Method = {
  name: 'autoregressive',
  order: 'in turn',
  globalTokens: false,
  plan: ({ latentFrames, chunkFrames, contextFrames }) => ({ chunks: planChunks(latentFrames, chunkFrames, contextFrames) }),
  evaluation: ({ chunks }) => ({ chunks, fuse: false })
}
