// Reports of a training stage: a line on the terminal every so many steps, and every step as a line of JSON in a curve file.

import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { StepReport } from 'vin-native'

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

  async step(report: StepReport): Promise<void> {
    const seconds = (performance.now() - this.#started) / 1000
    this.#losses.push(report.loss)
    await appendFile(this.#curve, `${JSON.stringify({ stage: this.#stage, ...report, seconds: Number(seconds.toFixed(2)) })}\n`)
    if ((report.step + 1) % this.#every !== 0) return
    const loss = this.#losses.reduce((sum, value) => sum + value, 0) / this.#losses.length
    this.#losses = []
    this.line(
      `step ${report.step + 1}  loss ${loss.toFixed(4)}  gradient ${report.gradNorm.toFixed(3)}  rate ${report.learningRate.toExponential(2)}  ${report.samplesPerSecond.toFixed(1)} samples/s  ${seconds.toFixed(0)} s`
    )
  }

  line(text: string): void {
    process.stdout.write(`[${this.#stage}] ${text}\n`)
  }
}

/** Says how many steps fit into the time of a run, so that a falling rate reaches 0 when it is over. */
export class StepBudget {
  readonly #started = performance.now()
  readonly first: number
  readonly #milliseconds: number

  constructor(firstStep: number, minutes: number) {
    this.first = firstStep
    this.#milliseconds = minutes * 60_000
  }

  /** The last step of the run by the speed so far; undefined until ten steps have run, and except for every tenth step. */
  lastStep(step: number): number | undefined {
    const done = step - this.first
    if (done < 10 || done % 10 !== 0) return undefined
    const perStep = (performance.now() - this.#started) / done
    return Math.max(step + 1, this.first + Math.floor(this.#milliseconds / perStep))
  }
}
