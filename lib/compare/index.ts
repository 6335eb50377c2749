// compare: methods side by side, over lengths, prompts and seeds. A folder holds what is finished, a cell at a time; whoever is called on it goes on with what is open.

import { setTimeout as wait } from 'node:timers/promises'
import { join } from 'node:path'
import { VinError } from '../errors.js'
import { metricsWithFeatures } from '../evaluate/options.js'
import { vinEncoder } from '../evaluate/vin-encoder.js'
import { lockFolder, type FolderLock } from '../files/lock.js'
import { diskError, makeFolders } from '../files/disk.js'
import { abortable } from '../native/cancel.js'
import type { VideoPipeline } from '../pipeline/pipeline.js'
import { runCell, generateOptionsOf } from './cell.js'
import { estimateCells } from './estimate.js'
import { claimReport, openReport, requireSame, requireSameEmbeds, weightsOf } from './ground.js'
import { LatentDifferences } from './latents.js'
import { readVariant, resolveCompareOptions } from './options.js'
import type { CompareOptions, ResolvedCompareOptions } from './options.js'
import { writeReport, type CompareReport } from './report.js'
import { CELLS, cellOf, cellsOf, readRow, readRows, type Cell, type CompareRow } from './row.js'

export type { CompareEstimate, CompareOptions, CompareProgress } from './options.js'
export type { CompareReport, ReportGroup } from './report.js'
export type { CompareRow, RowRuntime } from './row.js'
export type { Estimate } from './statistics.js'
export { makeStudy } from './study.js'
export type { Study, StudyOptions } from './study.js'
export { countVotes } from './votes.js'
export type { StudyAnswers, StudyResult, StudySummary, StudyVote } from './votes.js'

/** While others work on the cells that are left. */
const PAUSE_MS = 1000
/** Between two reports while cells are made. */
const REPORT_MS = 60_000

/**
Makes a video of every prompt with every method, length and seed, measures it, and writes a report: `index.html` for people, `report.json` and `report.csv` for programs.

Each finished cell is on disk at once, whole. Killed at any moment, the same call goes on with what is open; several processes, also of several machines, may share the
folder: each cell is made by one of them, and that of a dead one is taken over. A folder keeps what it has when it is asked for more methods, prompts, seeds or lengths.

@example
const report = await compare(pipeline, { methods: ['vin', 'full'], prompts: ['a red circle bounces'], seeds: 4, frames: [64, 128], report: 'out' })
A model without a VAE is compared too: its latents are kept, and what is measured of them is how chunks meet and how far each method is from `full`.

@throws TypeError or RangeError for wrong options; VinError ERR_VIN_MISSING_COMPONENT for a model without what a method, a metric or a prompt needs,
ERR_VIN_RESUME_MISMATCH for a folder of another model or other options, ERR_VIN_DISK
*/
export async function compare(pipeline: VideoPipeline, options: CompareOptions): Promise<CompareReport> {
  const resolved = resolveCompareOptions(options, pipeline)
  const { signal, onProgress } = resolved
  signal?.throwIfAborted()
  const cells = resolved.from === undefined ? cellsOf(resolved) : repeated(resolved.from, resolved, pipeline)
  // What a method lacks, and what no run would take, is said before the first one.
  for (const cell of onePerPlan(cells)) pipeline.plan(generateOptionsOf(cell, resolved))
  await claimReport(resolved.report)
  const weights = await weightsOf(pipeline, signal, (done, total) => onProgress({ stage: 'reading weights', done, total }))
  if (resolved.from !== undefined && Object.keys(resolved.from.weights).length > 0) requireSame(resolved.from, { weights, options: resolved.shared, metrics: resolved.metrics }, 'the report')
  try {
    const { folder, ground } = await openReport(resolved.report, resolved, weights)
    const latents = new LatentDifferences(pipeline.engine.binding)
    const finish = async (): Promise<CompareReport> => writeReport(folder, ground, latents.add(folder, await readRows(folder)))
    await makeCells(pipeline, cells, folder, resolved, finish)
    return await finish()
  } catch (error) {
    throw diskError(error, resolved.report, 'what is finished is kept, and the same call goes on with it')
  }
}

/** The cells of a report. @throws VinError ERR_VIN_RESUME_MISMATCH for other embeddings of a prompt */
function repeated({ rows }: CompareReport, { embeds }: ResolvedCompareOptions, pipeline: VideoPipeline): Cell[] {
  return rows.map(({ method, frames, prompt, promptSha256, seed }) => {
    const given = embeds.get(prompt)
    requireSameEmbeds(prompt, promptSha256, given?.digest)
    return cellOf(readVariant(method, pipeline.parts.options.limits), frames, prompt, seed, given)
  })
}

const onePerPlan = (cells: readonly Cell[]): Cell[] => [...new Map(cells.map((cell) => [`${cell.variant.name} ${cell.frames}`, cell])).values()]

async function makeCells(pipeline: VideoPipeline, cells: readonly Cell[], folder: string, options: ResolvedCompareOptions, report: () => Promise<unknown>): Promise<void> {
  const { signal, metrics, onProgress, onEstimate, onRow, onWarning } = options
  const rows = await readRows(folder)
  const finished = new Set(rows.map(({ cell }) => cell))
  const open = new Set(cells.filter(({ id }) => !finished.has(id)))
  if (open.size === 0) return
  const encoder = metrics.some((name) => metricsWithFeatures.includes(name)) ? vinEncoder(pipeline) : undefined
  onProgress({ stage: 'trying', done: 0, total: 1 })
  const { estimate, seconds } = await estimateCells(pipeline, [...open], rows, options, encoder, folder)
  onEstimate({ cells: cells.length, ...estimate })
  if (estimate.bytes > estimate.freeBytes) {
    throw new VinError('ERR_VIN_DISK', `Expected about ${Math.ceil(estimate.bytes / 2 ** 20)} MiB for the comparison in ${options.report} but ${Math.floor(estimate.freeBytes / 2 ** 20)} MiB are free; choose another disk`, { path: options.report, asked: estimate.bytes, free: estimate.freeBytes })
  }
  /** Seconds that cells of this call took, over those they were to take. */
  const clock = { took: 0, planned: 0 }
  const left = (share: number, cell?: Cell): number => {
    const planned = [...open].reduce((sum, each) => sum + seconds(each) * (each === cell ? 1 - share : 1), 0)
    return 1000 * planned * (clock.planned === 0 ? 1 : clock.took / clock.planned)
  }
  const told = new Set<string>()
  let reported = performance.now()
  const tell = (detail?: string, share = 0, cell?: Cell): void => onProgress({ stage: 'comparing', done: cells.length - open.size, total: cells.length, etaMs: left(share, cell), ...(detail === undefined ? {} : { detail }) })
  tell()
  while (open.size > 0) {
    let worked = false
    for (const cell of [...open]) {
      signal?.throwIfAborted()
      const made = await claimed(folder, cell, async () => {
        const started = performance.now()
        const name = `${cell.variant.name}, ${cell.frames} frames, seed ${cell.seed}`
        const row = await runCell(pipeline, cell, folder, options, encoder, (detail, share) => tell(`${name}: ${detail}`, share, cell))
        clock.took += (performance.now() - started) / 1000
        clock.planned += seconds(cell)
        return row
      })
      if (made === undefined) continue
      worked = true
      open.delete(cell)
      if (made.fresh) {
        onRow(made.row)
        for (const warning of [...made.row.warnings, ...(made.row.failed === undefined ? [] : [made.row.failed])]) {
          if (told.has(warning.message)) continue
          told.add(warning.message)
          onWarning(warning)
        }
      }
      tell()
      if (performance.now() - reported > REPORT_MS) {
        await report()
        reported = performance.now()
      }
    }
    if (worked || open.size === 0) continue
    onProgress({ stage: 'waiting for others', done: cells.length - open.size, total: cells.length })
    await abortable(wait(PAUSE_MS), signal)
  }
}

/** The row of a cell, made here, or by another while this one looked away; undefined: somebody else works on it. */
async function claimed(folder: string, cell: Cell, work: () => Promise<CompareRow>): Promise<{ row: CompareRow; fresh: boolean } | undefined> {
  const known = await readRow(folder, cell.id)
  if (known !== undefined) return { row: known, fresh: false }
  const own = join(folder, CELLS, cell.id)
  await makeFolders(own)
  let lock: FolderLock | undefined
  try {
    lock = await lockFolder(own)
    const row = await readRow(folder, cell.id)
    return row === undefined ? { row: await work(), fresh: true } : { row, fresh: false }
  } catch (error) {
    // The cell, or the states of one who died a moment ago on another machine.
    if (error instanceof VinError && error.details['reason'] === 'ELOCKED') return undefined
    throw error
  } finally {
    await lock?.release()
  }
}
