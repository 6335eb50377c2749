// Reports of a training stage: a line on the terminal every so many steps, and every step as a line of JSON in a curve file.

import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { StepReport, Trainer, VAETrainer } from 'vin-native'

export class Progress {
  readonly #stage: string
  readonly #curve: string
  readonly #every: number
  readonly #started = performance.now()
  #losses: number[] = []

  constructor(stage: string, folder: string, every: number) {
    this.#stage = stage
    this.#curve = join(folder, 'curve.ndjson')
    this.#every = every
  }

  /** `onStep` of a run: reports the step, and lets the rate fall so that it reaches 0 when the run's time is over. */
  sitting(trainer: Trainer | VAETrainer, minutes: number): (report: StepReport) => Promise<void> {
    const first = trainer.globalStep
    return async (report) => {
      await this.#step(report, minutes)
      // The last step by the speed so far, measured anew after every ten steps.
      const done = trainer.globalStep - first
      if (done < 10 || done % 10 !== 0) return
      const perStep = (performance.now() - this.#started) / done
      trainer.fallingRate(first, Math.max(trainer.globalStep + 1, first + Math.floor((minutes * 60_000) / perStep)))
    }
  }

  async #step(report: StepReport, minutes: number): Promise<void> {
    const seconds = (performance.now() - this.#started) / 1000
    this.#losses.push(report.loss)
    await appendFile(this.#curve, `${JSON.stringify({ stage: this.#stage, ...report, seconds: Number(seconds.toFixed(2)) })}\n`)
    if ((report.step + 1) % this.#every !== 0) return
    const loss = this.#losses.reduce((sum, value) => sum + value, 0) / this.#losses.length
    this.#losses = []
    this.line(
      `step ${report.step + 1}  loss ${loss.toFixed(4)}  gradient ${report.gradNorm.toFixed(3)}  rate ${report.learningRate.toExponential(2)}  ${report.samplesPerSecond.toFixed(1)} samples/s  ${seconds.toFixed(0)} s, ${Math.max(0, minutes - seconds / 60).toFixed(0)} min left`
    )
  }

  line(text: string): void {
    process.stdout.write(`[${this.#stage}] ${text}\n`)
  }
}
