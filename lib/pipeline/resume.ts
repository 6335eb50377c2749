// Saved sampling states. After every step one safetensors file is written: latents, what the scheduler carries, and in its metadata the step, the options
// and a SHA-256 of the data. The two newest are kept; a damaged newest one gives way to the one before it.

import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { types } from 'node:util'
import { VinError, show } from '../errors.js'
import { writeFileAtomically } from '../files/atomic-file.js'
import { STATE_KIND, statePattern } from '../files/run-folder.js'
import { bytesOf, encodeSafetensors } from '../files/safetensors.js'
import { maxWholeBytes, openToRead, readSmallFile } from '../files/small-file.js'
import { weightFile } from '../models/files.js'
import type { Binding } from '../native/binding.js'
import { packageVersion } from '../native/package-root.js'
import { Tensor, checkShape, readNative, type TensorData, type TensorLike } from '../native/tensor.js'
import { plainOptions, type ResolvedGenerateOptions } from '../options/generate.js'
import { resolvedFusion } from '../plan/fusion.js'
import { stepCacheThreshold } from '../plan/step-cache.js'
import { settingsOf } from '../schedulers/scheduler.js'
import type { PipelineParts } from './load.js'

/** What must agree between a state and the run that goes on from it. */
export type Fingerprint = Record<string, unknown>

export interface SavedState {
  /** Steps made. */
  step: number
  seed: number | bigint
  fingerprint: Fingerprint
  /** `latents`, the scheduler's own under `scheduler.`, those of `stepCache` and of `globalTokenMemory` under their names. */
  tensors: Record<string, TensorData>
}

const sha = (): ReturnType<typeof createHash> => createHash('sha256')

/** Everything the result depends on but the seed, as plain values, which are the same for every way to say them; tensors and bytes by their hash. */
export async function fingerprintOf(options: ResolvedGenerateOptions, parts: PipelineParts): Promise<Fingerprint> {
  const { seed, outputType, chunksInFlight, preview, resume, ...plain } = plainOptions(options, 0)
  // The first entry holds from the beginning, whenever it says that it begins.
  const prompts = options.prompt.map(({ prompt, latentFrame, ease }, entry) => (entry === 0 ? prompt : { prompt, latentFrame, ease }))
  return JSON.parse(
    JSON.stringify({
      version: packageVersion(),
      model: await modelFingerprint(parts),
      backend: parts.engine.runtime.backend,
      ...plain,
      prompt: prompts.length > 1 ? prompts : prompts[0],
      fusion: resolvedFusion(options.fusion),
      stepCache: stepCacheThreshold(options.stepCache) ?? 'off',
      scheduler: settingsOf(options.scheduler),
      latents: await tensorHash(options.latents),
      promptEmbeds: await tensorHash(options.promptEmbeds),
      negativePromptEmbeds: await tensorHash(options.negativePromptEmbeds),
      ...(await inputHash('image', options.image)),
      ...(await inputHash('lastImage', options.lastImage)),
      ...(await videoHash(options.video))
    })
  ) as Fingerprint
}

async function tensorHash(tensor: TensorLike | undefined): Promise<string | undefined> {
  if (tensor === undefined) return undefined
  const { data, shape } = tensor instanceof Tensor ? await readNative(tensor.native) : tensor
  return sha().update(JSON.stringify(shape)).update(bytesOf(data)).digest('hex')
}

/** Files count by what is in them: a run may go on in another working directory. One that cannot be read is an error of its own, later. */
async function inputHash(name: string, input: ResolvedGenerateOptions['image']): Promise<Record<string, string>> {
  if (input === undefined) return {}
  const hash = sha()
  if (typeof input === 'string') {
    const isRead = await hashFile(hash, input).then(() => true, () => false)
    return { [name]: isRead ? hash.digest('hex') : input }
  }
  const { data, shape } = types.isUint8Array(input) ? { data: input, shape: [] } : { data: input.data, shape: [input.width, input.height] }
  return { [name]: hash.update(JSON.stringify(shape)).update(data).digest('hex') }
}

/** A Video by its latents, and how it plays. Frames that come one by one are not known before they are read. */
async function videoHash(video: ResolvedGenerateOptions['video']): Promise<Record<string, string | undefined>> {
  if (typeof video === 'string') return inputHash('video', video)
  if (video === undefined || !('latents' in video)) return {}
  checkShape(video.latents, 'video.latents', ['C', 'N', 'H', 'W'])
  const plays = 'numFrames' in video ? ` ${JSON.stringify([video.numFrames, video.fps, video.width, video.height])}` : ''
  return { video: `${await tensorHash(video.latents)}${plays}` }
}

/** Configs, and for weights on disk the size and 64 samples of every file: enough to tell two checkpoints apart without reading gigabytes. */
async function modelFingerprint({ transformer, vae, textEncoder, source }: PipelineParts): Promise<string> {
  const hash = sha()
  const components: [string, { config: object } | undefined][] = [
    ['transformer', transformer],
    ['vae', vae],
    ['text_encoder', textEncoder]
  ]
  for (const [name, component] of components) {
    if (component === undefined) continue
    hash.update(name).update(JSON.stringify(component.config))
    if ('seed' in source) hash.update(String(source.seed))
    else await hashFiles(hash, existsSync(join(source.folder, name)) ? join(source.folder, name) : source.folder)
  }
  return hash.digest('hex')
}

async function hashFiles(hash: ReturnType<typeof sha>, folder: string): Promise<void> {
  const first = weightFile(folder)
  const files = first.endsWith('.index.json') ? (await readdir(folder)).filter((name) => name.endsWith('.safetensors')).sort().map((name) => join(folder, name)) : [first]
  for (const file of files) await hashFile(hash, file)
}

/** Size and 64 samples; all of a file of up to 256 KiB. */
async function hashFile(hash: ReturnType<typeof sha>, file: string): Promise<void> {
  const { handle, size } = await openToRead(file)
  try {
    hash.update(String(size))
    const block = Buffer.alloc(4096)
    for (let i = 0; i < 64; i++) {
      const { bytesRead } = await handle.read(block, 0, block.length, Math.floor((Math.max(0, size - block.length) * i) / 63))
      hash.update(block.subarray(0, bytesRead))
    }
  } finally {
    await handle.close()
  }
}

/** The folder's states, newest first. */
export async function listStates(folder: string): Promise<{ file: string; step: number }[]> {
  // Whatever else is there, has none.
  const names = await readdir(folder).catch(() => [])
  const states = names.flatMap((name) => {
    const match = statePattern.exec(name)
    return match === null ? [] : [{ file: join(folder, name), step: Number(match[1]) }]
  })
  return states.sort((a, b) => b.step - a.step)
}

function encodeState({ step, seed, fingerprint, tensors }: SavedState): AsyncGenerator<Uint8Array> {
  const sorted = Object.fromEntries(Object.entries(tensors).sort(([a], [b]) => (a < b ? -1 : 1)))
  const hash = sha()
  for (const { data } of Object.values(sorted)) hash.update(bytesOf(data))
  const content = JSON.stringify({ step, seed: String(seed), big_seed: typeof seed === 'bigint', fingerprint })
  return encodeSafetensors(sorted, { kind: STATE_KIND, content, sha256: hash.update(content).digest('hex') })
}

/** Writes a state, and removes all but the two newest. */
export async function saveState(folder: string, state: SavedState): Promise<void> {
  await writeFileAtomically(join(folder, `state-${String(state.step).padStart(6, '0')}.safetensors`), encodeState(state))
  const old = (await listStates(folder)).filter(({ step }) => step <= state.step).slice(2)
  for (const { file } of old) await rm(file, { force: true })
}

/** The newest state that is whole. @throws ERR_VIN_RESUME_MISMATCH naming the field that differs */
export async function loadState(binding: Binding, folder: string, fingerprint: Fingerprint, seed: number | bigint | undefined): Promise<{ state: SavedState | undefined; damaged: string[] }> {
  const damaged: string[] = []
  for (const { file } of await listStates(folder)) {
    const state = await readState(binding, file)
    if (state === undefined) {
      damaged.push(file)
      continue
    }
    compare(file, fingerprint, state.fingerprint)
    if (seed !== undefined && BigInt(seed) !== BigInt(state.seed)) throw mismatch(file, 'seed', seed, state.seed)
    return { state, damaged }
  }
  return { state: undefined, damaged }
}

async function readState(binding: Binding, file: string): Promise<SavedState | undefined> {
  try {
    const { tensors, metadata } = binding.readSafetensors(await readSmallFile(file, maxWholeBytes))
    const content = metadata['content'] ?? ''
    const hash = sha()
    const read: Record<string, TensorData> = {}
    for (const name of Object.keys(tensors).sort()) {
      const { data, shape } = tensors[name] ?? {}
      if (!types.isFloat32Array(data) || shape === undefined) return undefined
      hash.update(bytesOf(data))
      read[name] = { data, shape }
    }
    if (hash.update(content).digest('hex') !== metadata['sha256']) return undefined
    const { step, seed, big_seed: big, fingerprint } = JSON.parse(content) as { step: number; seed: string; big_seed: boolean; fingerprint: Fingerprint }
    return { step, seed: big ? BigInt(seed) : Number(seed), fingerprint, tensors: read }
  } catch {
    return undefined
  }
}

function compare(file: string, wanted: Fingerprint, found: Fingerprint): void {
  for (const field of new Set([...Object.keys(wanted), ...Object.keys(found)])) {
    if (JSON.stringify(wanted[field]) !== JSON.stringify(found[field])) throw mismatch(file, field, wanted[field], found[field])
  }
}

function mismatch(file: string, field: string, wanted: unknown, found: unknown): VinError {
  const text = (value: unknown): string => (typeof value === 'object' && value !== null ? JSON.stringify(value) : show(value))
  return new VinError(
    'ERR_VIN_RESUME_MISMATCH',
    `Expected a state with ${field} ${text(wanted)} in ${dirname(file)} but it was made with ${text(found)}; use the same options, or another folder`,
    { file, field, expected: wanted, found }
  )
}
