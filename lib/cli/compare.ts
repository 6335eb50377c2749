// vin-native compare --methods a,b --prompts FILE --seeds N --frames 64,128 --report DIR: methods side by side, in a folder that the same command goes on with.

import { basename, join } from 'node:path'
import { types } from 'node:util'
import { VideoPipeline, compare } from '../index.js'
import type { CompareOptions, CompareReport, TensorData } from '../index.js'
import { VinError, rangeError, typeError } from '../errors.js'
import { checkCompareOptions, sharedNames } from '../compare/options.js'
import { metricNames, type MetricName } from '../evaluate/options.js'
import { parseReport } from '../compare/report.js'
import { readSmallFile } from '../files/small-file.js'
import { methods } from '../methods/index.js'
import { loadBinding } from '../native/load.js'
import { errorCode, errorMessage, isAbort } from '../realms.js'
import { given, namesOption, numberOption, numbersOption, quoted } from './arguments.js'
import { defineCommand } from './command.js'
import { comparisonTable } from './comparison-table.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, samplingArguments, samplingOptions, textValues, type Values } from './options.js'
import { createReporter, duration, type Reporter } from './output.js'

const maxFileBytes = 256 << 20

/** Options of sampling that hold for all cells. */
const { steps, guidance, width, height, fps, scheduler, negative, 'chunk-frames': chunkFrames, 'context-frames': contextFrames, 'step-cache': stepCache } = samplingArguments
const sharedArguments = { steps, guidance, width, height, fps, scheduler, negative, 'chunk-frames': chunkFrames, 'context-frames': contextFrames, 'step-cache': stepCache }

export const compareCommand = defineCommand({
  meta: { name: 'compare', description: 'compare methods: a report with tables, curves and videos side by side' },
  args: {
    methods: { type: 'string', description: `of ${Object.keys(methods).join(', ')}, each also with options of its own, as vin:fusion=late:contextFrames=8 (all that the model runs)`, valueHint: 'a,b' },
    prompts: { type: 'string', description: 'text file with a prompt a line, or .safetensors with embeddings [L, D] by prompt (needed without --from)', valueHint: 'file' },
    seeds: { type: 'string', description: 'seeds of each prompt, from 0 on (1)', valueHint: 'n' },
    frames: { type: 'string', description: 'lengths, video frames (64)', valueHint: 'a,b' },
    metrics: { type: 'string', description: `of ${metricNames.join(', ')} (all that the model has features for)`, valueHint: 'a,b' },
    report: { type: 'string', description: 'folder of the comparison; one that is there is gone on with (vin-comparison)', valueHint: 'folder' },
    videos: { type: 'boolean', description: 'keep the videos, for the page to show side by side', negativeDescription: 'keep numbers alone', default: true },
    from: { type: 'string', description: 'report.json whose cells are made again, in another folder (none)', valueHint: 'file' },
    ...sharedArguments,
    ...modelArguments,
    ...outputArguments
  },
  async run({ args, rawArgs, data }) {
    const { signal } = data as StopOnSignal
    const values = textValues(args)
    const options = { ...(await compareOptions(values, signal)), videos: args.videos }
    checkCompareOptions(options)
    modelOptions(values)
    const reporter = await createReporter(args.json)
    const onProgress = ({ component, done, total }: { component: string; done: number; total: number }): void => reporter.progress({ stage: `loading ${component}`, done, total })
    let pipeline: VideoPipeline | undefined
    let begun = false
    try {
      pipeline = await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal, onProgress })
      const report = await compare(pipeline, { ...options, ...listeners(reporter, () => (begun = true)) })
      const page = join(options.report, 'index.html')
      reporter.result(`${comparisonTable(report)}\n${page}: ${report.rows.length} videos of ${report.methods.length} ${report.methods.length === 1 ? 'method' : 'methods'}`, { type: 'done', path: page, rows: report.rows.length, groups: report.groups })
    } catch (error) {
      reporter.close()
      if (begun) {
        const resume = ['npx vin-native compare', ...rawArgs.map(quoted)].join(' ')
        reporter.note(`${isAbort(error) ? 'interrupted: ' : ''}what is finished is in ${options.report}, go on with: ${resume}`)
        reporter.event({ type: 'saved', folder: options.report, resume })
      }
      throw error
    } finally {
      reporter.close()
      await pipeline?.dispose()
    }
  }
})

async function compareOptions(values: Values, signal: AbortSignal): Promise<CompareOptions> {
  const from = values['from'] === undefined ? undefined : await readInput(values['from'], 'the report.json of a comparison for --from', (bytes) => parseReport(bytes, values['from']!))
  const report = values['report'] ?? 'vin-comparison'
  const asked = samplingOptions(Object.fromEntries(Object.entries(values).filter(([name]) => Object.hasOwn(sharedArguments, name))))
  const shared = Object.fromEntries(sharedNames.filter((name) => asked[name] !== undefined).map((name) => [name, asked[name]]))
  if (from === undefined && values['prompts'] === undefined) throw typeError('Expected --prompts with a text file of a prompt a line for compare but received none')
  return {
    report,
    ...shared,
    ...given({
      methods: namesOption(values['methods']),
      ...(values['prompts'] === undefined ? {} : values['prompts'].endsWith('.safetensors') ? { promptEmbeds: await readEmbeds(values['prompts']) } : { prompts: await readPrompts(values['prompts']) }),
      seeds: numberOption(values['seeds'], '--seeds'),
      frames: numbersOption(values['frames'], '--frames'),
      metrics: namesOption(values['metrics']) as MetricName[] | undefined,
      from
    }),
    signal
  }
}

const readText = (file: string, what: string): Promise<string> => readInput(file, what, (bytes) => new TextDecoder('utf-8', { fatal: true }).decode(bytes))

async function readInput<T>(file: string, what: string, decode: (bytes: Buffer) => T): Promise<T> {
  try {
    return decode(await readSmallFile(file, maxFileBytes))
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'EACCES' || errorCode(error) === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw Object.assign(rangeError(`Expected ${what} but ${JSON.stringify(file)} cannot be read`), { cause: error })
    throw error
  }
}

/** A prompt a line; empty lines, and those that begin with #, are none. */
async function readPrompts(file: string): Promise<string[]> {
  const text = await readText(file, 'a text file with a prompt a line for --prompts')
  const prompts = text.split('\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  if (prompts.length === 0) throw rangeError(`Expected a prompt a line in ${file} for --prompts but it holds none`)
  return prompts
}

/** Each tensor is a prompt, its name the text. */
async function readEmbeds(file: string): Promise<Record<string, TensorData>> {
  const { tensors } = await readInput(file, 'a file of embeddings for --prompts', (bytes) => loadBinding().readSafetensors(bytes))
  const embeds = Object.entries(tensors).map(([prompt, { data, shape, dtype }]): [string, TensorData] => {
    if (!types.isFloat32Array(data) || shape.length !== 2) throw new VinError('ERR_VIN_FORMAT', `Expected floating-point embeddings [L, D] by prompt in ${basename(file)} but found ${dtype} [${shape.join(', ')}] for ${JSON.stringify(prompt)}`, { file, tensor: prompt, expected: ['L', 'D'], found: shape })
    return [prompt, { data, shape }]
  })
  if (embeds.length === 0) throw rangeError(`Expected embeddings by prompt in ${file} for --prompts but it holds none`)
  return Object.fromEntries(embeds)
}

function listeners(reporter: Reporter, begin: () => void): Pick<CompareOptions, 'onEstimate' | 'onProgress' | 'onRow' | 'onWarning'> {
  const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`
  return {
    onEstimate: (estimate) => {
      begin()
      const { cells, open, seconds, bytes, freeBytes } = estimate
      reporter.note(`${open === cells ? cells : `${open} of ${cells}`} videos to make: about ${duration(seconds * 1000)} here, ${mebibytes(bytes)} of ${mebibytes(freeBytes)} that are free`)
      reporter.event({ type: 'estimate', ...estimate })
    },
    onProgress: (progress) => reporter.progress(progress),
    onRow: ({ evaluation, ...row }) => reporter.event({ type: 'row', ...row }),
    onWarning: (warning) => reporter.warning(warning)
  }
}
