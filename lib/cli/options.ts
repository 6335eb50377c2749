// Options that several commands share, and how they become options of the library.

import type { GenerateOptions, ModelOptions } from '../index.js'
import { expected } from '../errors.js'
import { methods } from '../methods/index.js'
import { checkGenerateOptions } from '../options/generate.js'
import { resolveLimits } from '../options/limits.js'
import { resolveModelOptions } from '../options/model.js'
import { given, numberOption, seedOption } from './arguments.js'

export const modelArguments = {
  model: { type: 'string', description: "model folder, or 'demo'", default: 'demo', valueHint: 'folder' },
  device: { type: 'string', description: 'auto or cpu (auto)', valueHint: 'device' },
  dtype: { type: 'string', description: 'auto or float32 (auto, which is float32)', valueHint: 'type' },
  threads: { type: 'string', description: 'threads that compute (the cores)', valueHint: 'n' },
  'memory-budget': { type: 'string', description: 'most memory to take, in MiB (80 % of what is free)', valueHint: 'MiB' }
} as const

export const samplingArguments = {
  prompt: { type: 'positional', description: 'what to show', required: false },
  frames: { type: 'string', description: 'video frames (64)', valueHint: 'n' },
  seed: { type: 'string', description: 'the same seed makes the same video (drawn, and told at the end)', valueHint: 'n' },
  method: { type: 'string', description: `${Object.keys(methods).join(', ')} (vin)`, valueHint: 'name' },
  steps: { type: 'string', description: "steps of the scheduler (the model's)", valueHint: 'n' },
  guidance: { type: 'string', description: "how strongly the prompt is followed (the model's)", valueHint: 'x' },
  width: { type: 'string', description: "pixels, a multiple of 8 (the model's)", valueHint: 'px' },
  height: { type: 'string', description: "pixels, a multiple of 8 (the model's)", valueHint: 'px' },
  fps: { type: 'string', description: "video frames per second (the model's)", valueHint: 'n' },
  negative: { type: 'string', description: 'what not to show (nothing)', valueHint: 'text' },
  scheduler: { type: 'string', description: "class name, or the path of a config; a wrong name lists all (the model's)", valueHint: 'name' },
  image: { type: 'string', description: 'first picture (none)', valueHint: 'file' },
  'last-image': { type: 'string', description: 'last picture (none)', valueHint: 'file' },
  video: { type: 'string', description: 'video to go on from (none)', valueHint: 'file' },
  'chunk-frames': { type: 'string', description: "latent frames a chunk owns (the model's)", valueHint: 'n' },
  'context-frames': { type: 'string', description: "latent frames before a chunk (the model's)", valueHint: 'n' },
  'chunks-in-flight': { type: 'string', description: 'chunks evaluated at once (as many as memory and threads allow)', valueHint: 'n' }
} as const

export const outputArguments = {
  json: { type: 'boolean', description: 'one JSON object a line' }
} as const

/** The values of string options, by name. */
export type Values = Readonly<Record<string, string | undefined>>

/** The texts among parsed arguments. */
export function textValues(args: Record<string, unknown>): Values {
  return Object.fromEntries(Object.entries(args).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
}

/** @throws RangeError, TypeError or ERR_VIN_NOT_SUPPORTED for what no model can be opened with */
export function modelOptions(values: Values): ModelOptions {
  const mebibytes = numberOption(values['memory-budget'], '--memory-budget')
  if (mebibytes !== undefined && !(mebibytes > 0 && mebibytes < 2 ** 32)) throw expected('a number of MiB above 0', '--memory-budget', values['memory-budget'], 'range')
  const options = given({
    device: values['device'] as ModelOptions['device'],
    dtype: values['dtype'] as ModelOptions['dtype'],
    threads: numberOption(values['threads'], '--threads'),
    memoryBudget: mebibytes === undefined ? undefined : Math.ceil(mebibytes * 2 ** 20)
  })
  resolveModelOptions(options)
  return options
}

/**
Texts become numbers, and what no model would take is refused, before one is opened.

@throws RangeError, TypeError or ERR_VIN_NOT_SUPPORTED
*/
export function samplingOptions(values: Values): GenerateOptions {
  const options = given({
    prompt: values['prompt'],
    negativePrompt: values['negative'],
    numFrames: numberOption(values['frames'], '--frames'),
    width: numberOption(values['width'], '--width'),
    height: numberOption(values['height'], '--height'),
    fps: numberOption(values['fps'], '--fps'),
    numInferenceSteps: numberOption(values['steps'], '--steps'),
    guidanceScale: numberOption(values['guidance'], '--guidance'),
    seed: seedOption(values['seed']),
    scheduler: values['scheduler'] as GenerateOptions['scheduler'],
    method: values['method'] as GenerateOptions['method'],
    chunkFrames: numberOption(values['chunk-frames'], '--chunk-frames'),
    contextFrames: numberOption(values['context-frames'], '--context-frames'),
    chunksInFlight: numberOption(values['chunks-in-flight'], '--chunks-in-flight'),
    image: values['image'],
    lastImage: values['last-image'],
    video: values['video']
  })
  checkGenerateOptions(options, resolveLimits())
  return options
}
