// What evaluate found, as a table: a video a row, a metric a column, and below it what the numbers can be compared with.

import type { ClipsEvaluation, Evaluation, EvaluationSummary, MetricValues } from '../index.js'
import { scoresOf, type EvaluationScores } from '../evaluate/scores.js'
import { oneLine, textTable } from './table.js'

const columns: { name: keyof EvaluationScores; heading: string; digits: number }[] = [
  { name: 'temporalFlickering', heading: 'flicker', digits: 4 },
  { name: 'motionSmoothness', heading: 'smoothness', digits: 4 },
  { name: 'dynamicDegree', heading: 'dynamic', digits: 2 },
  { name: 'subjectConsistency', heading: 'subject', digits: 4 },
  { name: 'backgroundConsistency', heading: 'background', digits: 4 },
  { name: 'sceneCuts', heading: 'cuts', digits: 2 },
  { name: 'seamScore', heading: 'seams', digits: 3 },
  { name: 'mawe', heading: 'MAWE', digits: 3 }
]

interface Row {
  name: string
  facts: readonly string[]
  scores: EvaluationScores
  values?: MetricValues | undefined
}

const fixed = (value: number | undefined, digits: number): string => (value === undefined ? '–' : Number.isInteger(value) && digits === 2 ? String(value) : value.toFixed(digits))

function tableOf(rows: readonly Row[], facts: readonly string[], what: string): string {
  const withMotion = rows.some(({ values }) => values?.mawe !== undefined)
  // Where nothing moves there is no MAWE to say.
  const shown = columns.filter(({ name }) => (name === 'mawe' && withMotion) || rows.some(({ scores }) => scores[name] !== undefined))
  const heading = [what, ...facts, ...shown.map((column) => column.heading), ...(withMotion ? ['W', 'M'] : [])]
  const lines = rows.map(({ name, facts: told, scores, values }) => [
    name,
    ...told,
    ...shown.map((column) => fixed(scores[column.name], column.digits)),
    ...(withMotion ? [fixed(values?.mawe?.warpError, 3), fixed(values?.mawe?.motion, 3)] : [])
  ])
  return textTable([heading, ...lines], new Set(heading.map((_, column) => column).slice(1)))
}

const sizeOf = ({ width, height, fps }: Pick<Evaluation, 'width' | 'height' | 'fps'>): string[] => [`${width} × ${height}`, fps === undefined ? '–' : String(Number(fps.toFixed(3)))]

/** A line a video, and of several their mean; then what lasts over gaps. */
export function evaluationTable(measured: readonly { file: string; evaluation: Evaluation }[], { mean, identityOverGap }: EvaluationSummary): string {
  const rows: Row[] = measured.map(({ file, evaluation }) => ({ name: oneLine(file, 60), facts: [String(evaluation.frames), ...sizeOf(evaluation)], scores: scoresOf(evaluation), values: evaluation }))
  if (rows.length > 1) rows.push({ name: 'mean', facts: ['', '', ''], scores: mean })
  const lines = [tableOf(rows, ['frames', 'size', 'fps'], 'video')]
  for (const { file, evaluation } of measured) {
    const { gaps = [], similarity = [], oneFrame = 0 } = evaluation.identityOverGap ?? {}
    if (gaps.length > 0) lines.push(`similarity over a gap, ${oneLine(file, 60)}: 1 frame ${oneFrame.toFixed(4)}, ${gaps.map((gap, i) => `${gap} s ${similarity[i]!.toFixed(4)}`).join(', ')}`)
  }
  if (identityOverGap !== undefined && identityOverGap.gaps.length > 0) {
    const { gaps, lasting, floor } = identityOverGap
    lines.push(`what lasts, of all: ${gaps.map((gap, i) => `${gap} s ${lasting[i]!.toFixed(3)}`).join(', ')} (1: as alike as neighbouring frames, 0: as frames of different videos, whose similarity is ${floor.toFixed(4)})`)
  }
  return lines.join('\n')
}

/** A line a clip, and the mean of each video. */
export function clipsTable(measured: readonly { file: string; evaluation: ClipsEvaluation }[]): string {
  const rows = measured.flatMap(({ file, evaluation }): Row[] => [
    ...evaluation.clips.map((clip) => ({ name: oneLine(file, 60), facts: [`${clip.from} … ${clip.until - 1}`], scores: scoresOf(clip), values: clip })),
    { name: oneLine(file, 60), facts: ['mean'], scores: evaluation.mean }
  ])
  return tableOf(rows, ['frames'], 'clip of')
}

/** With what the metrics were measured, and what their numbers do not compare with. */
export function evaluationNotes(measured: readonly MetricValues[]): string[] {
  const of = (name: (values: MetricValues) => string | undefined): string => [...new Set(measured.map(name).filter((each) => each !== undefined))].join(', ')
  const flow = of((values) => values.mawe?.flow ?? values.dynamicDegree?.flow)
  const interpolator = of((values) => values.motionSmoothness?.interpolator)
  const encoder = of((values) => values.subjectConsistency?.encoder ?? values.backgroundConsistency?.encoder ?? values.identityOverGap?.encoder)
  return [
    ...(flow === '' ? [] : [`optical flow: ${flow}; without RAFT, MAWE and dynamic degree do not compare with published numbers, only with each other`]),
    ...(interpolator === '' ? [] : [`frames between: ${interpolator}; without AMT-S, smoothness does not compare with published numbers`]),
    ...(encoder === '' ? [] : [`features: ${encoder}; VBench-form, not VBench, whose features are DINO's and CLIP's`])
  ]
}
