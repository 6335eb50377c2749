// vin-native generate "prompt" -o out.mp4

import { videoFormats } from '../index.js'
import { rangeError } from '../errors.js'
import { defaultNumFrames } from '../options/generate.js'
import { listStates } from '../pipeline/resume.js'
import { numberOption } from './arguments.js'
import { defineCommand } from './command.js'
import type { StopOnSignal } from './interrupt.js'
import { checkOutputPlace, jobIn, newJob } from './job-folder.js'
import { modelArguments, outputArguments, samplingArguments, textValues, type Values } from './options.js'
import { createReporter } from './output.js'
import { checkScale, runJob } from './run-job.js'
import { standardOutput } from './standard-output.js'

export const demoPrompt = 'a large red circle and a small blue square bounce over the meadow'

export const generateCommand = defineCommand({
  meta: { name: 'generate', description: 'make a video from a prompt' },
  args: {
    ...samplingArguments,
    output: { type: 'string', alias: 'o', description: `file to write: ${videoFormats.map((format) => `.${format}`).join(' ')}, or - for an mp4 on standard output`, default: 'out.mp4', valueHint: 'file' },
    scale: { type: 'string', description: 'whole-number enlargement (shorter side of at least 256 pixels)', valueHint: 'n' },
    ...modelArguments,
    preview: { type: 'boolean', description: 'write out.preview.apng while sampling' },
    resume: { type: 'string', description: 'folder to keep sampling states in, and to go on from (./vin-…, removed at the end)', valueHint: 'folder' },
    ...outputArguments
  },
  async run({ args, data }) {
    const { signal } = data as StopOnSignal
    const values = textValues(args)
    const output = checkOutput(args.output)
    await checkOutputPlace(output, framesOf(values), args.preview)
    const scale = checkScale(args.scale)
    const reporter = await createReporter(args.json)
    const { job, before } = args.resume === undefined ? { job: await newJob(output), before: undefined } : await jobIn(args.resume)
    // A run that goes on keeps its seed: the job says it, else its states do.
    const seed = values['seed'] ?? before?.values['seed'] ?? ((await listStates(job.folder)).length === 0 ? String(drawSeed()) : undefined)
    const { prompt = demoPrompt } = values
    await runJob({ job, values: optionTexts({ ...values, prompt, seed }), output, scale, preview: args.preview === true }, reporter, signal)
  }
})

/** The frames that a run makes. */
export function framesOf(values: Values): number {
  return numberOption(values['frames'], '--frames') ?? defaultNumFrames
}

/** A new seed, small enough to be typed again. */
function drawSeed(): number {
  return Math.floor(Math.random() * 2 ** 32)
}

const kept = [...Object.keys(samplingArguments), ...Object.keys(modelArguments)]

/** citty repeats options under camel-case names: those that job.json keeps are the ones typed. */
function optionTexts(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(kept.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])))
}

export function checkOutput(output: string): string {
  if (output === standardOutput) return output
  const extension = /\.([^./\\]+)$/.exec(output)?.[1]?.toLowerCase()
  if (!(videoFormats as readonly (string | undefined)[]).includes(extension)) {
    throw rangeError(`Expected an output that ends in one of ${videoFormats.map((format) => `.${format}`).join(', ')} but received ${JSON.stringify(output)}`)
  }
  return output
}
