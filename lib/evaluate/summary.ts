// A set of videos as one: the mean of each metric, as the benchmarks that it comes from take it.

import { expected } from '../errors.js'
import { similarityFloor } from './identity-over-gap.js'
import type { Evaluation } from './index.js'
import { meansOf, scoresOf } from './scores.js'
import type { EvaluationScores } from './scores.js'

export interface EvaluationSummary {
  videos: number
  /** Mean over the videos that have it; of consistency over their frames, as in VBench; of cuts their number; of dynamic degree the share of videos that move. */
  mean: EvaluationScores
  /** Of what was shown, how much is the same after each gap: (c(g) − floor) / (c(one frame) − floor), mean over the videos that are longer than it; absent for fewer than two videos. */
  identityOverGap?: {
    gaps: number[]
    lasting: number[]
    /** Mean similarity of frames of different videos. */
    floor: number
  }
}

/**
@param evaluations of the same metrics, measured with the same flow, interpolator and encoder
@throws RangeError for evaluations that were measured with different ones
*/
export function summarize(evaluations: readonly Evaluation[]): EvaluationSummary {
  checkAlike(evaluations)
  const mean = meansOf(evaluations.map(scoresOf))
  for (const name of ['subjectConsistency', 'backgroundConsistency'] as const) {
    const measured = evaluations.flatMap((video) => (video[name] === undefined ? [] : [{ value: video[name].value, pairs: video.frames - 1 }]))
    const pairs = measured.reduce((sum, video) => sum + video.pairs, 0)
    if (pairs > 0) mean[name] = measured.reduce((sum, video) => sum + video.value * video.pairs, 0) / pairs
  }
  const identity = identityOf(evaluations)
  return { videos: evaluations.length, mean, ...(identity === undefined ? {} : { identityOverGap: identity }) }
}

function checkAlike(evaluations: readonly Evaluation[]): void {
  const tools: [string, (video: Evaluation) => string | undefined][] = [
    ['flow', (video) => video.mawe?.flow ?? video.dynamicDegree?.flow],
    ['interpolator', (video) => video.motionSmoothness?.interpolator],
    ['encoder', (video) => video.subjectConsistency?.encoder ?? video.backgroundConsistency?.encoder ?? video.identityOverGap?.encoder]
  ]
  for (const [tool, of] of tools) {
    const names = [...new Set(evaluations.map(of).filter((name) => name !== undefined))]
    if (names.length > 1) throw expected(`one ${tool} for all videos, as numbers of different ones cannot be compared,`, 'summarize', names.join(', '), 'range')
  }
}

function identityOf(evaluations: readonly Evaluation[]): EvaluationSummary['identityOverGap'] {
  const videos = evaluations.flatMap(({ identityOverGap }) => identityOverGap ?? [])
  const floor = similarityFloor(videos)
  if (floor === undefined) return undefined
  const gaps = [...new Set(videos.flatMap((video) => video.gaps))].sort((a, b) => a - b)
  const lasting = gaps.map((gap) => {
    const shares = videos.flatMap(({ gaps: own, similarity, oneFrame }) => (own.includes(gap) ? [(similarity[own.indexOf(gap)]! - floor) / (oneFrame - floor)] : []))
    return shares.reduce((a, b) => a + b, 0) / shares.length
  })
  return { gaps, lasting, floor }
}
