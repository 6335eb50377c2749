// What a training run leaves in its folder beside the checkpoint: training/curve.csv, a row for every step, and training/samples/000500.gif. Until there is a checkpoint
// nothing is written, since a folder with other files alone would not be known as ours; until then rows and pictures wait here.

import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { makeFolders } from '../files/disk.js'
import type { StepReport, TrainingWarning } from '../index.js'
import { errorMessage } from '../realms.js'

const columns = 'step,loss,held_out_loss,gradient_norm,learning_rate,samples_per_second,seconds'

/** Milliseconds between two writes of rows. */
const pause = 1000

export class TrainingLog {
  readonly #folder: string
  readonly #firstStep: number
  readonly #started = performance.now()
  #ready: boolean
  readonly #warn: (warning: TrainingWarning) => void
  #begun = false
  #failed = false
  #rows: string[] = []
  #pictures: { step: number; bytes: Uint8Array }[] = []
  #last = 0

  /** @param saved the folder holds a checkpoint; rows of steps that it does not hold go, since they are made again */
  constructor(folder: string, { firstStep, saved, warn }: { firstStep: number; saved: boolean; warn: (warning: TrainingWarning) => void }) {
    this.#warn = warn
    this.#folder = join(folder, 'training')
    this.#firstStep = firstStep
    this.#ready = saved
  }

  get curve(): string {
    return join(this.#folder, 'curve.csv')
  }

  picture(step: number): string {
    return join(this.#folder, 'samples', `${String(step).padStart(6, '0')}.gif`)
  }

  async row({ step, loss, gradNorm, learningRate, samplesPerSecond }: StepReport, heldOut: number | undefined): Promise<void> {
    const seconds = ((performance.now() - this.#started) / 1000).toFixed(2)
    this.#rows.push([step, loss, heldOut ?? '', gradNorm, learningRate, samplesPerSecond.toFixed(3), seconds].join(','))
    if (performance.now() - this.#last >= pause) await this.write()
  }

  async sample(step: number, bytes: Uint8Array): Promise<void> {
    this.#pictures.push({ step, bytes })
    await this.write()
  }

  /** A checkpoint is there: what waited is written. */
  async saved(): Promise<void> {
    this.#ready = true
    await this.write()
  }

  /** What cannot be written is told once and does not end the training: the checkpoint is what counts. */
  async write(): Promise<void> {
    if (!this.#ready) return
    this.#last = performance.now()
    try {
      await this.#write()
    } catch (error) {
      if (!this.#failed) this.#warn({ code: 'curve', message: `the curve and samples beside the checkpoint cannot be written: ${errorMessage(error)}` })
      this.#failed = true
    }
  }

  async #write(): Promise<void> {
    for (const { step, bytes } of this.#pictures.splice(0)) {
      const path = this.picture(step)
      await makeFolders(dirname(path))
      await writeFile(path, bytes)
    }
    const rows = this.#rows.splice(0)
    if (rows.length === 0) return
    const text = `${rows.join('\n')}\n`
    if (this.#begun) return appendFile(this.curve, text)
    const before = (await readFile(this.curve, 'utf8').catch(() => '')).split('\n').filter((line) => /^\d/.test(line) && Number(line.split(',')[0]) < this.#firstStep)
    await writeFile(this.curve, [columns, ...before, text].join('\n'))
    this.#begun = true
  }
}

/** Time left of a run, from the median of its last steps. */
export class StepClock {
  readonly #times: number[] = []
  readonly #end: number
  #last = performance.now()

  constructor(minutes: number | undefined) {
    this.#end = performance.now() + (minutes ?? Infinity) * 60_000
  }

  /** Called after a step. @param stepsLeft undefined when only time ends the run */
  left(stepsLeft: number | undefined): number {
    const now = performance.now()
    this.#times.push(now - this.#last)
    this.#last = now
    if (this.#times.length > 25) this.#times.shift()
    const median = [...this.#times].sort((a, b) => a - b)[this.#times.length >> 1]!
    return Math.max(0, Math.min(this.#end - now, stepsLeft === undefined ? Infinity : median * stepsLeft))
  }
}
