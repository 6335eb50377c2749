// generate(options): one call from a prompt to a video. Pipelines are kept per model, device and dtype, so that a second call loads nothing.

import { checkNames } from '../check.js'
import { abortable } from '../native/cancel.js'
import { linkSignals } from '../native/signals.js'
import { checkLogger } from '../native/log.js'
import { checkGenerateOptions, generateOptionNames, type GenerateOptions } from '../options/generate.js'
import { resolveLimits } from '../options/limits.js'
import { modelOptionNames, resolveModelOptions, type ModelOptions } from '../options/model.js'
import { Scheduler } from '../schedulers/index.js'
import { GenerationJob } from './job.js'
import { takeInputs } from './inputs.js'
import { modelFolder } from './load.js'
import { VideoPipeline, checkedSignal } from './pipeline.js'

export interface GenerateCallOptions extends GenerateOptions, ModelOptions {
  /** A model folder, or the name of a built-in model. @default 'demo' */
  model?: string | undefined
}

/** What can be changed beside the inputs of a run. */
function takeSettings({ prompt, fusion, scheduler, ...rest }: GenerateOptions): GenerateOptions {
  const own = <T>(value: T): T => (typeof value === 'object' && value !== null && !(value instanceof Scheduler) ? structuredClone(value) : value)
  return { ...rest, prompt: own(prompt), fusion: own(fusion), scheduler: own(scheduler) }
}

const kept = new Map<string, Promise<VideoPipeline>>()

/** Of pipelines that are not kept any more. */
let disposals: Promise<unknown> = Promise.resolve()

function forget(key: string, opening: Promise<VideoPipeline>): void {
  if (kept.get(key) === opening) kept.delete(key)
}

function keptPipeline(model: string | undefined, options: ModelOptions): Promise<VideoPipeline> {
  const resolved = resolveModelOptions(options, 'generate')
  const { device, dtype, threads, memoryBudget, queueLimit, addParts = [], globalFeatures, limits, nativeBinding } = resolved
  const key = JSON.stringify([modelFolder(model), device, dtype, threads, memoryBudget, queueLimit, [...addParts].sort(), globalFeatures, limits, typeof nativeBinding === 'string' ? nativeBinding : nativeBinding !== undefined])
  const known = kept.get(key)
  if (known !== undefined) return known.then((pipeline) => (pipeline.disposed ? (forget(key, known), keptPipeline(model, options)) : pipeline))
  const opening = VideoPipeline.fromPretrained(model, options)
  kept.set(key, opening)
  // What failed, or was aborted, is tried again by the next call.
  opening.catch(() => forget(key, opening))
  return opening
}

/**
Makes a video.

@example
import { generate } from 'vin-native'

const video = await generate({ prompt: 'a red circle and a blue square bounce over a meadow', numFrames: 256, seed: 7 })
await video.save('out.mp4')

@throws TypeError or RangeError for wrong options, before any native work; VinError for everything else
*/
export function generate(options: GenerateCallOptions = {}): GenerationJob {
  const signal = checkedSignal(options?.signal)
  return new GenerationJob(async (context) => {
    checkNames(options, 'generate', ['model', ...modelOptionNames, ...generateOptionNames])
    const { model, device, dtype, threads, memoryBudget, queueLimit, addParts, globalFeatures, limits, nativeBinding, onProgress, logger, ...rest } = options
    checkGenerateOptions(rest, resolveLimits(limits))
    checkLogger(logger)
    const { options: taken, release } = takeInputs(takeSettings(rest))
    const linked = linkSignals(...context.signals)
    try {
      linked.signal.throwIfAborted()
      // An aborted call stops waiting; the loading goes on, because another call may wait for it.
      const pipeline = await abortable(keptPipeline(model, { device, dtype, threads, memoryBudget, queueLimit, addParts, globalFeatures, limits, nativeBinding, onProgress, logger }), linked.signal)
      return await pipeline.run({ ...taken, signal: undefined }, context, { logger })
    } finally {
      release()
      linked.release()
    }
  }, signal)
}

/** Disposes of the pipelines that `generate()` keeps: their runs are aborted, weights and threads are freed. A later call opens its model anew. */
generate.dispose = async (): Promise<void> => {
  const opened = [...kept.values()]
  kept.clear()
  disposals = Promise.allSettled([disposals, ...opened.map(async (pipeline) => (await pipeline).dispose())])
  await disposals
}
