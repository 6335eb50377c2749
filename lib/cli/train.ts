// vin-native train --data FOLDER --output FOLDER --steps N: trains a model folder with the Trainer, or goes on with a checkpoint.

import { sep } from 'node:path'
import { Trainer, VideoPipeline, demoWorld, videoFolder } from '../index.js'
import type { Dataset } from '../index.js'
import { rangeError, typeError } from '../errors.js'
import { placeOf } from '../files/disk.js'
import { claimCheckpoint, settleCheckpoint } from '../training/checkpoint.js'
import { checkFitOptions } from '../training/fit.js'
import { resolveTrainerOptions } from '../training/options.js'
import { trainerCheckpoint } from '../training/trainer.js'
import { given, numberOption, quoted, seedOption } from './arguments.js'
import { defineCommand } from './command.js'
import { isAbort } from './exit.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, textValues } from './options.js'
import { createReporter } from './output.js'

export const trainCommand = defineCommand({
  meta: { name: 'train', description: 'train a model folder' },
  args: {
    data: { type: 'string', description: "a folder of videos with captions (NAME.mp4 beside NAME.txt), or 'demo', the built-in model's world", default: 'demo', valueHint: 'folder' },
    output: { type: 'string', alias: 'o', description: 'checkpoint folder; one that is there is gone on with', default: 'vin-checkpoint', valueHint: 'folder' },
    steps: { type: 'string', description: 'steps to make (until --minutes)', valueHint: 'n' },
    minutes: { type: 'string', description: 'time to train (until --steps)', valueHint: 'n' },
    'learning-rate': { type: 'string', description: 'highest rate (1e-4)', valueHint: 'x' },
    'batch-size': { type: 'string', description: 'videos a step (1)', valueHint: 'n' },
    seed: { type: 'string', description: 'of data, noise and dropout (0)', valueHint: 'n' },
    trainable: { type: 'string', description: "'all', 'vin' or a pattern of names (all)", valueHint: 'names' },
    'checkpoint-every': { type: 'string', description: 'steps between checkpoints (500)', valueHint: 'n' },
    ...modelArguments,
    ...outputArguments
  },
  async run({ args, rawArgs, data }) {
    const { signal } = data as StopOnSignal
    const values = textValues(args)
    const steps = numberOption(args.steps, '--steps')
    const minutes = numberOption(args.minutes, '--minutes')
    if (steps === undefined && minutes === undefined) throw typeError('Expected --steps or --minutes for train but received neither')
    const seed = seedOption(args.seed) ?? 0
    const options = given({
      learningRate: numberOption(args['learning-rate'], '--learning-rate'),
      batchSize: numberOption(args['batch-size'], '--batch-size'),
      trainable: args.trainable
    })
    const checkpointEvery = numberOption(args['checkpoint-every'], '--checkpoint-every')
    resolveTrainerOptions(options)
    checkFitOptions(given({ steps, minutes, checkpointEvery }))
    await claimCheckpoint(args.output, trainerCheckpoint)
    const goOn = await settleCheckpoint(args.output)
    if (!goOn && args.data !== 'demo') await checkOutside(args.output, args.data)
    const reporter = await createReporter(args.json)
    const pipeline = goOn ? undefined : await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal })
    const trainer = pipeline === undefined ? await Trainer.resume(args.output, options, modelOptions(values)) : new Trainer(pipeline, { ...options, seed, lengths: [20, 40, 80] })
    const { width, height, fps } = trainer.pipeline.defaults
    const dataset: Dataset = args.data === 'demo' ? demoWorld({ seed }) : videoFolder(args.data, { width, height, fps, seed })
    let done = 0
    let saved: { step: number; done: number } | undefined
    const started = performance.now()
    try {
      await trainer.fit(dataset, {
        ...given({ steps, minutes, checkpointEvery }),
        signal,
        checkpoint: args.output,
        onStep: (report) => {
          done++
          reporter.event({ type: 'step', ...report })
          reporter.progress({ stage: 'training', done, total: steps ?? 0, detail: `loss ${report.loss.toFixed(4)}` })
        },
        onCheckpoint: (folder, step) => {
          saved = { step, done }
          reporter.event({ type: 'checkpoint', folder, step })
        }
      })
      reporter.result(`${args.output}: ${done} steps`, { type: 'done', path: args.output, steps: done })
    } catch (error) {
      reporter.close()
      if (saved !== undefined) {
        const left = { steps: steps === undefined ? undefined : steps - saved.done, minutes: minutes === undefined ? undefined : minutes - (performance.now() - started) / 60_000 }
        const resume = goOnCommand(rawArgs, left)
        reporter.note(`${isAbort(error) ? 'interrupted: ' : ''}${saved.step} steps are saved in ${args.output}, go on with: ${resume}`)
        reporter.event({ type: 'saved', folder: args.output, step: saved.step, resume })
      }
      throw error
    } finally {
      reporter.close()
      await trainer.dispose()
      await pipeline?.dispose()
    }
  }
})

/** What lies in the data folder counts as data: no checkpoint goes there. */
async function checkOutside(output: string, data: string): Promise<void> {
  const [place, folder] = await Promise.all([placeOf(output), placeOf(data)])
  if (place !== folder && !place.startsWith(folder.endsWith(sep) ? folder : folder + sep)) return
  throw rangeError(`Expected a folder outside the data folder ${data} for --output but received ${output}; choose another folder`)
}

/** The same command, for what is left of the run. */
function goOnCommand(rawArgs: readonly string[], left: { steps: number | undefined; minutes: number | undefined }): string {
  const rest: Record<string, string | undefined> = { '--steps': left.steps?.toString(), '--minutes': left.minutes === undefined ? undefined : Math.max(0.1, left.minutes).toFixed(1) }
  const words = rawArgs.map((word, i) => {
    const [name = '', value] = word.split('=')
    if (value !== undefined && rest[name] !== undefined) return `${name}=${rest[name]}`
    return rest[rawArgs[i - 1] ?? ''] ?? word
  })
  return ['npx vin-native train', ...words.map(quoted)].join(' ')
}
