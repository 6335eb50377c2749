// Rows → numbers of each method and length: means with intervals, and differences to one method over the same prompts and seeds.

import { similarityFloor } from '../evaluate/identity-over-gap.js'
import { scoresOf } from '../evaluate/scores.js'
import type { CompareRow } from './row.js'
import { meanOf, pairedDifference, shareOf, type Estimate } from './statistics.js'

export interface Measure {
  /** In report.json and report.csv. */
  name: string
  title: string
  /** What it says, in a few words. */
  means: string
  better: 'higher' | 'lower' | undefined
  digits: number
  /** Taken of 0 and 1. */
  share?: boolean
}

/** Numbers of a row, in the order in which they are shown; those of gaps stand behind them. */
export const measures: readonly Measure[] = [
  { name: 'mawe', title: 'MAWE', means: 'warping error over motion', better: 'lower', digits: 3 },
  { name: 'warpError', title: 'W', means: 'warping error alone, squared grey values', better: undefined, digits: 2 },
  { name: 'motion', title: 'M', means: 'motion alone, pixels of 720 × 720', better: undefined, digits: 2 },
  { name: 'sceneCuts', title: 'scene cuts', means: 'cuts a video', better: 'lower', digits: 2 },
  { name: 'seamScore', title: 'seams', means: 'change where chunks meet over the median change', better: 'lower', digits: 2 },
  { name: 'latentSeamScore', title: 'seams', means: 'of latents: change where chunks meet over the median change', better: 'lower', digits: 2 },
  { name: 'differenceToFull', title: 'from full', means: 'root mean square of the difference of latents to those of full, over full’s own', better: undefined, digits: 3 },
  { name: 'subjectConsistency', title: 'consistency', means: 'frames like the first and the one before', better: 'higher', digits: 4 },
  { name: 'backgroundConsistency', title: 'background', means: 'frames like the first and the one before', better: 'higher', digits: 4 },
  { name: 'dynamicDegree', title: 'dynamic', means: 'share of videos that move', better: 'higher', digits: 2, share: true },
  { name: 'motionSmoothness', title: 'smoothness', means: 'frames as their neighbours foretell them', better: 'higher', digits: 4 },
  { name: 'temporalFlickering', title: 'flicker', means: '1 − change from frame to frame', better: 'higher', digits: 4 }
]

/** What a row cost. */
export const costs: readonly Measure[] = [
  { name: 'seconds', title: 'sampling', means: 'seconds of a video', better: 'lower', digits: 1 },
  { name: 'teraflops', title: 'TFLOP', means: 'of a video, planned', better: 'lower', digits: 3 },
  { name: 'peakMemory', title: 'memory', means: 'peak, MiB, planned', better: 'lower', digits: 0 }
]

export interface ReportGroup {
  method: string
  frames: number
  videos: number
  failed: number
  /** By the names of measures. */
  values: Record<string, Estimate>
  /** Mean differences to the reference method over the same prompts and seeds. */
  differences: Record<string, Estimate>
}

const gapName = (seconds: number): string => `lasting ${seconds} s`

/** The measures that rows have, those of gaps included. */
export function measuresOf(groups: readonly ReportGroup[]): Measure[] {
  const names = new Set(groups.flatMap(({ values }) => Object.keys(values)))
  const gaps = [...names].filter((name) => name.startsWith('lasting ')).sort((a, b) => Number.parseFloat(a.slice(8)) - Number.parseFloat(b.slice(8)))
  return [...measures.filter(({ name }) => names.has(name)), ...gaps.map((name): Measure => ({ name, title: name.replace('lasting ', 'identity '), means: 'what is the same after a gap: 1 as from frame to frame, 0 as in other videos', better: 'higher', digits: 3 }))]
}

/** The numbers of a row; what lasts is told with a floor, the likeness of different videos of its group. */
export function valuesOf({ evaluation, latentScores, seconds, flops, peakMemory }: CompareRow, floor?: number): Record<string, number> {
  const values: Record<string, number | undefined> = {
    ...(evaluation === undefined ? {} : scoresOf(evaluation)),
    warpError: evaluation?.mawe?.warpError,
    motion: evaluation?.mawe?.motion,
    latentSeamScore: latentScores?.seamScore,
    differenceToFull: latentScores?.differenceToFull,
    seconds,
    teraflops: flops / 1e12,
    peakMemory: peakMemory / 2 ** 20
  }
  const { gaps = [], similarity = [], oneFrame = 1 } = evaluation?.identityOverGap ?? {}
  // Where frames are no more like their neighbours than like other videos, nothing can last.
  if (floor !== undefined && oneFrame - floor > 1e-6) for (const [at, gap] of gaps.entries()) values[gapName(gap)] = (similarity[at]! - floor) / (oneFrame - floor)
  return Object.fromEntries(Object.entries(values).filter((entry): entry is [string, number] => entry[1] !== undefined && Number.isFinite(entry[1])))
}

export function groupsOf(rows: readonly CompareRow[], methods: readonly string[], lengths: readonly number[]): ReportGroup[] {
  const byKey = new Map<string, Map<string, Map<string, number>>>()
  const groups = lengths.flatMap((frames) =>
    methods.flatMap((method): ReportGroup[] => {
      const own = rows.filter((row) => row.method === method && row.frames === frames)
      if (own.length === 0) return []
      const floor = similarityFloor(own.flatMap(({ evaluation }) => evaluation?.identityOverGap ?? []))
      const columns = new Map<string, Map<string, number>>()
      for (const row of own) {
        for (const [name, value] of Object.entries(valuesOf(row, floor))) {
          const column = columns.get(name) ?? new Map<string, number>()
          columns.set(name, column.set(JSON.stringify([row.prompt, row.seed]), value))
        }
      }
      byKey.set(`${method} ${frames}`, columns)
      const values = [...columns].map(([name, column]) => [name, estimateOf(name, [...column.values()])] as const)
      return [{ method, frames, videos: own.length, failed: own.filter(({ failed }) => failed !== undefined).length, values: Object.fromEntries(values), differences: {} }]
    })
  )
  const reference = referenceOf(methods)
  for (const group of groups) {
    const [own, other] = [byKey.get(`${group.method} ${group.frames}`), byKey.get(`${reference} ${group.frames}`)]
    if (group.method === reference || own === undefined || other === undefined) continue
    for (const [name, column] of own) {
      const difference = pairedDifference(column, other.get(name) ?? new Map())
      if (difference !== undefined) group.differences[name] = difference
    }
  }
  return groups
}

function estimateOf(name: string, values: readonly number[]): Estimate {
  const isShare = measures.some((measure) => measure.name === name && measure.share === true)
  return (isShare ? shareOf(values.filter((value) => value === 1).length, values.length) : meanOf(values))!
}

/** The method that the others are held against: vin, where it is there. */
export function referenceOf(methods: readonly string[]): string {
  return methods.includes('vin') ? 'vin' : methods[0]!
}
