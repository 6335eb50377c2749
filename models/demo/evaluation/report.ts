// An evaluation as a file: what was read in every video, so that parts made at different times or on different machines can be put together, and a run that
// was stopped goes on. Rates are computed from it, never kept in it.

import { readFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import type { StepCacheOption } from 'vin-native'
import { writeWhole } from '../recipe/files.js'
import type { GapRecord } from './gap.js'
import type { LatentNoiseRecord } from './latent-noise.js'
import type { LossRecord } from './losses.js'
import type { ObedienceRecord } from './obedience.js'
import type { FramesFrom } from './pixels.js'
import type { WordsRecord } from './words.js'

const KIND = 'vin-native evaluation of the demo world'
const VERSION = 3

/** Everything that readings depend on beside their seed; parts agree on all of it. */
export interface ReportSettings {
  /** SHA-256 of the weights. */
  weights: string
  /** Video frames of the identity rows, and of the held-out videos of the losses. */
  frames: number
  /** Video frames of the obedience rows. */
  promptFrames: number
  framesFrom: FramesFrom
  steps: number
  guidance: number
  /** Of the flow-match schedule; null for schedules without one. */
  shift: number | null
  stepCache: StepCacheOption
}

export interface Report {
  settings: ReportSettings
  gaps: GapRecord[]
  obedience: ObedienceRecord[]
  losses: LossRecord[]
  latentNoise: LatentNoiseRecord[]
  words: WordsRecord[]
}

/** SHA-256 over files in order. */
export async function fingerprintFiles(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const file of files) hash.update(await readFile(file))
  return hash.digest('hex')
}

export function emptyReport(settings: ReportSettings): Report {
  return { settings, gaps: [], obedience: [], losses: [], latentNoise: [], words: [] }
}

export async function saveReport(file: string, report: Report): Promise<void> {
  await writeWhole(file, `${JSON.stringify({ kind: KIND, version: VERSION, ...report })}\n`)
}

export async function loadReport(file: string): Promise<Report> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    throw Object.assign(new RangeError(`Expected a report of evaluate:demo in ${file} but it cannot be read`), { cause })
  }
  const { kind, version, settings, gaps, obedience, losses, latentNoise, words } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  if (kind !== KIND || version !== VERSION) throw new RangeError(`Expected a report of evaluate:demo, version ${VERSION}, in ${file} but found ${JSON.stringify(kind)}, version ${JSON.stringify(version)}`)
  // What a report does not say of the step cache is from before there was one.
  return { settings: { stepCache: 'off', ...(settings as object) }, gaps, obedience, losses, latentNoise, words } as Report
}

/** @throws RangeError naming the setting in which two reports differ */
export function checkSameSettings(settings: ReportSettings, others: ReportSettings, file: string): void {
  for (const name of Object.keys(settings) as (keyof ReportSettings)[]) {
    if (settings[name] !== others[name]) throw new RangeError(`Expected ${name} ${JSON.stringify(settings[name])} in ${file}, as in this evaluation, but found ${JSON.stringify(others[name])}`)
  }
}

/** One report of several parts, in the order of seeds. @throws RangeError for parts of different evaluations, and for a video that two parts hold */
export function mergeReports(parts: readonly { file: string; report: Report }[]): Report {
  const first = parts[0]
  if (first === undefined) throw new RangeError('Expected at least one report to merge but received none')
  const merged = emptyReport(first.report.settings)
  const seen = new Map<string, string>()
  for (const { file, report } of parts) {
    checkSameSettings(merged.settings, report.settings, file)
    const keys = [
      ...report.gaps.map(({ row, seed }) => `${row}, seed ${seed}`),
      ...report.obedience.map(({ seed }) => `obedience, seed ${seed}`),
      ...report.losses.map(({ video }) => `losses, video ${video}`),
      ...report.latentNoise.map(({ video }) => `the VAE, video ${video}`),
      ...report.words.map(({ video }) => `words, video ${video}`)
    ]
    for (const key of keys) {
      const other = seen.get(key)
      if (other !== undefined) throw new RangeError(`Expected each video once but ${other} and ${file} both hold ${key}`)
      seen.set(key, file)
    }
    merged.gaps.push(...report.gaps)
    merged.obedience.push(...report.obedience)
    merged.losses.push(...report.losses)
    merged.latentNoise.push(...report.latentNoise)
    merged.words.push(...report.words)
  }
  merged.gaps.sort((a, b) => a.seed - b.seed)
  merged.obedience.sort((a, b) => a.seed - b.seed)
  merged.losses.sort((a, b) => a.video - b.video)
  merged.latentNoise.sort((a, b) => a.video - b.video)
  merged.words.sort((a, b) => a.video - b.video)
  return merged
}
