// vin-native train --data FOLDER --output FOLDER --steps N: trains a model folder with the Trainer, or goes on with a checkpoint.

import { existsSync } from 'node:fs'
import { join, sep } from 'node:path'
import { checkInteger, checkNumber } from '../check.js'
import { Trainer, VideoPipeline, demoWorld, videoFolder } from '../index.js'
import type { Clip, Dataset, TrainingExample, VideoFolder } from '../index.js'
import { rangeError, typeError } from '../errors.js'
import { placeOf } from '../files/disk.js'
import { fewestVideoFrames } from '../plan/frames.js'
import { errorMessage, isAbort } from '../realms.js'
import { checkDataset } from '../training/check.js'
import { claimCheckpoint, readState, settleCheckpoint } from '../training/checkpoint.js'
import { checkFitOptions } from '../training/fit.js'
import { resolveTrainerOptions } from '../training/options.js'
import { trainerCheckpoint } from '../training/trainer.js'
import { defaultScale } from '../video/frames.js'
import { given, numberOption, numbersOption, quoted, seedOption } from './arguments.js'
import { clipTable } from './clip-table.js'
import { defineCommand } from './command.js'
import { exitCodes } from './exit.js'
import { checkInput } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, textValues, type Values } from './options.js'
import { createReporter, type Reporter } from './output.js'
import { StepClock, TrainingLog } from './training-log.js'

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
    lengths: { type: 'string', description: 'latent frames of training videos, the shortest first; a clip takes the longest that fits (20,40,80)', valueHint: 'a,b' },
    'checkpoint-every': { type: 'string', description: 'steps between checkpoints (500)', valueHint: 'n' },
    'held-out': { type: 'string', description: 'share of the clips that training does not see and is measured on (0.1)', valueHint: 'x' },
    'eval-every': { type: 'string', description: 'steps between held-out losses (100)', valueHint: 'n' },
    'sample-every': { type: 'string', description: 'steps between sample videos, 0 for none (500)', valueHint: 'n' },
    check: { type: 'boolean', description: 'look at all clips, list them in a table, and stop' },
    ...modelArguments,
    ...outputArguments
  },
  async run({ args, rawArgs, data }) {
    const { signal } = data as StopOnSignal
    const values = textValues(args)
    const steps = numberOption(args.steps, '--steps')
    const minutes = numberOption(args.minutes, '--minutes')
    if (args.check !== true && steps === undefined && minutes === undefined) throw typeError('Expected --steps or --minutes for train but received neither')
    const own = args.data !== 'demo'
    if (args.check === true && !own) throw typeError('Expected --data with a folder of videos for --check but received none')
    if (own) await checkInput(args.data, "a folder of videos, or 'demo', for --data", ['folder'])
    const seed = seedOption(args.seed)
    const options = given({
      learningRate: numberOption(args['learning-rate'], '--learning-rate'),
      batchSize: numberOption(args['batch-size'], '--batch-size'),
      lengths: numbersOption(args.lengths, '--lengths'),
      trainable: args.trainable,
      seed
    })
    const checkpointEvery = numberOption(args['checkpoint-every'], '--checkpoint-every')
    const heldOut = checkNumber(numberOption(args['held-out'], '--held-out') ?? 0.1, '--held-out', 0, 0.9)
    const evalEvery = checkInteger(numberOption(args['eval-every'], '--eval-every') ?? 100, '--eval-every', 1, 1e9)
    const sampleEvery = checkInteger(numberOption(args['sample-every'], '--sample-every') ?? 500, '--sample-every', 0, 1e9)
    resolveTrainerOptions(options)
    if (args.check === true) return checkClips({ ...args, data: args.data, lengths: options.lengths, heldOut, seed }, values, signal)
    checkFitOptions(given({ steps, minutes, checkpointEvery }))
    await claimCheckpoint(args.output, trainerCheckpoint)
    const goOn = await settleCheckpoint(args.output)
    if (!goOn && own) await checkOutside(args.output, args.data)
    const reporter = await createReporter(args.json)
    const pipeline = goOn ? undefined : await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal })
    const trainer = pipeline === undefined ? await Trainer.resume(args.output, options, modelOptions(values)) : new Trainer(pipeline, options)
    const clips = own ? openClips(trainer.pipeline, args.data, { lengths: trainer.options.lengths, heldOut, seed: trainer.options.seed }) : undefined
    const dataset: Dataset = clips ?? demoWorld({ seed: trainer.options.seed })
    const log = new TrainingLog(args.output, { firstStep: trainer.globalStep, saved: goOn, warn: (warning) => reporter.warning(warning) })
    let done = 0
    let saved: { step: number; done: number } | undefined
    let heldOutLoss: number | undefined
    const started = performance.now()
    try {
      const apart = clips === undefined ? undefined : await lookAtClips(trainer, clips, args.data, reporter, signal)
      const clock = new StepClock(minutes)
      await trainer.fit(dataset, {
        ...given({ steps, minutes, checkpointEvery }),
        signal,
        checkpoint: args.output,
        onWarning: (warning) => {
          // What the clips are has been said.
          if (apart === undefined || warning.code === 'examples-left-out') reporter.warning(warning)
        },
        onStep: async (report) => {
          done++
          const step = report.step + 1
          const etaMs = clock.left(steps === undefined ? undefined : steps - done)
          const measured = apart !== undefined && apart.examples.length > 0 && step % evalEvery === 0 ? await trainer.heldOutLoss(apart.examples, { signal }) : undefined
          heldOutLoss = measured ?? heldOutLoss
          await log.row(report, measured)
          reporter.event({ type: 'step', ...report, etaMs, ...(measured === undefined ? {} : { heldOutLoss: measured }) })
          const detail = `loss ${report.loss.toFixed(4)}${heldOutLoss === undefined ? '' : `, held-out ${heldOutLoss.toFixed(4)}`}`
          reporter.progress({ stage: 'training', done, total: steps ?? 0, detail, ...(Number.isFinite(etaMs) ? { etaMs } : {}) })
          if (apart !== undefined && sampleEvery > 0 && step % sampleEvery === 0) {
            const prompt = apart.prompt
            const bytes = await samplePicture(trainer, prompt, signal).catch((error: unknown) => {
              if (signal.aborted) throw error
              reporter.warning({ code: 'sample', message: `no sample of step ${step}: ${errorMessage(error)}` })
            })
            if (bytes !== undefined) {
              await log.sample(step, bytes)
              reporter.event({ type: 'sample', step, prompt, path: log.picture(step) })
            }
          }
        },
        onCheckpoint: async (folder, step) => {
          saved = { step, done }
          await log.saved()
          reporter.event({ type: 'checkpoint', folder, step })
        }
      })
      await log.write()
      reporter.result(`${args.output}: ${done} steps${heldOutLoss === undefined ? '' : `, held-out loss ${heldOutLoss.toFixed(4)}`}; the curve is in ${log.curve}`, {
        type: 'done',
        path: args.output,
        steps: done,
        curve: log.curve,
        ...(heldOutLoss === undefined ? {} : { heldOutLoss })
      })
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

/** Held-out clips that are measured: more cost time at every measurement. */
const measuredClips = 4

interface ClipOptions {
  lengths: readonly number[]
  heldOut: number
  seed: number | bigint
}

/** A folder of clips at the model's size and rate; of each, the frames that the longest length takes, in whole micro-batches. */
function openClips(pipeline: VideoPipeline, folder: string, { lengths, heldOut, seed }: ClipOptions): VideoFolder {
  const { width, height, fps } = pipeline.defaults
  const { frames, latentFrames } = pipeline.vae.microBatch
  return videoFolder(folder, { width, height, fps, heldOut, seed, maxFrames: frames * Math.ceil(lengths.at(-1)! / latentFrames) })
}

/** Looks at all clips, says what is wrong with them, and reads the held-out ones. */
async function lookAtClips(trainer: Trainer, clips: VideoFolder, folder: string, reporter: Reporter, signal: AbortSignal): Promise<{ examples: TrainingExample[]; prompt: string }> {
  const report = await trainer.check(clips, { signal, onProgress: ({ done, total }) => reporter.progress({ stage: 'looking at clips', done, total }) })
  for (const warning of report.warnings) reporter.warning(warning)
  const examples: TrainingExample[] = []
  for await (const example of clips.heldOut()) if (examples.push(example) === measuredClips) break
  if (examples.length === 0) reporter.note(`no clip of ${folder} is held out, so only the loss of training is measured; from 10 clips on one is, or say --held-out 0.3`)
  const prompt = examples[0]?.prompt ?? report.clips.find(({ use }) => use === 'training')?.prompt ?? ''
  return { examples, prompt }
}

/** What the model makes of a caption now, as long as the shortest training video: an animated picture. */
async function samplePicture(trainer: Trainer, prompt: string, signal: AbortSignal): Promise<Uint8Array> {
  const { pipeline } = trainer
  const video = await pipeline.generate({ prompt, numFrames: fewestVideoFrames(trainer.options.lengths[0]!, pipeline.vae.microBatch), seed: 1, preview: false, signal })
  return video.toBuffer('gif', { scale: defaultScale(video.width, video.height), signal })
}

/** --check: the clips as a table, and how many are used. */
async function checkClips(
  { data, output, json, lengths, heldOut, seed }: { data: string; output: string; json?: boolean | undefined; lengths: readonly number[] | undefined; heldOut: number; seed: number | bigint | undefined },
  values: Values,
  signal: AbortSignal
): Promise<number> {
  const reporter = await createReporter(json)
  const goOn = existsSync(join(output, 'training', 'state.json'))
  const said = goOn ? ((await readState(output, trainerCheckpoint.kind))['options'] as { lengths?: number[]; seed?: string }) : {}
  const all = resolveTrainerOptions(given({ lengths: lengths ?? said.lengths, seed: seed ?? (said.seed === undefined ? undefined : BigInt(said.seed)) }))
  const pipeline = await VideoPipeline.fromPretrained(goOn ? output : values['model'], { ...modelOptions(values), signal })
  try {
    const { fps } = pipeline.defaults
    const clips = openClips(pipeline, data, { lengths: all.lengths, heldOut, seed: all.seed })
    const onProgress = ({ done, total }: { done: number; total: number }): void => reporter.progress({ stage: 'looking at clips', done, total })
    const report = await checkDataset(pipeline, all.lengths, clips, { signal, onProgress })
    const count = (use: Clip['use']): number => report.clips.filter((clip) => clip.use === use).length
    for (const clip of report.clips) reporter.event({ type: 'clip', ...clip })
    for (const warning of report.warnings) reporter.warning(warning)
    const { minFrames } = report.needs
    const summary = `${count('training')} of ${report.clips.length} clips are trained on, ${count('held out')} held out, ${count('left out')} left out; with lengths ${all.lengths.join(', ')} a clip needs ${minFrames} frames (${Number((minFrames / fps).toFixed(1))} s at ${fps} fps)`
    reporter.result(`${clipTable(report.clips, fps)}\n\n${summary}`, { type: 'done', training: count('training'), heldOut: count('held out'), leftOut: count('left out'), minFrames, lengths: all.lengths })
    return count('training') === 0 ? exitCodes.model : exitCodes.ok
  } finally {
    reporter.close()
    await pipeline.dispose()
  }
}

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
