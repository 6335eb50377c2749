// vin-native train --data FOLDER --output FOLDER --steps N: trains a model folder with the Trainer, or goes on with a checkpoint.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Trainer, VideoPipeline, demoWorld, videoFolder } from '../index.js'
import type { Dataset } from '../index.js'
import { typeError } from '../errors.js'
import { given, numberOption, seedOption } from './arguments.js'
import { defineCommand } from './command.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, textValues } from './options.js'
import { createReporter } from './output.js'

export const trainCommand = defineCommand({
  meta: { name: 'train', description: 'train a model folder' },
  args: {
    data: { type: 'string', description: "a folder of videos with captions (NAME.mp4 beside NAME.txt), or 'demo', the built-in model's world", default: 'demo', valueHint: 'folder' },
    output: { type: 'string', alias: 'o', description: 'checkpoint folder; one that is there is gone on with', default: 'vin-checkpoint', valueHint: 'folder' },
    steps: { type: 'string', description: 'steps to make', valueHint: 'n' },
    minutes: { type: 'string', description: 'time to train', valueHint: 'n' },
    'learning-rate': { type: 'string', description: 'highest rate (1e-4)', valueHint: 'x' },
    'batch-size': { type: 'string', description: 'videos a step (1)', valueHint: 'n' },
    seed: { type: 'string', description: 'of data, noise and dropout (0)', valueHint: 'n' },
    trainable: { type: 'string', description: "'all', 'vin' or a pattern of names", valueHint: 'names' },
    'checkpoint-every': { type: 'string', description: 'steps between checkpoints (500)', valueHint: 'n' },
    ...modelArguments,
    ...outputArguments
  },
  async run({ args, data }) {
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
    const reporter = await createReporter(args.json)
    const goOn = existsSync(join(args.output, 'training'))
    const pipeline = goOn ? undefined : await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal })
    const trainer = pipeline === undefined ? await Trainer.resume(args.output, options, modelOptions(values)) : new Trainer(pipeline, { ...options, seed, lengths: [20, 40, 80] })
    const { width, height, fps } = trainer.pipeline.defaults
    const dataset: Dataset = args.data === 'demo' ? demoWorld({ seed }) : videoFolder(args.data, { width, height, fps, seed })
    let done = 0
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
        onCheckpoint: (folder, step) => reporter.event({ type: 'checkpoint', folder, step })
      })
      reporter.result(`${args.output}: ${done} steps`, { type: 'done', path: args.output, steps: done })
    } finally {
      reporter.close()
      await trainer.dispose()
      await pipeline?.dispose()
    }
  }
})
