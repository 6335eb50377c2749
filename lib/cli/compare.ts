// vin-native compare --methods a,b --prompts FILE --seeds N --frames 64,128 --report DIR: methods side by side, in a folder that the same command goes on with.

import { join } from 'node:path'
import { VideoPipeline, compare } from '../index.js'
import type { CompareOptions } from '../index.js'
import { checkCompareOptions, sharedNames } from '../compare/options.js'
import { metricNames, type MetricName } from '../evaluate/options.js'
import { readReport } from '../compare/report.js'
import { methods } from '../methods/index.js'
import { isAbort } from '../realms.js'
import { given, namesOption, numberOption, numbersOption, quoted } from './arguments.js'
import { defineCommand } from './command.js'
import { comparisonTable } from './comparison-table.js'
import { checkInput, checkSamplingInputs } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, samplingArguments, samplingOptions, textValues, type Values } from './options.js'
import { createReporter, duration, type Reporter } from './output.js'
import { noPrompts, promptsArgument, readPrompts } from './prompts.js'

/** Options of sampling that hold for all cells. */
const { steps, guidance, width, height, fps, scheduler, negative, 'chunk-frames': chunkFrames, 'context-frames': contextFrames, 'keyframe-interval': keyframeInterval, fusion, 'step-cache': stepCache } = samplingArguments
const sharedArguments = { steps, guidance, width, height, fps, scheduler, negative, 'chunk-frames': chunkFrames, 'context-frames': contextFrames, 'keyframe-interval': keyframeInterval, fusion, 'step-cache': stepCache }

export const compareCommand = defineCommand({
  meta: { name: 'compare', description: 'compare methods: a report with tables, curves and videos side by side' },
  args: {
    methods: { type: 'string', description: `of ${Object.keys(methods).join(', ')}, each also with options of its own, as vin:fusion=late:contextFrames=8 (all that the model runs)`, valueHint: 'a,b' },
    prompts: promptsArgument('needed without --from'),
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
  await checkSamplingInputs(values)
  if (values['from'] !== undefined) await checkInput(values['from'], 'the report.json of a comparison for --from')
  const from = values['from'] === undefined ? undefined : await readReport(values['from'])
  const report = values['report'] ?? 'vin-comparison'
  const asked = samplingOptions(Object.fromEntries(Object.entries(values).filter(([name]) => Object.hasOwn(sharedArguments, name))))
  const shared = Object.fromEntries(sharedNames.filter((name) => asked[name] !== undefined).map((name) => [name, asked[name]]))
  if (from === undefined && values['prompts'] === undefined) throw noPrompts('compare')
  return {
    report,
    ...shared,
    ...given({
      methods: namesOption(values['methods']),
      ...(values['prompts'] === undefined ? {} : await readPrompts(values['prompts'])),
      seeds: numberOption(values['seeds'], '--seeds'),
      frames: numbersOption(values['frames'], '--frames'),
      metrics: namesOption(values['metrics']) as MetricName[] | undefined,
      from
    }),
    signal
  }
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
