// The polynomial of a checkpoint's own for `stepCache`: what the blocks add, against what they are given, from runs that compute every step.

import { checkFunction, checkNames, checkSignal } from '../check.js'
import { expected, rangeError } from '../errors.js'
import { methodByName } from '../methods/index.js'
import type { GenerateOptions } from '../options/generate.js'
import { passesOf } from '../plan/passes.js'
import { fitPolynomial } from '../plan/step-cache.js'
import { VideoPipeline } from './pipeline.js'

export interface FitStepCacheOptions {
  /** Whose transformer the polynomial is for. */
  pipeline: VideoPipeline
  /** Options of generate, one for each run: the prompts, lengths and steps that the checkpoint will be used with. */
  runs: readonly GenerateOptions[]
  /** Stops the work: the promise rejects with its reason. */
  signal?: AbortSignal | undefined
  /** After each run. */
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined
}

export interface StepCacheFit {
  /** For `step_cache_polynomial` in the transformer's config.json, highest power first. */
  polynomial: number[]
  /** What it was fitted to: relative changes from one step to the next of the first block's input, and of what all blocks add. */
  changes: [input: number, added: number][]
  /** Root of the mean squared difference of the polynomial from `changes`. */
  error: number
}

/** A polynomial of degree 4 has as many coefficients. */
const fewestChanges = 5

const tooFew = (changes: number): RangeError => rangeError(`Expected runs with at least ${fewestChanges} different changes from step to step but they have ${changes}; give more runs, or more steps`)

const everyStep = { outputType: 'latents', stepCache: 0 } as const

/** The changes of a run, none of whose frames are given: in each pass, between the steps that follow one another, but the last. @throws as `pipeline.plan` */
function mostChanges(pipeline: VideoPipeline, run: GenerateOptions): number {
  const { chunks } = pipeline.plan({ ...run, ...everyStep })
  const { numInferenceSteps = pipeline.defaults.numInferenceSteps, stagger = 0 } = run
  const passes = passesOf(chunks, { inTurn: methodByName(run.method ?? 'vin').order === 'in turn', blending: run.randomizedBlending === true, numInferenceSteps })
  return passes.reduce((sum, { begin }) => sum + Math.max(0, numInferenceSteps + stagger * (chunks.length - 1) - begin - 2), 0)
}

/**
Runs what it is given and fits how much a change of the first block's input tells of a change of what the blocks add: a polynomial of degree 4 by least squares
(TeaCache, arXiv 2411.19108).

@throws RangeError when the runs have fewer than 5 different changes: one of n steps has n − 2
*/
export async function fitStepCache(options: FitStepCacheOptions): Promise<StepCacheFit> {
  checkNames(options, 'fitStepCache', ['pipeline', 'runs', 'signal', 'onProgress'])
  const { pipeline, runs } = options
  if (!(pipeline instanceof VideoPipeline)) throw expected('a VideoPipeline', 'pipeline', pipeline, 'type')
  if (!Array.isArray(runs) || runs.length === 0) throw expected('a list of at least one run', 'runs', runs, 'type')
  const signal = checkSignal(options.signal)
  const onProgress = checkFunction(options.onProgress, 'onProgress')
  signal?.throwIfAborted()
  // Wrong runs, and too few, are told before the first one.
  const possible = (runs as readonly GenerateOptions[]).reduce((sum, run) => sum + mostChanges(pipeline, run), 0)
  if (possible < fewestChanges) throw tooFew(possible)
  const changes: StepCacheFit['changes'] = []
  for (const [done, run] of (runs as readonly GenerateOptions[]).entries()) {
    const changed = (input: number, added: number): void => void changes.push([input, added])
    await pipeline.run({ ...run, ...everyStep }, { signals: [signal, run.signal], emit() {}, takesTurns() {}, observed: false, watched: false, changed })
    onProgress?.({ done: done + 1, total: runs.length })
  }
  if (new Set(changes.map(([input]) => input)).size < fewestChanges) throw tooFew(changes.length)
  return { ...fitPolynomial(changes, 4), changes }
}
