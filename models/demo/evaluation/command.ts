// The command evaluate:demo: which measurements, of which seeds; everything it measures is in the files beside this one.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { VideoPipeline, VinError } from 'vin-native'
import type { StepCacheOption } from 'vin-native'
import { WORLD_FPS } from 'vin-native/demo-world'
import { integer, number, oneOf } from '../recipe/arguments.js'
import { builtIn } from '../recipe/files.js'
import { gapRows, measureGap, STAGGER } from './gap.js'
import type { GapRow } from './gap.js'
import { latentDeviations, measureLatentNoise } from './latent-noise.js'
import { measureLosses } from './losses.js'
import { FIRST_PROMPT, measureObedience, promptOf } from './obedience.js'
import { framesFromNames } from './pixels.js'
import { obedienceLine, reportLines, settingsLine } from './print.js'
import { checkReader } from './reader.js'
import { checkSameSettings, emptyReport, fingerprintFiles, loadReport, mergeReports, saveReport } from './report.js'
import type { Report, ReportSettings } from './report.js'
import { resolveSampler } from './sampler.js'
import type { Sampler } from './sampler.js'
import { writeSheet } from './sheet.js'
import { measureWords } from './words.js'

const usage = `Usage: npm run evaluate:demo -- [options]

What is measured; without any of these, 32 prompts and 32 videos of each identity row:
  --videos N         identity behind a curtain: N videos of each row of the table
  --obedience N      N prompts that name everything
  --losses N         losses on N held-out videos, with and without global tokens
  --vae N            N held-out videos through the VAE, with more and more noise on their latents
  --words N          what colour words do to the prediction from noise, beside what they should do, on N held-out videos
  --sheet FILE.png   only draw a contact sheet: 16 frames of each of --videos N (8) prompts

How:
  --model DIR        model folder (the built-in one)
  --frames N         video frames of identity and losses: 64, or 256 with a longer gap (64)
  --prompt-frames N  video frames of prompts and sheets (256)
  --rows A,B         rows of the identity table, of ${gapRows.join(',')} (all but full and stagger);
                     stagger is vin with each chunk ${STAGGER} steps behind the one before it
  --frames-from X    mp4: as ffmpeg decodes them from a saved file; vae: as the VAE decodes them (mp4)
  --steps N          steps of the sampler (the model's)
  --guidance X       guidance scale (the model's)
  --shift X          shift of the flow-match schedule (the model's)
  --step-cache X     evaluations left out where little changes: off, slow, fast or a threshold (off); not of other-tokens
  --prompt TEXT      sheet: this prompt with seeds from --seed-from on
  --seed-from N      the first seed; prompts count from ${FIRST_PROMPT} more (0)
  --threads N        threads that compute

Parts:
  --report FILE      keeps what was read in every video; a file of the same evaluation is gone on with
  --merge FILE ...   only print the tables of several reports
`

export interface Output {
  /** A line of the result. */
  line(text: string): void
  /** A line about what is going on. */
  progress(text: string): void
}

const standardOutput: Output = {
  line: (text) => void process.stdout.write(`${text}\n`),
  progress: (text) => void process.stderr.write(`${text}\n`)
}

/** Says after the first video, and then once a minute, how long the rest will take. */
class Eta {
  readonly #name: string
  readonly #total: number
  readonly #progress: Output['progress']
  readonly #started = performance.now()
  #done = 0
  #told = -Infinity

  constructor(name: string, total: number, progress: Output['progress']) {
    this.#name = name
    this.#total = total
    this.#progress = progress
  }

  tick(): void {
    this.#done += 1
    const now = performance.now()
    if (now - this.#told < 60_000 && this.#done < this.#total) return
    this.#told = now
    const each = (now - this.#started) / 1000 / this.#done
    const minutes = (each * (this.#total - this.#done)) / 60
    this.#progress(`${this.#name} ${this.#done} of ${this.#total}: ${each.toFixed(1)} s each, ${minutes.toFixed(1)} min left`)
  }
}

function parse(args: readonly string[]) {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      model: { type: 'string' },
      videos: { type: 'string' },
      obedience: { type: 'string' },
      losses: { type: 'string' },
      vae: { type: 'string' },
      words: { type: 'string' },
      sheet: { type: 'string' },
      frames: { type: 'string', default: '64' },
      'prompt-frames': { type: 'string', default: '256' },
      rows: { type: 'string' },
      'frames-from': { type: 'string', default: 'mp4' },
      steps: { type: 'string' },
      guidance: { type: 'string' },
      shift: { type: 'string' },
      'step-cache': { type: 'string', default: 'off' },
      prompt: { type: 'string' },
      'seed-from': { type: 'string', default: '0' },
      threads: { type: 'string' },
      report: { type: 'string' },
      merge: { type: 'string', multiple: true },
      help: { type: 'boolean', default: false }
    }
  })
  const merge = values.merge === undefined ? undefined : [...values.merge, ...positionals]
  if (merge === undefined && positionals.length > 0) throw new RangeError(`Expected options alone but received ${positionals[0]}`)
  const whole = (name: 'videos' | 'obedience' | 'losses' | 'vae' | 'words' | 'frames' | 'prompt-frames' | 'steps' | 'seed-from' | 'threads', least: number, most: number) =>
    values[name] === undefined ? undefined : integer(values[name], name, least, most)
  const real = (name: 'guidance' | 'shift', least: number) => (values[name] === undefined ? undefined : number(values[name], name, least, 1000))
  const counts = { videos: whole('videos', 0, 1e6), obedience: whole('obedience', 0, 1e6), losses: whole('losses', 0, 1e6), vae: whole('vae', 0, 1e6), words: whole('words', 0, 1e6) }
  const stepCache = readStepCache(values['step-cache'])
  const byDefault = Object.values(counts).every((count) => count === undefined) ? 32 : 0
  const frames = whole('frames', 64, 4096)!
  if (frames % WORLD_FPS !== 0) throw new RangeError(`Expected a multiple of ${WORLD_FPS} for --frames but received ${frames}`)
  return {
    help: values.help,
    merge,
    model: values.model === undefined || values.model === 'demo' ? builtIn : values.model,
    sheet: values.sheet,
    sheetVideos: Math.max(1, counts.videos ?? 8),
    videos: counts.videos ?? byDefault,
    obedience: counts.obedience ?? byDefault,
    losses: counts.losses ?? 0,
    latentNoise: counts.vae ?? 0,
    words: counts.words ?? 0,
    frames,
    promptFrames: whole('prompt-frames', 16, 4096)!,
    rows: readRows(values.rows, stepCache),
    framesFrom: oneOf(values['frames-from'], 'frames-from', framesFromNames),
    sampler: { steps: whole('steps', 1, 1000), guidance: real('guidance', 0), shift: real('shift', 1e-3), stepCache },
    prompt: values.prompt,
    seedFrom: whole('seed-from', 0, Number.MAX_SAFE_INTEGER - 1e7)!,
    threads: whole('threads', 1, 1024),
    report: values.report
  }
}

function readStepCache(text: string): StepCacheOption {
  return Number.isNaN(Number(text)) ? oneOf(text, 'step-cache', ['off', 'slow', 'fast'] as const) : number(text, 'step-cache', 0, 100)
}

/** The row of other tokens is sampled evaluation by evaluation, none of which is left out. */
function readRows(text: string | undefined, stepCache: StepCacheOption): GapRow[] {
  const cached = stepCache !== 'off'
  if (text === undefined) return gapRows.filter((row) => row !== 'full' && row !== 'stagger' && !(cached && row === 'other-tokens'))
  const rows = text.split(',').map((name) => oneOf(name, 'rows', gapRows))
  if (cached && rows.includes('other-tokens')) throw new RangeError(`Expected --rows without other-tokens beside --step-cache but received ${text}`)
  return rows
}

export async function evaluateDemo(args: readonly string[], output: Output = standardOutput): Promise<void> {
  const options = parse(args)
  if (options.help) return output.line(usage.trimEnd())
  if (options.merge !== undefined) {
    const parts = await Promise.all(options.merge.map(async (file) => ({ file, report: await loadReport(file) })))
    return reportLines(mergeReports(parts), checkReader()).forEach(output.line)
  }
  const readsMp4 = options.sheet === undefined && options.videos + options.obedience > 0 && options.framesFrom === 'mp4'
  if (readsMp4 && spawnSync('ffmpeg', ['-version']).status !== 0) {
    throw new VinError('ERR_VIN_NOT_SUPPORTED', 'Expected ffmpeg on PATH to read saved mp4 files but found none; install ffmpeg, or read frames as the VAE decodes them: --frames-from vae')
  }
  await using pipeline = await VideoPipeline.fromPretrained(options.model, { device: 'cpu', ...(options.threads === undefined ? {} : { threads: options.threads }) })
  const sampler = resolveSampler(pipeline, options.sampler)
  if (options.sheet !== undefined) return await drawSheet(pipeline, sampler, options.sheet, options, output)
  const report = await measure(pipeline, sampler, options, output)
  reportLines(report, checkReader()).forEach(output.line)
}

type Options = ReturnType<typeof parse>

const range = (count: number, first: number) => Array.from({ length: count }, (_, index) => first + index)

async function drawSheet(pipeline: VideoPipeline, sampler: Sampler, file: string, { prompt, promptFrames, sheetVideos, seedFrom }: Options, output: Output): Promise<void> {
  const drawn = prompt === undefined ? range(sheetVideos, FIRST_PROMPT + seedFrom).map((seed) => ({ seed, prompt: promptOf(seed, promptFrames).prompt })) : range(sheetVideos, seedFrom).map((seed) => ({ seed, prompt }))
  await writeSheet(pipeline, sampler, file, drawn, promptFrames, ({ prompt: text, seed }) => output.line(`seed ${seed}: ${text}`))
  output.line(`wrote ${file}`)
}

/** Everything that is asked for and not in the report yet. The report is kept after every video. */
async function measure(pipeline: VideoPipeline, sampler: Sampler, options: Options, output: Output): Promise<Report> {
  const { frames, promptFrames, framesFrom, seedFrom } = options
  const { shift } = sampler.scheduler.config
  const settings: ReportSettings = {
    weights: await weightsOf(options.model),
    frames,
    promptFrames,
    framesFrom,
    steps: sampler.numInferenceSteps,
    guidance: sampler.guidanceScale,
    shift: typeof shift === 'number' ? shift : null,
    stepCache: sampler.stepCache
  }
  const report = await openReport(options.report, settings)
  const keep = async () => (options.report === undefined ? undefined : saveReport(options.report, report))
  output.progress(settingsLine(settings, options.videos + options.obedience > 0))

  const disturbed = range(options.latentNoise, seedFrom).filter((video) => !report.latentNoise.some((record) => record.video === video))
  const deviations = disturbed.length === 0 ? [] : await latentDeviations(pipeline.vae)
  const vaeEta = new Eta('the VAE', disturbed.length, output.progress)
  for (const video of disturbed) {
    report.latentNoise.push(await measureLatentNoise(pipeline, deviations, video))
    vaeEta.tick()
    await keep()
  }

  const words = range(options.words, seedFrom).filter((video) => !report.words.some((record) => record.video === video))
  const wordsEta = new Eta('words', words.length, output.progress)
  for (const video of words) {
    report.words.push(await measureWords(pipeline, video))
    wordsEta.tick()
    await keep()
  }

  const losses = range(options.losses, seedFrom).filter((video) => !report.losses.some((record) => record.video === video))
  const lossEta = new Eta('losses', losses.length, output.progress)
  for (const video of losses) {
    report.losses.push(await measureLosses(pipeline, frames / WORLD_FPS, video))
    lossEta.tick()
    await keep()
  }

  const prompts = range(options.obedience, FIRST_PROMPT + seedFrom).filter((seed) => !report.obedience.some((record) => record.seed === seed))
  const promptEta = new Eta('obedience', prompts.length, output.progress)
  for (const seed of prompts) {
    const record = await measureObedience(pipeline, sampler, promptFrames, framesFrom, seed)
    report.obedience.push(record)
    output.progress(obedienceLine(record))
    promptEta.tick()
    await keep()
  }

  // Seed by seed with all rows, so that a run that is stopped leaves whole seeds.
  const gaps = range(options.videos, seedFrom)
    .flatMap((seed) => options.rows.map((row) => ({ row, seed })))
    .filter(({ row, seed }) => !report.gaps.some((record) => record.row === row && record.seed === seed))
  const gapEta = new Eta('identity: seeds', new Set(gaps.map(({ seed }) => seed)).size, output.progress)
  for (const [index, { row, seed }] of gaps.entries()) {
    report.gaps.push(await measureGap({ pipeline, sampler, frames, framesFrom }, row, seed))
    if (gaps[index + 1]?.seed !== seed) gapEta.tick()
    await keep()
  }
  return report
}

async function weightsOf(folder: string): Promise<string> {
  const files = ['transformer/diffusion_pytorch_model.safetensors', 'text_encoder/model.safetensors', 'vae/diffusion_pytorch_model.safetensors'].map((file) => join(folder, file))
  const missing = files.find((file) => !existsSync(file))
  if (missing !== undefined) throw new RangeError(`Expected a model folder as train:demo writes it but ${missing} is not there`)
  return fingerprintFiles(files)
}

/** A new report, or the one in the file. @throws RangeError for a file of another evaluation */
async function openReport(file: string | undefined, settings: ReportSettings): Promise<Report> {
  if (file === undefined || !existsSync(file)) return emptyReport(settings)
  const report = await loadReport(file)
  checkSameSettings(settings, report.settings, file)
  return report
}
