// The report: report.json, from which the comparison can be repeated, report.csv, and index.html over both. Written whole, over what was there.

import { join } from 'node:path'
import { metricNames, type MetricName } from '../evaluate/options.js'
import { writeTextAtomically } from '../files/atomic-file.js'
import { methodNames, type MethodName } from '../methods/index.js'
import { VinError } from '../errors.js'
import { readSmallFile } from '../files/small-file.js'
import { errorCode, errorMessage } from '../realms.js'
import type { Ground } from './ground.js'
import { whyNotMeasured, whyNotRun, type SharedOptions } from './options.js'
import { pageOf } from './page.js'
import type { CompareRow, RowRuntime } from './row.js'
import { groupsOf, referenceOf, valuesOf, type ReportGroup } from './summary.js'

export type { ReportGroup } from './summary.js'

export const REPORT = 'report.json'
const REPORT_KIND = 'vin-native comparison report'
const maxReportBytes = 256 << 20

/** A row as the report has it: without features. */
export type ReportRow = Omit<CompareRow, 'evaluation' | 'latentScores'> & { values: Record<string, number>; sceneCuts?: number[] }

export interface CompareReport {
  kind: typeof REPORT_KIND
  version: 1
  /** SHA-256 of each file of the model, by its path in the model's folder. */
  weights: Record<string, string>
  /** Options of sampling that hold for all rows. */
  options: SharedOptions
  metrics: MetricName[]
  /** What made the rows. */
  runtimes: RowRuntime[]
  /** Metrics that this model does not allow, and why. */
  notMeasured: Partial<Record<MetricName, string>>
  /** Methods that this model cannot run, and why. */
  notRun: Partial<Record<MethodName, string>>
  /** With what it was measured. */
  tools: { flow?: string; interpolator?: string; encoder?: string }
  methods: string[]
  prompts: string[]
  seeds: number[]
  frames: number[]
  /** The method that differences are to. */
  reference: string
  groups: ReportGroup[]
  rows: ReportRow[]
}

const distinct = <T>(values: readonly T[]): T[] => [...new Map(values.map((value) => [JSON.stringify(value), value])).values()]

/** Plain methods in their usual order, then variants by name. */
function orderOf(method: string): [number, string] {
  const at = methodNames.findIndex((name) => name === method)
  return [at < 0 ? methodNames.length : at, method]
}

function byOrder(a: string, b: string): number {
  const [[i, left], [j, right]] = [orderOf(a), orderOf(b)]
  return i - j || (left < right ? -1 : 1)
}

const reasons = <N extends string>(names: readonly N[], why: (name: N) => string | undefined): Partial<Record<N, string>> =>
  Object.fromEntries(names.flatMap((name) => (why(name) === undefined ? [] : [[name, why(name)]]))) as Partial<Record<N, string>>

export function reportOf({ weights, options, metrics, lacks = [] }: Ground, rows: readonly CompareRow[]): CompareReport {
  const ascending = (values: readonly number[]): number[] => distinct(values).sort((a, b) => a - b)
  const methods = distinct(rows.map(({ method }) => method)).sort(byOrder)
  const frames = ascending(rows.map((row) => row.frames))
  const tool = (of: (row: CompareRow) => string | undefined): string | undefined => rows.map(of).find((name) => name !== undefined)
  const tools = {
    flow: tool(({ evaluation }) => evaluation?.mawe?.flow ?? evaluation?.dynamicDegree?.flow),
    interpolator: tool(({ evaluation }) => evaluation?.motionSmoothness?.interpolator),
    encoder: tool(({ evaluation }) => evaluation?.subjectConsistency?.encoder ?? evaluation?.identityOverGap?.encoder)
  }
  return {
    kind: REPORT_KIND,
    version: 1,
    weights,
    options,
    metrics: [...metrics],
    notMeasured: reasons(metricNames, (name) => whyNotMeasured(name, lacks)),
    notRun: reasons(methodNames, (name) => whyNotRun(name, lacks)),
    runtimes: distinct(rows.map(({ runtime }) => runtime)),
    tools: Object.fromEntries(Object.entries(tools).filter(([, name]) => name !== undefined)),
    methods,
    prompts: distinct(rows.map(({ prompt }) => prompt)).sort(),
    seeds: ascending(rows.map(({ seed }) => seed)),
    frames,
    reference: rows.length === 0 ? '' : referenceOf(methods),
    groups: groupsOf(rows, methods, frames),
    rows: rows.map(({ evaluation, latentScores, ...row }) => ({ ...row, values: valuesOf({ ...row, evaluation, latentScores } as CompareRow), ...(evaluation?.sceneCuts === undefined ? {} : { sceneCuts: evaluation.sceneCuts }) }))
  }
}

/** RFC 4180. */
function csvOf({ rows, weights }: CompareReport): string {
  const names = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))]
  const cell = (value: unknown): string => {
    const text = value === undefined ? '' : String(value)
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  const model = Object.entries(weights).find(([file]) => /(^|transformer\/)[^/]*\.safetensors$/.test(file))?.[1]
  const header = ['cell', 'method', 'frames', 'prompt', 'seed', ...names, 'skipped_steps', 'version', 'device', 'isa', 'threads', 'transformer_sha256', 'prompt_sha256', 'video', 'latents', 'failed']
  const lines = rows.map((row) => [row.cell, row.method, row.frames, row.prompt, row.seed, ...names.map((name) => row.values[name]), row.skippedSteps, row.runtime.version, row.runtime.device, row.runtime.isa, row.runtime.threads, model, row.promptSha256, row.video, row.latents, row.failed?.code])
  return [header, ...lines].map((line) => line.map(cell).join(',')).join('\r\n') + '\r\n'
}

export async function writeReport(folder: string, ground: Ground, rows: readonly CompareRow[]): Promise<CompareReport> {
  const report = reportOf(ground, rows)
  await writeTextAtomically(join(folder, REPORT), JSON.stringify(report, null, 1))
  await writeTextAtomically(join(folder, 'report.csv'), csvOf(report))
  await writeTextAtomically(join(folder, 'index.html'), pageOf(report))
  return report
}

function notReport(file: string, found: string): VinError {
  return new VinError('ERR_VIN_FORMAT', `Expected the report.json of a comparison in ${file} but found ${found}`, { file, expected: 'a report' })
}

/** @throws VinError ERR_VIN_FORMAT for a file that is no report, or not there */
export async function readReport(file: string): Promise<CompareReport> {
  const bytes = await readSmallFile(file, maxReportBytes).catch((error: unknown) => {
    throw ['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '') ? notReport(file, 'no file') : error
  })
  return parseReport(bytes, file)
}

/** @throws VinError ERR_VIN_FORMAT */
export function parseReport(bytes: Uint8Array, file: string): CompareReport {
  let report: CompareReport
  try {
    report = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as CompareReport
  } catch (error) {
    throw notReport(file, errorMessage(error))
  }
  if (report?.kind !== REPORT_KIND || report.version !== 1) throw notReport(file, 'something else')
  const { rows, methods, prompts, seeds, frames, metrics } = report
  if (![rows, methods, prompts, seeds, frames, metrics].every(Array.isArray)) throw notReport(file, 'a report with lists missing')
  if (rows.length === 0) throw notReport(file, 'one without a video')
  return report
}
