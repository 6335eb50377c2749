// Spectral blending (FreeLong, arXiv 2407.19918; methods.md §4): attention over all frames gives the low frequencies, attention over nearby frames the others; in the
// second half of the steps nearby frames alone. Starts from FreeNoise's noise. Needs no training.

import { wholeVideo } from '../plan/chunks.js'
import { rescheduledNoise } from '../plan/noise.js'
import type { Method } from './method.js'

const CUTOFF = 0.25
/** A frame sees half a chunk on either side. */
const nearby = (chunkFrames: number): number => 2 * Math.floor(chunkFrames / 2)

export const spectralBlend: Method = {
  name: 'spectral-blend',
  order: 'parallel',
  globalTokens: false,
  plan: ({ latentFrames, chunkFrames }) => ({
    chunks: wholeVideo(latentFrames),
    // In a video that is no longer every frame is nearby.
    attention: latentFrames <= nearby(chunkFrames) ? undefined : { kind: 'frequencies', frames: nearby(chunkFrames), cutoffTime: CUTOFF, cutoffSpace: CUTOFF, blend: true }
  }),
  noise: ({ latentFrames, chunkFrames }, seed) => rescheduledNoise(latentFrames, chunkFrames, seed),
  evaluation: ({ chunks, attention }, step, numInferenceSteps) => ({
    chunks,
    attention: attention?.kind === 'frequencies' ? { ...attention, blend: (numInferenceSteps - step) / numInferenceSteps > 0.5 } : attention,
    fuse: false
  })
}
