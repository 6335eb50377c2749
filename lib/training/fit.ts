// The loop around a trainer's step: until so many steps or minutes have passed, with reports, checkpoints and cancellation.

import { checkFunction, checkInteger, checkNumber, checkPath, checkSignal } from '../check.js'
import { expected } from '../errors.js'
import { abortableCall, settledOrLate } from '../native/cancel.js'
import { openCheckpoint } from './checkpoint.js'
import type { CheckpointKind } from './checkpoint.js'
import type { TrainingWarning } from './dataset.js'
import type { Gradient } from './gradient.js'

/** What a step reports. */
export interface StepReport {
  /** Counts from 0 and goes on over checkpoints. */
  step: number
  /** Mean over the step's videos. */
  loss: number
  /** Before clipping. */
  gradNorm: number
  learningRate: number
  samplesPerSecond: number
}

/** Gradients by weight name. Live: what is scaled here the update sees. */
export type NamedGradients = Map<string, Gradient>

export interface FitOptions {
  /** Ends after this many more steps. */
  steps?: number | undefined
  /** Ends at the first step after this time. */
  minutes?: number | undefined
  /** Ends the run between two steps, or while it waits: `fit` rejects with its reason, and the steps made are in `checkpoint`. */
  signal?: AbortSignal | undefined
  /** Called after each update, and awaited. */
  onStep?: ((report: StepReport) => void | Promise<void>) | undefined
  /** May read and scale the gradients before the update. */
  onGradients?: ((gradients: NamedGradients) => void | Promise<void>) | undefined
  /**
  A folder that gets a checkpoint every `checkpointEvery` steps and at the end; also when the signal or an error ends the run, with the steps made so far.
  It is new, empty, or holds a checkpoint or a model of vin-native, whose other files stay; anything else is ERR_VIN_DISK before the first step.
  */
  checkpoint?: string | undefined
  /** @default 500 */
  checkpointEvery?: number | undefined
  /** Called when a checkpoint has been written. Once the signal has ended the run, an answer is waited for 5 s at most. */
  onCheckpoint?: ((folder: string, step: number) => void | Promise<void>) | undefined
  /**
  Hears what is wrong with the data, before the first step: clips that are left out and why, words the model does not know.

  @default a warning of the process
  */
  onWarning?: ((warning: TrainingWarning) => void) | undefined
  /** Calls `onEvaluate` every so many steps. */
  evalEvery?: number | undefined
  /** Called after every `evalEvery` steps with how many have been taken, and awaited. */
  onEvaluate?: ((step: number) => void | Promise<void>) | undefined
}

export const fitOptionNames = ['steps', 'minutes', 'signal', 'onStep', 'onGradients', 'checkpoint', 'checkpointEvery', 'onCheckpoint', 'onWarning', 'evalEvery', 'onEvaluate'] as const

export function checkFitOptions(options: FitOptions): FitOptions {
  const { steps, minutes } = options
  if (steps !== undefined) checkInteger(steps, 'steps', 0, 1e9)
  if (minutes !== undefined) checkNumber(minutes, 'minutes', 0, 1e6)
  if (steps === undefined && minutes === undefined) throw expected('steps or minutes', 'fit', undefined, 'type')
  if (options.checkpoint !== undefined) checkPath(options.checkpoint, 'checkpoint')
  checkSignal(options.signal)
  checkFunction(options.onStep, 'onStep')
  checkFunction(options.onGradients, 'onGradients')
  checkFunction(options.onCheckpoint, 'onCheckpoint')
  checkFunction(options.onWarning, 'onWarning')
  checkFunction(options.onEvaluate, 'onEvaluate')
  if (options.checkpointEvery !== undefined) checkInteger(options.checkpointEvery, 'checkpointEvery', 1, 1e9)
  if (options.evalEvery !== undefined) checkInteger(options.evalEvery, 'evalEvery', 1, 1e9)
  return options
}

/** Where warnings about the data go. */
export function warningsOf({ onWarning }: FitOptions): (warning: TrainingWarning) => void {
  return onWarning ?? (({ code, message }) => process.emitWarning(message, { type: 'VinNativeWarning', code }))
}

/** What an onCheckpoint may still take when the run has been ended: it tells of the last checkpoint, and may not hold the process. */
const AFTER_ABORT_MS = 5000

interface Trains {
  globalStep: number
  save(folder: string): Promise<void>
}

/**
Runs `next` until the end that the options give. A cancelled run rejects with the signal's reason between two steps. What ended it early, the steps that were
made are saved; when that fails on a cancelled run, its error is the run's.
*/
export async function runFit(trainer: Trains, kind: CheckpointKind, options: FitOptions, next: () => Promise<StepReport>): Promise<void> {
  const { steps = Infinity, minutes = Infinity, checkpoint, checkpointEvery = 500, signal } = options
  signal?.throwIfAborted()
  const place = checkpoint === undefined ? undefined : await openCheckpoint(checkpoint, kind)
  const first = trainer.globalStep
  let saved = -1
  const save = async () => {
    if (checkpoint === undefined || saved === trainer.globalStep) return
    // Tried once: what fails now would fail again at the end.
    saved = trainer.globalStep
    await trainer.save(checkpoint)
    const call = () => options.onCheckpoint?.(checkpoint, trainer.globalStep)
    await (signal?.aborted === true ? settledOrLate(abortableCall(call, undefined), AFTER_ABORT_MS) : abortableCall(call, signal))
  }
  try {
    const end = performance.now() + minutes * 60_000
    for (let done = 0; done < steps && performance.now() < end; done++) {
      signal?.throwIfAborted()
      const report = await next()
      await abortableCall(() => options.onStep?.(report), signal)
      if (options.evalEvery !== undefined && trainer.globalStep % options.evalEvery === 0) await abortableCall(() => options.onEvaluate?.(trainer.globalStep), signal)
      if (trainer.globalStep % checkpointEvery === 0) await save()
    }
    await save()
  } catch (error) {
    if (trainer.globalStep > first) {
      await save().catch((failure: unknown) => {
        if (signal?.aborted === true) throw failure
      })
    }
    throw error
  } finally {
    await place?.close()
  }
}
