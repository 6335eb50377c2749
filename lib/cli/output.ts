// How a command speaks: a bar on a terminal, plain lines otherwise, one JSON object a line with --json. Results go to stdout, progress to stderr.

import { stripVTControlCharacters } from 'node:util'
import type { SingleBar } from 'cli-progress'

let results: NodeJS.WriteStream = process.stdout

/** Results go to stderr from now on: stdout carries the video itself. */
export function leaveStandardOutput(): void {
  results = process.stderr
}

export function writeLine(text: string): void {
  results.write(`${results.isTTY === true ? text : stripVTControlCharacters(text)}\n`)
}

export interface Progress {
  stage: string
  done: number
  total: number
  etaMs?: number | undefined
  /** What else there is to say, after the numbers. */
  detail?: string | undefined
}

export interface Reporter {
  /** How far a stage is. Stages follow one another. */
  progress(progress: Progress): void
  warning(warning: { code: string; message: string }): void
  /** A machine's event: only --json shows it. */
  event(event: Record<string, unknown>): void
  /** A person's sentence: --json leaves it out. */
  note(text: string): void
  /** What the command made. */
  result(text: string, event: Record<string, unknown>): void
  close(): void
}

export async function createReporter(json: boolean | undefined): Promise<Reporter> {
  if (json === true) return new JsonReporter()
  if (process.stderr.isTTY === true && process.env['TERM'] !== 'dumb') {
    const { default: cliProgress } = await import('cli-progress')
    return new BarReporter((format) => new cliProgress.SingleBar({ format, hideCursor: true, clearOnComplete: true, stream: process.stderr }, cliProgress.Presets.shades_classic))
  }
  return new LineReporter()
}

/** JSON has no bigint; a seed beyond 2⁵³ becomes its digits. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item))
}

/** Sampling steps have events with more in them; other progress comes ten times a second at most. */
class JsonReporter implements Reporter {
  #stage = ''
  #last = -Infinity
  progress(progress: Progress): void {
    const now = performance.now()
    if (progress.stage === 'sampling' || (progress.stage === this.#stage && progress.done < progress.total && now - this.#last < 100)) return
    this.#stage = progress.stage
    this.#last = now
    this.event({ type: 'progress', ...progress })
  }
  warning(warning: { code: string; message: string }): void {
    this.event({ type: 'warning', ...warning })
  }
  event(event: Record<string, unknown>): void {
    writeLine(toJson(event))
  }
  note(): void {}
  result(_text: string, event: Record<string, unknown>): void {
    this.event(event)
  }
  close(): void {}
}

/** 3 s, 4 min 5 s, 6 h 7 min */
export function duration(milliseconds: number): string {
  const s = Math.round(milliseconds / 1000)
  if (s < 60) return `${s} s`
  return s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
}

/** What stands behind the numbers: `, 3 s left, loss 0.4`. */
function remarks({ etaMs, detail }: Progress): string {
  return [etaMs === undefined ? '' : `, ${duration(etaMs)} left`, detail === undefined ? '' : `, ${detail}`].join('')
}

function describe(progress: Progress): string {
  const { stage, done, total } = progress
  const count = total > 0 ? `${done}/${total} ${Math.floor((100 * done) / total)} %` : `${done}`
  return `${stage} ${count}${remarks(progress)}`
}

/** A line when a stage begins, ends, or two seconds have passed. */
class LineReporter implements Reporter {
  #stage = ''
  #last = -Infinity
  progress(progress: Progress): void {
    const now = performance.now()
    if (progress.stage === this.#stage && (progress.done < progress.total || progress.total === 0) && now - this.#last < 2000) return
    this.#stage = progress.stage
    this.#last = now
    this.note(describe(progress))
  }
  warning({ message }: { message: string }): void {
    this.note(`warning: ${message}`)
  }
  event(): void {}
  note(text: string): void {
    process.stderr.write(`${text}\n`)
  }
  result(text: string): void {
    writeLine(text)
  }
  close(): void {}
}

class BarReporter implements Reporter {
  readonly #create: (format: string) => SingleBar
  #bar: SingleBar | undefined
  #stage = ''
  constructor(create: (format: string) => SingleBar) {
    this.#create = create
  }
  progress(progress: Progress): void {
    const { stage, done, total } = progress
    const left = remarks(progress)
    if (this.#bar === undefined || stage !== this.#stage) {
      this.close()
      this.#stage = stage
      this.#bar = this.#create('{stage} {bar} {value}/{total}{left}')
      this.#bar.start(total, done, { stage, left })
    } else this.#bar.update(done, { stage, left })
  }
  warning({ message }: { message: string }): void {
    this.note(`warning: ${message}`)
  }
  event(): void {}
  note(text: string): void {
    this.close()
    process.stderr.write(`${text}\n`)
  }
  result(text: string): void {
    this.close()
    writeLine(text)
  }
  close(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}
