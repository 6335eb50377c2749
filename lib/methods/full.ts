// Full attention: one chunk of all frames, no global tokens.

import { wholeVideo } from '../plan/chunks.js'
import type { Method } from './method.js'

export const full: Method = {
  name: 'full',
  order: 'parallel',
  globalTokens: false,
  plan: ({ latentFrames }) => ({ chunks: wholeVideo(latentFrames) }),
  evaluation: ({ chunks }) => ({ chunks, fuse: false })
}
