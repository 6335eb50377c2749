// A report in short, for a terminal: a line a method and length.

import type { CompareReport } from '../index.js'
import { costs, measuresOf } from '../compare/summary.js'
import { textTable } from './table.js'

/** What fits into a line. */
const shortNames = ['mawe', 'sceneCuts', 'seamScore', 'latentSeamScore', 'differenceToFull', 'subjectConsistency', 'dynamicDegree', 'temporalFlickering', 'seconds', 'teraflops']

/** Means with half the width of their 95 % intervals. */
export function comparisonTable({ groups }: CompareReport): string {
  const measures = [...measuresOf(groups), ...costs].filter(({ name }) => shortNames.includes(name) && groups.some(({ values }) => values[name] !== undefined))
  const heading = ['frames', 'method', 'videos', ...measures.map(({ title }) => title)]
  const lines = groups.map(({ frames, method, videos, failed, values }) => [
    String(frames),
    method,
    failed === 0 ? String(videos) : `${videos} (${failed} failed)`,
    ...measures.map(({ name, digits }) => {
      const value = values[name]
      if (value === undefined) return '–'
      return value.interval === undefined ? value.mean.toFixed(digits) : `${value.mean.toFixed(digits)} ± ${((value.interval[1] - value.interval[0]) / 2).toFixed(digits)}`
    })
  ])
  return textTable([heading, ...lines], new Set(heading.map((_, column) => column).filter((column) => column !== 1)))
}
