// How videos are sampled for an evaluation: the model's defaults, or others to compare samplers.

import { createScheduler } from 'vin-native'
import type { Scheduler, StepCacheOption, VideoPipeline } from 'vin-native'

export interface SamplerOptions {
  steps?: number | undefined
  guidance?: number | undefined
  /** Shift of the flow-match schedule. */
  shift?: number | undefined
  stepCache?: StepCacheOption | undefined
}

/** Options of `pipeline.generate`. */
export interface Sampler {
  numInferenceSteps: number
  guidanceScale: number
  scheduler: Scheduler
  stepCache: StepCacheOption
}

/** @throws ERR_VIN_NOT_SUPPORTED for a shift of a schedule that has none */
export function resolveSampler(pipeline: VideoPipeline, { steps, guidance, shift, stepCache = 'off' }: SamplerOptions): Sampler {
  return {
    numInferenceSteps: steps ?? pipeline.defaults.numInferenceSteps,
    guidanceScale: guidance ?? pipeline.defaults.guidanceScale,
    scheduler: createScheduler(shift === undefined ? pipeline.scheduler : { ...pipeline.scheduler.config, shift }),
    stepCache
  }
}

/** The valid rows of a text, [L, D]. */
export async function embedPrompt(pipeline: VideoPipeline, prompt: string): Promise<{ data: Float32Array; shape: number[] }> {
  const { ids, mask } = pipeline.tokenizer.encode(prompt, { maxLength: pipeline.transformer.config.model_max_length })
  const { embeds } = await pipeline.textEncoder.encode({ ids, mask })
  const [, width = 0] = embeds.shape
  return { data: embeds.data.subarray(0, ids.length * width), shape: [ids.length, width] }
}
