// What a video is measured to be, as one number a metric: what tables show and means are taken of.

import type { MetricValues } from './measurement.js'

/** Of cuts their number, of dynamic degree 1 for a video that moves and 0 for one that does not, of MAWE its `guarded` form. */
export type EvaluationScores = Partial<Record<'temporalFlickering' | 'motionSmoothness' | 'dynamicDegree' | 'subjectConsistency' | 'backgroundConsistency' | 'sceneCuts' | 'seamScore' | 'mawe', number>>

/** Those that there are. */
export function scoresOf(values: MetricValues): EvaluationScores {
  const scores: Record<keyof EvaluationScores, number | undefined> = {
    temporalFlickering: values.temporalFlickering,
    motionSmoothness: values.motionSmoothness?.value,
    dynamicDegree: values.dynamicDegree === undefined ? undefined : Number(values.dynamicDegree.moves),
    subjectConsistency: values.subjectConsistency?.value,
    backgroundConsistency: values.backgroundConsistency?.value,
    sceneCuts: values.sceneCuts?.length,
    seamScore: values.seamScore,
    mawe: values.mawe?.guarded
  }
  return Object.fromEntries(Object.entries(scores).filter(([, value]) => value !== undefined))
}

/** Mean of each value over those that have it. */
export function meansOf<K extends string>(rows: readonly Partial<Record<K, number>>[]): Partial<Record<K, number>> {
  const means: Partial<Record<K, number>> = {}
  for (const name of new Set(rows.flatMap((row) => Object.keys(row) as K[]))) {
    const present = rows.map((row) => row[name]).filter((value) => value !== undefined)
    if (present.length > 0) means[name] = present.reduce((a, b) => a + b, 0) / present.length
  }
  return means
}
