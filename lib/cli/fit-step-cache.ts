// vin-native fit-step-cache --model FOLDER --prompts FILE: a checkpoint's own polynomial for stepCache, written into the config of its transformer.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { VideoPipeline, fitStepCache } from '../index.js'
import type { GenerateOptions, TensorData } from '../index.js'
import { checkInteger } from '../check.js'
import { embedsName } from '../compare/options.js'
import { VinError, rangeError, typeError } from '../errors.js'
import { checkFile, writeTextAtomically } from '../files/atomic-file.js'
import { readSmallFile } from '../files/small-file.js'
import { isListed } from '../models/checksums.js'
import { packageRoot } from '../native/package-root.js'
import { checkText } from '../options/denoise.js'
import { checkGenerateOptions, defaultNumFrames } from '../options/generate.js'
import { resolveLimits } from '../options/limits.js'
import { modelFolder } from '../pipeline/load.js'
import { errorMessage } from '../realms.js'
import { numberOption, numbersOption } from './arguments.js'
import { defineCommand } from './command.js'
import { checkSamplingInputs } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, samplingArguments, samplingOptions, textValues, type Values } from './options.js'
import { createReporter } from './output.js'
import { noPrompts, promptsArgument, readPrompts } from './prompts.js'

const KEY = 'step_cache_polynomial'
const maxConfigBytes = 1 << 20

/** How the runs are sampled that the polynomial is fitted to. */
const { method, steps, guidance, width, height, fps, scheduler, negative, 'chunk-frames': chunkFrames, 'context-frames': contextFrames } = samplingArguments
const runArguments = { method, steps, guidance, width, height, fps, scheduler, negative, 'chunk-frames': chunkFrames, 'context-frames': contextFrames }

export const fitStepCacheCommand = defineCommand({
  meta: { name: 'fit-step-cache', description: "fit a model's own polynomial for --step-cache, and write it into its config" },
  args: {
    prompts: promptsArgument('needed'),
    seeds: { type: 'string', description: 'seeds of each prompt, from 0 on (1)', valueHint: 'n' },
    frames: { type: 'string', description: `lengths, video frames (${defaultNumFrames})`, valueHint: 'a,b' },
    output: { type: 'string', alias: 'o', description: "config.json to write (the model's own transformer/config.json)", valueHint: 'file' },
    ...runArguments,
    ...modelArguments,
    ...outputArguments
  },
  async run({ args, data }) {
    const { signal } = data as StopOnSignal
    const values = textValues(args)
    const { runs, embeds } = await runsOf(values)
    const model = modelOptions(values)
    const folder = modelFolder(values['model'])
    if (folder === join(packageRoot(), 'models', 'demo') && args.output === undefined) throw typeError('Expected --model with a folder, or --output, for fit-step-cache but received neither; the built-in model is left as it is')
    // A published backbone is its own folder.
    const config = join(folder, existsSync(join(folder, 'transformer')) ? 'transformer' : '', 'config.json')
    const output = args.output ?? config
    // A model that is not there is told of by opening it.
    if (args.output !== undefined || existsSync(config)) await checkFile(output)
    if (args.output !== undefined && existsSync(args.output)) await requireConfig(args.output)
    if (await isListed(output)) throw rangeError(`Expected a config for ${KEY} that no SHA256SUMS names but received ${output}, which one does; take its line out, or say another file with --output`)
    const reporter = await createReporter(args.json)
    let pipeline: VideoPipeline | undefined
    try {
      const onLoading = ({ component, done, total }: { component: string; done: number; total: number }): void => reporter.progress({ stage: `loading ${component}`, done, total })
      pipeline = await VideoPipeline.fromPretrained(values['model'], { ...model, signal, onProgress: onLoading })
      // What cannot be fitted to, or written into, is told before the first run.
      for (const [prompt, tensor] of Object.entries(embeds)) checkText(tensor, embedsName(prompt), pipeline.transformer.config)
      await readConfig(config)
      reporter.progress({ stage: 'fitting', done: 0, total: runs.length })
      const { polynomial, changes, error } = await fitStepCache({ pipeline, runs, signal, onProgress: ({ done, total }) => reporter.progress({ stage: 'fitting', done, total }) })
      // The config is accurate to what its numbers say.
      const rounded = polynomial.map((coefficient) => Number(coefficient.toPrecision(9)))
      await writeConfig(config, output, rounded)
      reporter.result(`${output}: ${KEY} ${rounded.join(', ')}; ${runs.length} ${runs.length === 1 ? 'run' : 'runs'}, ${changes.length} changes, root mean squared error ${error.toPrecision(3)}`, { type: 'done', path: output, polynomial: rounded, runs: runs.length, changes: changes.length, error })
    } finally {
      reporter.close()
      await pipeline?.dispose()
    }
  }
})

/** Every prompt with every seed and length. @throws TypeError or RangeError, before a model is opened */
async function runsOf(values: Values): Promise<{ runs: GenerateOptions[]; embeds: Record<string, TensorData> }> {
  await checkSamplingInputs(values)
  const asked = samplingOptions(Object.fromEntries(Object.entries(values).filter(([name]) => Object.hasOwn(runArguments, name))))
  const lengths = numbersOption(values['frames'], '--frames') ?? [defaultNumFrames]
  const seeds = checkInteger(numberOption(values['seeds'], '--seeds') ?? 1, '--seeds', 1, 100_000)
  if (values['prompts'] === undefined) throw noPrompts('fit-step-cache')
  // Two steps have no change from one to another that the fit could use.
  if (asked.numInferenceSteps !== undefined) checkInteger(asked.numInferenceSteps, '--steps', 3, 1000)
  const read = await readPrompts(values['prompts'])
  const embeds = 'promptEmbeds' in read ? read.promptEmbeds : {}
  const texts: GenerateOptions[] = 'prompts' in read ? read.prompts.map((prompt) => ({ prompt })) : Object.values(embeds).map((promptEmbeds) => ({ promptEmbeds }))
  const runs = texts.flatMap((text) => Array.from({ length: seeds }, (_, seed) => lengths.map((numFrames) => ({ ...asked, ...text, seed, numFrames }))).flat())
  for (const run of runs) checkGenerateOptions(run, resolveLimits())
  return { runs, embeds }
}

/** What is written over is a transformer's config, not just any file. */
async function requireConfig(output: string): Promise<void> {
  let found: unknown
  try {
    found = JSON.parse((await readSmallFile(output, maxConfigBytes)).toString())
  } catch {
    found = undefined
  }
  if (typeof found !== 'object' || found === null || !['hidden_size', 'depth', 'num_heads'].some((key) => Object.hasOwn(found, key))) throw rangeError(`Expected a new file or a transformer's config.json for --output but ${JSON.stringify(output)} is another file; say another one`)
}

async function readConfig(config: string): Promise<{ text: string; value: Record<string, unknown> }> {
  const text = (await readSmallFile(config, maxConfigBytes)).toString()
  try {
    return { text, value: JSON.parse(text) as Record<string, unknown> }
  } catch (error) {
    throw new VinError('ERR_VIN_FORMAT', `Expected plain JSON in ${config} to add ${KEY} to but found ${errorMessage(error)}`, { file: config, expected: 'JSON' })
  }
}

/** The config with the polynomial, otherwise as it was. */
async function writeConfig(config: string, output: string, polynomial: readonly number[]): Promise<void> {
  const { text, value } = await readConfig(config)
  const indent = /^\{\s*\n([ \t]+)/.exec(text)?.[1]
  await writeTextAtomically(output, JSON.stringify({ ...value, [KEY]: polynomial }, null, indent) + (text.endsWith('\n') ? '\n' : ''))
}
