// Options that several commands share, and how they become options of the library.

import type { GenerateOptions, ModelOptions } from '../index.js'
import { given, numberOption, seedOption } from './arguments.js'

export const modelArguments = {
  model: { type: 'string', description: "model folder, or 'demo'", default: 'demo', valueHint: 'folder' },
  device: { type: 'string', description: 'auto, cpu, cuda or cuda:N', valueHint: 'device' },
  dtype: { type: 'string', description: 'auto, float32, bfloat16 or int8', valueHint: 'type' },
  threads: { type: 'string', description: 'threads that compute', valueHint: 'n' },
  'memory-budget': { type: 'string', description: 'most memory to take, in MiB', valueHint: 'MiB' }
} as const

export const samplingArguments = {
  prompt: { type: 'positional', description: 'what to show', required: false },
  frames: { type: 'string', description: 'video frames (64)', valueHint: 'n' },
  seed: { type: 'string', description: 'the same seed makes the same video', valueHint: 'n' },
  method: { type: 'string', description: 'vin, full, autoregressive, independent, …', valueHint: 'name' },
  steps: { type: 'string', description: 'steps of the scheduler', valueHint: 'n' },
  guidance: { type: 'string', description: 'how strongly the prompt is followed', valueHint: 'x' },
  width: { type: 'string', description: 'pixels, a multiple of 8', valueHint: 'px' },
  height: { type: 'string', description: 'pixels, a multiple of 8', valueHint: 'px' },
  fps: { type: 'string', description: 'video frames per second', valueHint: 'n' },
  negative: { type: 'string', description: 'what not to show', valueHint: 'text' },
  scheduler: { type: 'string', description: "class name (the checkpoint's)", valueHint: 'name' },
  image: { type: 'string', description: 'first picture', valueHint: 'file' },
  'last-image': { type: 'string', description: 'last picture', valueHint: 'file' },
  video: { type: 'string', description: 'video to go on from', valueHint: 'file' },
  'chunk-frames': { type: 'string', description: 'latent frames a chunk owns', valueHint: 'n' },
  'context-frames': { type: 'string', description: 'latent frames before a chunk', valueHint: 'n' },
  'chunks-in-flight': { type: 'string', description: 'chunks evaluated at once', valueHint: 'n' }
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

export function modelOptions(values: Values): ModelOptions {
  const mebibytes = numberOption(values['memory-budget'], '--memory-budget')
  return given({
    device: values['device'] as ModelOptions['device'],
    dtype: values['dtype'] as ModelOptions['dtype'],
    threads: numberOption(values['threads'], '--threads'),
    memoryBudget: mebibytes === undefined ? undefined : mebibytes * 2 ** 20
  })
}

/** Ranges are the library's to check; here texts become numbers. */
export function samplingOptions(values: Values): GenerateOptions {
  return given({
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
}
