// VBench's totals from scores of its sixteen dimensions: each is set against its range, not clamped, then weighted. methods.md §7.3.

import { checkNames, checkNumber } from '../check.js'
import { metricNames } from './options.js'

interface Dimension {
  part: 'quality' | 'semantic'
  range: readonly [least: number, most: number]
  weight: number
}

const quality = (least: number, most: number, weight = 1): Dimension => ({ part: 'quality', range: [least, most], weight })
const semantic = (least: number, most: number): Dimension => ({ part: 'semantic', range: [least, most], weight: 1 })

/** VBench's, in its order; the first five are what `evaluate` measures. */
const dimensions = {
  subjectConsistency: quality(0.1462, 1),
  backgroundConsistency: quality(0.2615, 1),
  temporalFlickering: quality(0.6293, 1),
  motionSmoothness: quality(0.706, 0.9975),
  dynamicDegree: quality(0, 1, 0.5),
  aestheticQuality: quality(0, 1),
  imagingQuality: quality(0, 1),
  objectClass: semantic(0, 1),
  multipleObjects: semantic(0, 1),
  humanAction: semantic(0, 1),
  color: semantic(0, 1),
  spatialRelationship: semantic(0, 1),
  scene: semantic(0, 0.8222),
  appearanceStyle: semantic(0.0009, 0.2855),
  temporalStyle: semantic(0, 0.364),
  overallConsistency: semantic(0, 0.364)
} as const satisfies Record<string, Dimension>

/** A dimension of VBench. */
export type VBenchDimension = keyof typeof dimensions

export interface VBenchTotal {
  /** (score − least) / (most − least) of each given dimension; not clamped. */
  normalized: Partial<Record<VBenchDimension, number>>
  /** Weighted mean of the seven of quality; absent unless all are given. */
  quality?: number
  /** Mean of the nine of meaning; absent unless all are given. */
  semantic?: number
  /** (4 quality + semantic) / 5. */
  total?: number
  form: 'VBench-form'
}

/**
The totals that VBench takes of scores, which may be measured here or by other programs. A mean of `summarize` may be spread into them: what is no dimension of VBench counts
for nothing. It is VBench's number only if all scores are: features of a VIN, the built-in flow and frames make one of its form.

@example
const { mean } = summarize(evaluations)
const { quality } = vbenchTotal({ ...mean, aestheticQuality: 0.61, imagingQuality: 0.68 })
@throws TypeError for an unknown name, TypeError or RangeError for a score that is no number from 0 to 1
*/
export function vbenchTotal(scores: Partial<Record<VBenchDimension, number>>): VBenchTotal {
  const names = Object.keys(dimensions) as VBenchDimension[]
  checkNames(scores, 'vbenchTotal', [...new Set<string>([...names, ...metricNames])])
  const normalized: VBenchTotal['normalized'] = {}
  for (const name of names) {
    const score = scores[name]
    const [least, most] = dimensions[name].range
    if (score !== undefined) normalized[name] = (checkNumber(score, name, 0, 1) - least) / (most - least)
  }
  const meanOf = (part: Dimension['part']): number | undefined => {
    const own = names.filter((name) => dimensions[name].part === part)
    if (own.some((name) => normalized[name] === undefined)) return undefined
    const weights = own.reduce((sum, name) => sum + dimensions[name].weight, 0)
    return own.reduce((sum, name) => sum + dimensions[name].weight * normalized[name]!, 0) / weights
  }
  const [ofQuality, ofMeaning] = [meanOf('quality'), meanOf('semantic')]
  return {
    normalized,
    ...(ofQuality === undefined ? {} : { quality: ofQuality }),
    ...(ofMeaning === undefined ? {} : { semantic: ofMeaning }),
    ...(ofQuality === undefined || ofMeaning === undefined ? {} : { total: (4 * ofQuality + ofMeaning) / 5 }),
    form: 'VBench-form'
  }
}
