// StreamingT2V (arXiv 2403.14773; methods.md §5): chunks in turn as in `autoregressive`; the ones behind the first read their context through `cam.*`, and the video's
// first latent frame through `apm.*`. Untrained it is `autoregressive`.

import { planChunks } from '../plan/chunks.js'
import { overlapCuts } from '../plan/passes.js'
import type { Method } from './method.js'

export const streamingT2V: Method = {
  name: 'streaming-t2v',
  order: 'in turn',
  globalTokens: false,
  streaming: true,
  plan: ({ latentFrames, chunkFrames, contextFrames }) => ({ chunks: planChunks(latentFrames, chunkFrames, contextFrames), streaming: { anchor: 0 } }),
  evaluation: ({ chunks, streaming }, _step, _numInferenceSteps, _fusion, turn) => ({ chunks, streaming: turn === 0 ? undefined : streaming, fuse: false }),
  blended: ({ chunks }, step, seed) => ({ chunks, fuse: false, overlapCuts: overlapCuts(chunks, step, seed) })
}
