// The tables of an evaluation, as lines of text. Every rate has its interval and its chance level beside it, and says so where it may not be quoted.

import { attributes } from './attributes.js'
import type { Attribute, SegmentReading } from './attributes.js'
import { identity, isQuotable, wilsonInterval } from './identity.js'
import { gapPrompt } from './gap.js'
import type { GapRecord } from './gap.js'
import { latentNoiseLevels } from './latent-noise.js'
import type { LatentNoiseRecord } from './latent-noise.js'
import { FAR_LEVEL, HIDDEN_LEVEL, noiseLevels } from './losses.js'
import type { HiddenLosses, LossRecord, TokenLosses } from './losses.js'
import { guesses } from './obedience.js'
import type { ObedienceRecord } from './obedience.js'
import type { ReaderCheck } from './reader.js'
import type { Report, ReportSettings } from './report.js'
import { wordEffects } from './words.js'
import type { WordsRecord } from './words.js'

const percent = (share: number) => `${(100 * share).toFixed(1)} %`
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

/** A background's Σ p² above this: the model knows one or two places. Of few videos Σ p² is too large by about one over their number. */
const COLLAPSED = 0.45
const ENOUGH = 16
const framesFromText = {
  mp4: 'frames as ffmpeg decodes them from the saved mp4',
  vae: 'frames as the VAE decodes them, not from an mp4'
} as const

/** Losses depend on the weights alone; sampler and pixels are named where videos are made. */
export function settingsLine({ weights, framesFrom, steps, guidance, shift, stepCache }: ReportSettings, makesVideos: boolean): string {
  const sampler = `${steps} steps, guidance ${guidance}${shift === null ? '' : `, shift ${shift}`}${stepCache === 'off' ? '' : `, step cache ${stepCache}`}`
  return [`weights ${weights.slice(0, 12)}`, ...(makesVideos ? [sampler, framesFromText[framesFrom]] : [])].join('; ')
}

export function readerLine({ right, onNoise }: ReaderCheck): string {
  return `the reader: on rendered frames ${attributes.map((name) => `${name} ${percent(right[name])}`).join(', ')} right; on noise it reads something in ${percent(onNoise)}`
}

const rate = (hits: number, count: number) => {
  const [low, high] = wilsonInterval(hits, count)
  return `${`${hits} of ${count}`.padEnd(10)} ${percent(count === 0 ? 0 : hits / count).padStart(7)}  (95 %: ${percent(low)} to ${percent(high)})`
}

/** Share of videos that show what the row was given on one side. */
function given(videos: readonly GapRecord[], attribute: Attribute, side: 'before' | 'after'): string {
  return percent(mean(videos.map((video) => (video[side][attribute] === video.given?.[side][attribute] ? 1 : 0))))
}

function gapRowLines(row: string, videos: readonly GapRecord[]): string[] {
  const lines = attributes.map((attribute) => {
    const result = identity(attribute, videos as readonly { before: SegmentReading; after: SegmentReading }[])
    const notes = [
      ...(isQuotable(result) ? [] : ['not to be quoted: fewer than 90 % were read on both sides']),
      ...(attribute === 'background' && result.chance > COLLAPSED && result.videos >= ENOUGH ? ['collapsed: few backgrounds are generated'] : [])
    ]
    const cells = [row.padEnd(16), attribute.padEnd(11), rate(result.matches, result.videos), `read on both sides ${percent(result.read).padStart(7)}`, `chance ${percent(result.chance)}`]
    return [...cells, ...notes].join('  ')
  })
  const read = (name: 'background' | 'colour') => percent(mean(videos.map(({ readable }) => readable[name])))
  lines.push(`${''.padEnd(16)}  curtain over ${percent(mean(videos.map(({ middle }) => middle)))} of the middle frame; frames read: background ${read('background')}, colour ${read('colour')}; background changes between ${percent(mean(videos.map(({ readable }) => readable.jitter)))} of frames`)
  if (videos.every((video) => video.given !== undefined)) {
    const what = row === 'ceiling' ? 'shown as rendered' : 'as the world whose tokens it had'
    lines.push(`${''.padEnd(16)}  ${what}, before / after: ${attributes.map((name) => `${name} ${given(videos, name, 'before')} / ${given(videos, name, 'after')}`).join(', ')}`)
  }
  return lines
}

export function gapLines(videos: readonly GapRecord[], frames: number): string[] {
  if (videos.length === 0) return []
  const rows = [...new Set(videos.map(({ row }) => row))]
  return [
    `identity behind the curtain: "${gapPrompt(frames)}", ${frames} frames; match = both sides read and equal, of all videos; chance = Σ p² of what the row shows`,
    ...rows.flatMap((row) => gapRowLines(row, videos.filter((video) => video.row === row)))
  ]
}

export function obedienceLine({ seed, prompt, read, readable }: ObedienceRecord): string {
  return `seed ${seed}: ${prompt} → ${attributes.map((name) => read[name] ?? '?').join(' ')}; background read in ${percent(readable.background)} of ${readable.frames} open frames, changes between ${percent(readable.jitter)}`
}

export function obedienceLines(videos: readonly ObedienceRecord[], frames: number): string[] {
  if (videos.length === 0) return []
  const skipped = videos.map(({ skippedSteps = 0 }) => skippedSteps)
  return [
    `prompts obeyed: captions of one object that name everything, ${frames} frames; unread counts as wrong`,
    ...attributes.map((name) => `${'obeyed'.padEnd(16)}  ${name.padEnd(11)}  ${rate(videos.filter(({ asked, read }) => read[name] === asked[name]).length, videos.length)}  read ${percent(mean(videos.map(({ read }) => (read[name] === undefined ? 0 : 1)))).padStart(7)}  a guess ${percent(guesses[name])}`),
    `${''.padEnd(16)}  frames read: background ${percent(mean(videos.map(({ readable }) => readable.background)))}, colour ${percent(mean(videos.map(({ readable }) => readable.colour)))}; background changes between ${percent(mean(videos.map(({ readable }) => readable.jitter)))} of frames`,
    ...(mean(skipped) === 0 ? [] : [`${''.padEnd(16)}  steps skipped by the step cache: ${Math.min(...skipped)} to ${Math.max(...skipped)} a video, ${mean(skipped).toFixed(1)} on average`])
  ]
}

/** Both means, and their difference with its standard error: videos are compared with themselves. */
function lossLine(name: string, losses: readonly TokenLosses[]): string {
  const differences = losses.map(({ withTokens, withoutTokens }) => withTokens - withoutTokens)
  const centre = mean(differences)
  const error = Math.sqrt(mean(differences.map((value) => (value - centre) ** 2)) / Math.max(1, differences.length - 1))
  const columns = [mean(losses.map(({ withTokens }) => withTokens)), mean(losses.map(({ withoutTokens }) => withoutTokens))].map((value) => value.toFixed(4).padStart(9))
  return `${name.padEnd(44)} ${columns.join(' ')}   ${centre >= 0 ? '+' : '−'}${Math.abs(centre).toFixed(4)} ± ${error.toFixed(4)}`
}

const short = (values: readonly number[]) => mean(values).toFixed(3).replace(/^0/, '')

function hiddenLines(videos: readonly HiddenLosses[]): string[] {
  if (videos.length === 0) return []
  const row = (name: string, value: number) => `  ${name.padEnd(42)} ${value.toFixed(4).padStart(9)}`
  return [
    lossLine(`last chunk, σ ${HIDDEN_LEVEL}, ${videos.length} curtains, nothing named`, videos.map(({ noisy }) => noisy)),
    row('the same, first chunk clean', mean(videos.map(({ clean }) => clean))),
    row('the same, background named', mean(videos.map(({ named }) => named)))
  ]
}

export function lossLines(videos: readonly LossRecord[], frames: number): string[] {
  if (videos.length === 0) return []
  const curtain = videos.filter(({ event }) => event === 'curtain')
  const cells = (kind: keyof TokenLosses) => noiseLevels.map((_, index) => short(videos.map(({ levels }) => levels[index]![kind]))).join(' / ')
  return [
    `${`loss on ${videos.length} held-out videos of ${frames} frames`.padEnd(44)}   tokens   without   difference ± its standard error`,
    ...noiseLevels.map((level, index) => lossLine(`σ ${level}`, videos.map(({ levels }) => levels[index]!))),
    lossLine(`last chunk, first one clean, σ ${FAR_LEVEL}`, videos.map(({ far }) => far)),
    ...(curtain.length === 0 ? [] : [lossLine(`  the same, ${curtain.length} videos with a curtain`, curtain.map(({ far }) => far))]),
    ...hiddenLines(curtain.flatMap(({ hidden }) => hidden ?? [])),
    `| ${cells('withTokens')} | ${cells('withoutTokens')} | ${short(videos.map(({ far }) => far.withTokens))} / ${short(videos.map(({ far }) => far.withoutTokens))} |`
  ]
}

export function latentNoiseLines(videos: readonly LatentNoiseRecord[]): string[] {
  if (videos.length === 0) return []
  const right = (index: number, name: Attribute) => videos.filter(({ shown, levels }) => levels[index]!.read[name] === shown[name]).length
  return [
    `the VAE: ${videos.length} held-out videos of one object, encoded, with noise on every latent, decoded and read; the noise is a share of each channel's deviation`,
    ...latentNoiseLevels.map((level, index) => {
      const decibels = 10 * Math.log10(255 ** 2 / mean(videos.map(({ levels }) => levels[index]!.squaredError)))
      return `noise ${level.toFixed(2)}  ${decibels.toFixed(1)} dB  read right: ${attributes.map((name) => `${name} ${right(index, name)}`).join(', ')}`
    })
  ]
}

export function wordLines(videos: readonly WordsRecord[]): string[] {
  if (videos.length === 0) return []
  return [
    `colour words, ${videos.length} held-out videos of one object: what each moves the prediction from noise by, as a share of the true change (1 is right), and the cosine between both`,
    ...wordEffects(videos).map(({ colour, share, cosine }) => `${colour.padEnd(8)} ${share.toFixed(2).padStart(6)}  ${cosine.toFixed(2).padStart(6)}`)
  ]
}

export function reportLines({ settings, gaps, obedience, losses, latentNoise, words }: Report, reader: ReaderCheck): string[] {
  const tables = [latentNoiseLines(latentNoise), wordLines(words), lossLines(losses, settings.frames), obedienceLines(obedience, settings.promptFrames), gapLines(gaps, settings.frames)].filter((lines) => lines.length > 0)
  const makesVideos = gaps.length + obedience.length > 0
  return [settingsLine(settings, makesVideos), ...(makesVideos ? [readerLine(reader)] : []), ...tables.flatMap((lines) => ['', ...lines])]
}
