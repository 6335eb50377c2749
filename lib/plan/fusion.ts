// When overlaps are blended, as a window over the schedule: at sampling step s of n while until < (n − s)/n ≤ from; and with which weights.

import { expected } from '../errors.js'

export interface FusionWindow {
  from: number
  until: number
}

/**
The later chunk's share of latent frame k of an overlap of F: 'linear' is k/F, as in the paper; 'raised-cosine' ½ (1 − cos(π k/F)), which leaves each chunk more
slowly and changes faster in the middle (Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform", 1978). 'learned' is k/F and what
the checkpoint's `fusion.*` says for each channel, at 1/8 … 7/8 of the overlap and linear between: the weights with which least squares combines the two predictions
(Granger and Ramanathan, "Improved methods of combining forecasts", 1984). Untrained ones are linear.
*/
export type FusionWeights = 'linear' | 'raised-cosine' | 'learned'

export interface FusionOptions {
  /** @default 1 */
  from?: number | undefined
  /** @default 0.4 */
  until?: number | undefined
  /** @default 'linear' */
  weights?: FusionWeights | undefined
}

export type Fusion = 'early' | 'mid' | 'late' | 'none' | FusionOptions

const windows: Record<string, FusionWindow> = {
  early: { from: 1, until: 0.4 },
  mid: { from: 0.7, until: 0.3 },
  late: { from: 0.4, until: 0 },
  none: { from: 0, until: 0 }
}

export const fusionNames = Object.keys(windows)
export const fusionWeights: readonly FusionWeights[] = ['linear', 'raised-cosine', 'learned']

/** What is not said is as in 'early'. */
export function fusionWindow(fusion: Fusion): FusionWindow {
  const early = windows['early'] as FusionWindow
  if (typeof fusion === 'string') return windows[fusion] ?? early
  const { from = early.from, until = early.until } = fusion
  return { from, until }
}

/** Everything that a fusion says, whichever way it says it. */
export function resolvedFusion(fusion: Fusion): FusionWindow & { weights: FusionWeights } {
  return { ...fusionWindow(fusion), weights: typeof fusion === 'string' ? 'linear' : (fusion.weights ?? 'linear') }
}

/** 'late', '0.8..0.3' */
function readWindow(word: string): Fusion | undefined {
  if (Object.hasOwn(windows, word)) return word as Fusion
  const [from, until] = /^(\d+(?:\.\d+)?|\.\d+)\.\.(\d+(?:\.\d+)?|\.\d+)$/.exec(word)?.slice(1).map(Number) ?? []
  return from === undefined ? undefined : { from, until }
}

/**
A window, weights, or both, as one word: 'late', '0.8..0.3', 'raised-cosine', 'late+raised-cosine'. Whether such a window can be, is left to the check.

@throws RangeError for what is none of them
*/
export function readFusion(text: string): Fusion {
  const words = text.split('+')
  const read = words.flatMap((word) => readWindow(word) ?? [])
  const weights = fusionWeights.filter((name) => words.includes(name))
  if (read.length > 1 || weights.length > 1 || read.length + weights.length !== words.length) {
    const [when, how] = [fusionNames, fusionWeights].map((names) => names.map((name) => `'${name}'`).join(', '))
    throw expected(`one of ${when} or FROM..UNTIL as 0.8..0.3, weights of ${how}, or both with + between`, 'fusion', text, 'range')
  }
  const [window = 'early'] = read
  return weights.length === 0 ? window : { ...fusionWindow(window), weights: weights[0] }
}

/** The quotient is compared with the literals: a product such as 0.7 · n is inexact. */
export function fuses(fusion: Fusion, step: number, numInferenceSteps: number): boolean {
  const { from, until } = fusionWindow(fusion)
  const remaining = (numInferenceSteps - step) / numInferenceSteps
  return until < remaining && remaining <= from
}

/** What a step's evaluation is told of its overlaps. */
export function fusionAt(fusion: Fusion, step: number, numInferenceSteps: number): { fuse: boolean; fusionWeights?: FusionWeights | undefined } {
  return { fuse: fuses(fusion, step, numInferenceSteps), fusionWeights: typeof fusion === 'string' ? undefined : fusion.weights }
}
