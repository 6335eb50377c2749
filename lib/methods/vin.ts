// Video Interface Networks: chunks in parallel, global tokens from the keyframes of the whole video, blended overlaps.

import { planChunks } from '../plan/chunks.js'
import { fusionAt } from '../plan/fusion.js'
import { planKeyframes } from '../plan/keyframes.js'
import type { Method } from './method.js'

export const vin: Method = {
  name: 'vin',
  order: 'parallel',
  staggers: true,
  globalTokens: true,
  plan: ({ latentFrames, chunkFrames, contextFrames, keyframeInterval, latentFps }) => ({
    chunks: planChunks(latentFrames, chunkFrames, contextFrames),
    keyframes: planKeyframes(latentFrames, keyframeInterval, latentFps)
  }),
  evaluation: ({ chunks, keyframes }, step, numInferenceSteps, fusion) => ({ chunks, keyframes, ...fusionAt(fusion, step, numInferenceSteps) })
}
