// The polynomial of a checkpoint's own for `stepCache`: what the blocks add, against what they are given, from runs that compute every step.

import { checkFunction, checkNames, checkSignal } from '../check.js'
import { expected, rangeError } from '../errors.js'
import type { GenerateOptions } from '../options/generate.js'
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
  const changes: StepCacheFit['changes'] = []
  for (const [done, run] of (runs as readonly GenerateOptions[]).entries()) {
    const changed = (input: number, added: number): void => void changes.push([input, added])
    await pipeline.run({ ...run, outputType: 'latents', stepCache: 0 }, { signals: [signal, run.signal], emit() {}, takesTurns() {}, observed: false, watched: false, changed })
    onProgress?.({ done: done + 1, total: runs.length })
  }
  if (new Set(changes.map(([input]) => input)).size < 5) throw rangeError(`Expected runs with at least 5 different changes from step to step but they have ${changes.length}; give more runs, or more steps`)
  return { ...fitPolynomial(changes, 4), changes }
}
