// VIN's chunk plan without global tokens: context and fusion as asked. `contextFrames: 0` isolates the chunks completely.

import { planChunks } from '../plan/chunks.js'
import { fusionAt } from '../plan/fusion.js'
import type { Method } from './method.js'

export const independent: Method = {
  name: 'independent',
  order: 'parallel',
  staggers: true,
  globalTokens: false,
  plan: ({ latentFrames, chunkFrames, contextFrames }) => ({ chunks: planChunks(latentFrames, chunkFrames, contextFrames) }),
  evaluation: ({ chunks }, step, numInferenceSteps, fusion) => ({ chunks, ...fusionAt(fusion, step, numInferenceSteps) })
}
