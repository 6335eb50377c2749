// What all rows of a folder have in common: the model's weights, the options of sampling, the metrics. It lies in comparison.json; a call with another ground is refused,
// since its rows could not stand beside those that are there.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { VinError } from '../errors.js'
import { writeTextAtomically } from '../files/atomic-file.js'
import { claimFolder } from '../files/folder.js'
import { makeFolder } from '../files/disk.js'
import { readSmallFile } from '../files/small-file.js'
import { sha256OfFile } from '../models/checksums.js'
import type { VideoPipeline } from '../pipeline/pipeline.js'
import { errorCode } from '../realms.js'
import type { MetricName } from '../evaluate/options.js'
import type { ModelPart, ResolvedCompareOptions, SharedOptions } from './options.js'

const GROUND = 'comparison.json'
const KIND = 'vin-native comparison'

export interface Ground {
  kind: typeof KIND
  version: 1
  /** SHA-256 of each file of the model, by its path in the model's folder; empty for one that was made in code. */
  weights: Record<string, string>
  options: SharedOptions
  metrics: readonly MetricName[]
  /** What the model lacks of what methods and metrics need. */
  lacks: readonly ModelPart[]
}

/** Files of a model folder that say what it computes. */
export async function weightsOf(pipeline: VideoPipeline, signal: AbortSignal | undefined, told: (done: number, total: number) => void): Promise<Ground['weights']> {
  const { source } = pipeline.parts
  if (!('folder' in source)) return {}
  const names = ['', 'scheduler', 'text_encoder', 'tokenizer', 'transformer', 'vae']
  const files: string[] = []
  for (const name of names) {
    const entries = await readdir(join(source.folder, name), { withFileTypes: true }).catch(() => [])
    files.push(...entries.filter((entry) => !entry.isDirectory() && /\.(safetensors|json)$/.test(entry.name)).map((entry) => (name === '' ? entry.name : `${name}/${entry.name}`)).sort())
  }
  const weights: Ground['weights'] = {}
  for (const [done, file] of files.entries()) {
    told(done, files.length)
    weights[file] = await sha256OfFile(join(source.folder, file), signal)
  }
  return weights
}

async function readGround(folder: string): Promise<Ground | undefined> {
  const file = join(folder, GROUND)
  try {
    const ground = JSON.parse((await readSmallFile(file, 1 << 20)).toString()) as Ground
    if (ground?.kind === KIND && ground.version === 1) return ground
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return undefined
    if (errorCode(error) !== undefined) throw error
  }
  throw new VinError('ERR_VIN_FORMAT', `Expected a comparison of this version in ${file} but found something else; choose another folder`, { file, expected: KIND })
}

/** Says before the work that the folder could not be used. */
export async function claimReport(path: string): Promise<string> {
  return claimFolder(path, {
    what: 'a comparison of vin-native',
    stranger: async (folder, names) => ((await readGround(folder)) === undefined ? names[0] : undefined)
  })
}

/** In a few characters. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 59)}…` : text
}

/** The first thing in which two grounds differ. */
export function difference(known: Pick<Ground, 'weights' | 'options' | 'metrics'>, asked: Pick<Ground, 'weights' | 'options' | 'metrics'>): { name: string; known: unknown; asked: unknown } | undefined {
  const flat = ({ weights, options, metrics }: Pick<Ground, 'weights' | 'options' | 'metrics'>): Record<string, unknown> => ({ ...Object.fromEntries(Object.entries(weights).map(([file, digest]) => [`SHA-256 of ${file}`, digest])), ...options, metrics: [...metrics].sort() })
  const [a, b] = [flat(known), JSON.parse(JSON.stringify(flat(asked))) as Record<string, unknown>]
  const name = [...new Set([...Object.keys(a), ...Object.keys(b)])].find((each) => JSON.stringify(a[each]) !== JSON.stringify(b[each]))
  return name === undefined ? undefined : { name, known: a[name], asked: b[name] }
}

/** @throws VinError ERR_VIN_RESUME_MISMATCH naming the first thing that differs */
export function requireSame(known: Ground | Pick<Ground, 'weights' | 'options' | 'metrics'>, asked: Pick<Ground, 'weights' | 'options' | 'metrics'>, path: string): void {
  const other = difference(known, asked)
  if (other === undefined) return
  throw new VinError('ERR_VIN_RESUME_MISMATCH', `Expected ${other.name} ${shown(other.known)}, as ${path} was made with, but received ${shown(other.asked)}; choose another folder, or the same model and options`, { ...other, path })
}

/** @throws VinError ERR_VIN_RESUME_MISMATCH for embeddings of a prompt other than those of a report; undefined: none, the prompt was encoded */
export function requireSameEmbeds(prompt: string, known: string | undefined, asked: string | undefined): void {
  if (known === asked) return
  const said = (digest: string | undefined): string => (digest === undefined ? 'none' : `those of SHA-256 ${digest.slice(0, 12)}…`)
  throw new VinError('ERR_VIN_RESUME_MISMATCH', `Expected for ${shown(prompt)} the embeddings that the report was made with (${said(known)}) but received ${said(asked)}; pass them as promptEmbeds`, { name: 'promptEmbeds', prompt, known, asked })
}

/** The folder with its ground, which is written where there is none. */
export async function openReport(path: string, { shared, metrics, lacks }: ResolvedCompareOptions, weights: Ground['weights']): Promise<{ folder: string; ground: Ground }> {
  const folder = await claimReport(path)
  const ground: Ground = { kind: KIND, version: 1, weights, options: shared, metrics, lacks }
  await makeFolder(folder)
  if ((await readGround(folder)) === undefined) await writeTextAtomically(join(folder, GROUND), JSON.stringify(ground, null, 2))
  // Another process may have been faster.
  requireSame((await readGround(folder)) ?? ground, ground, path)
  return { folder, ground }
}
