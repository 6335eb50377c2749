// vin-native evaluate FILE…: measures videos, whoever made them. A file a row, and their mean; with --json a file a line.

import { basename } from 'node:path'
import { VideoPipeline, evaluate, evaluateClips, summarize, vinEncoder } from '../index.js'
import type { ClipsEvaluation, EvaluateClipsOptions, Evaluation } from '../index.js'
import { checkNumber } from '../check.js'
import { typeError } from '../errors.js'
import { metricNames, metricsWithFeatures, resolveOptions } from '../evaluate/options.js'
import type { MetricName } from '../evaluate/options.js'
import { probeVideo } from '../video/probe.js'
import { given, namesOption, numberOption, numbersOption } from './arguments.js'
import { defineCommand } from './command.js'
import { clipsTable, evaluationNotes, evaluationTable } from './evaluation-table.js'
import { checkInput } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, textValues, type Values } from './options.js'
import { createReporter, type Progress, type Reporter } from './output.js'

/** What needs nothing but the pictures. */
const plainMetrics: readonly MetricName[] = ['temporalFlickering', 'motionSmoothness', 'dynamicDegree', 'sceneCuts', 'mawe']

const { model: _, ...deviceArguments } = modelArguments

export const evaluateCommand = defineCommand({
  meta: { name: 'evaluate', description: 'measure videos, whoever made them' },
  args: {
    'file…': { type: 'positional', required: true, description: 'videos to measure, read by ffmpeg at their own size and rate' },
    metrics: { type: 'string', description: `of ${metricNames.join(', ')} (those that the other options make possible)`, valueHint: 'a,b' },
    model: { type: 'string', description: "model folder, or 'demo', whose VIN makes the features of consistency and identity (none)", valueHint: 'folder' },
    fps: { type: 'string', description: "frames a second (the file's)", valueHint: 'n' },
    borders: { type: 'string', description: 'for seamScore, the first video frame of every chunk but the first (none)', valueHint: 'a,b' },
    gaps: { type: 'string', description: 'for identityOverGap, seconds (1,2,4,8)', valueHint: 'a,b' },
    clips: { type: 'boolean', description: 'measure clip by clip, as VBench-Long does' },
    seconds: { type: 'string', description: 'length of a clip (2)', valueHint: 'n' },
    'split-scenes': { type: 'boolean', description: 'cut into scenes first, so that no clip holds a cut' },
    ...deviceArguments,
    ...outputArguments
  },
  async run({ args, data }) {
    const { signal } = data as StopOnSignal
    const values = textValues(args)
    const options: EvaluateClipsOptions = { ...evaluateOptions(values), signal }
    const clips = args.clips === true
    const foreign = clips ? undefined : values['seconds'] !== undefined ? '--seconds' : args['split-scenes'] === true ? '--split-scenes' : undefined
    if (foreign !== undefined) throw typeError(`Expected ${foreign} with --clips only but received it without`)
    const clipOptions = given({ seconds: numberOption(values['seconds'], '--seconds'), splitScenes: args['split-scenes'] })
    if (clipOptions.seconds !== undefined) checkNumber(clipOptions.seconds, '--seconds', 0, 3600, true)
    const files = args._
    // A wrong name at the end of the list is told before the first file has been measured for minutes.
    for (const file of files) await checkInput(file, 'the path of a video')
    for (const file of files) await probeVideo(file, signal)
    const reporter = await createReporter(args.json)
    const pipeline = values['model'] === undefined ? undefined : await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal })
    try {
      const encoder = pipeline === undefined ? undefined : vinEncoder(pipeline)
      const clock = new FileClock(files, reporter)
      if (clips) await measureClips(files, { ...options, ...clipOptions, encoder }, clock, reporter)
      else await measure(files, { ...options, encoder }, clock, reporter)
    } finally {
      reporter.close()
      await pipeline?.dispose()
    }
  }
})

/** Checked before a file is looked at, by the names that were typed. */
function evaluateOptions(values: Values): EvaluateClipsOptions {
  const asked = namesOption(values['metrics']) as MetricName[] | undefined
  const borders = numbersOption(values['borders'], '--borders')
  const withModel = values['model'] !== undefined
  const metrics = asked ?? [...plainMetrics, ...(withModel ? metricsWithFeatures : []), ...(borders === undefined ? [] : (['seamScore'] as const))]
  const options = given({ metrics, borders, fps: numberOption(values['fps'], '--fps'), gaps: numbersOption(values['gaps'], '--gaps') })
  const needy = withModel ? undefined : metrics.find((name) => metricsWithFeatures.includes(name))
  if (needy !== undefined) throw typeError(`Expected --model for ${needy}, whose features its VIN makes, but received none; say --model demo, or the folder of a model`)
  if (metrics.includes('seamScore') && borders === undefined) throw typeError('Expected --borders for seamScore, the first video frame of every chunk but the first, but received none')
  resolveOptions({ ...options, ...(withModel ? { encoder: { name: 'VIN', encode: () => new Float32Array(1) } } : {}) })
  modelOptions(values)
  return options
}

async function measure(files: readonly string[], options: EvaluateClipsOptions, clock: FileClock, reporter: Reporter): Promise<void> {
  const measured: { file: string; evaluation: Evaluation }[] = []
  for (const [index, file] of files.entries()) {
    const evaluation = await evaluate(file, { ...options, onProgress: clock.of(index) })
    for (const warning of evaluation.warnings ?? []) reporter.warning(warning)
    measured.push({ file, evaluation })
    reporter.event({ type: 'evaluation', file, ...evaluation })
  }
  const summary = summarize(measured.map(({ evaluation }) => evaluation))
  const notes = evaluationNotes(measured.map(({ evaluation }) => evaluation))
  reporter.result([evaluationTable(measured, summary), ...notes].join('\n'), { type: 'done', ...summary, notes })
}

async function measureClips(files: readonly string[], options: EvaluateClipsOptions, clock: FileClock, reporter: Reporter): Promise<void> {
  const measured: { file: string; evaluation: ClipsEvaluation }[] = []
  for (const [index, file] of files.entries()) {
    const evaluation = await evaluateClips(file, { ...options, onProgress: clock.of(index) })
    for (const warning of evaluation.warnings ?? []) reporter.warning(warning)
    measured.push({ file, evaluation })
    reporter.event({ type: 'evaluation', file, ...evaluation })
  }
  const notes = evaluationNotes(measured.flatMap(({ evaluation }) => evaluation.clips))
  reporter.result([clipsTable(measured), ...notes].join('\n'), { type: 'done', videos: measured.length, notes })
}

/** How far the work is, over all files. */
class FileClock {
  readonly #files: readonly string[]
  readonly #reporter: Reporter

  constructor(files: readonly string[], reporter: Reporter) {
    this.#files = files
    this.#reporter = reporter
  }

  of(index: number): (progress: { done: number; total: number | undefined }) => void {
    const started = performance.now()
    const count = this.#files.length
    const stage = `measuring ${count === 1 ? '' : `${index + 1}/${count} `}${basename(this.#files[index]!)}`
    return ({ done, total = 0 }) => {
      const progress: Progress = { stage, done, total }
      if (total > done) progress.etaMs = ((performance.now() - started) / done) * (total - done)
      this.#reporter.progress(progress)
    }
  }
}
