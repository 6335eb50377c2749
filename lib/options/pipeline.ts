// What a model folder says about sampling, and the options of VideoPipeline.fromConfig.

import type { Tokenizer } from '../models/tokenizer.js'
import type { Config } from '../native/binding.js'
import type { SchedulerOption } from '../schedulers/index.js'
import type { ModelOptions } from './model.js'

/** `model_index.json`: what generate() takes where an option is absent. */
export interface PipelineDefaults {
  /** @default 4, of `model_type: STDiT3` 7 */
  guidanceScale: number
  /** @default 50, of `model_type: STDiT3` 30 */
  numInferenceSteps: number
  /** @default 320 */
  width: number
  /** @default 192 */
  height: number
  /** @default 16 */
  fps: number
}

/** A parsed tokenizer.json, the path of one, or a tokenizer. */
export type TokenizerSource = string | Config | Tokenizer

/** The parts of an untrained pipeline: configs as in a model folder. */
export interface PipelineConfig {
  transformer: Config
  vae?: Config | undefined
  textEncoder?: Config | undefined
  tokenizer?: TokenizerSource | undefined
  /** @default DDIMScheduler, of `model_type: STDiT3` RFlowScheduler */
  scheduler?: SchedulerOption | undefined
}

export interface FromConfigOptions extends ModelOptions {
  /** The initial weights follow from it. @default 0 */
  seed?: number | bigint | undefined
  /** What generate() takes where an option is absent. */
  defaults?: Partial<PipelineDefaults> | undefined
}
