// Model folders: diffusers' layout, or a published backbone (config.json beside its weights). Parts that are absent are missed only where they are needed.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { checkNames, checkPath } from '../check.js'
import { VinError, expected } from '../errors.js'
import { settleFolder } from '../files/folder.js'
import { verifyFile } from '../models/checksums.js'
import { IndexReader, checkFolder, isFolder, readConfig, readJson } from '../models/config.js'
import { openFor, type Opened } from '../models/component.js'
import { otherWeights } from '../models/files.js'
import { TextEncoder } from '../models/text-encoder.js'
import { Tokenizer } from '../models/tokenizer.js'
import { Transformer } from '../models/transformer.js'
import { VAE } from '../models/vae.js'
import type { Binding, Config } from '../native/binding.js'
import type { Engine } from '../native/engine.js'
import { quietLogger } from '../native/log.js'
import { checkSeed } from '../native/ops.js'
import { packageRoot } from '../native/package-root.js'
import type { ResolvedLimits } from '../options/limits.js'
import { modelOptionNames, type ModelOptions, type ResolvedModelOptions } from '../options/model.js'
import type { FromConfigOptions, PipelineConfig, PipelineDefaults, TokenizerSource } from '../options/pipeline.js'
import { createScheduler, type Scheduler } from '../schedulers/index.js'

/** Everything a pipeline is made of. */
export interface PipelineParts {
  engine: Engine
  options: ResolvedModelOptions
  /** Where it came from: a folder, or the seed of untrained weights. */
  source: { folder: string } | { seed: bigint }
  transformer: Transformer
  vae: VAE | undefined
  textEncoder: TextEncoder | undefined
  tokenizer: Tokenizer | undefined
  scheduler: Scheduler
  /** The scheduler whose target the weights have learnt, where that is known: the folder's own, or the one of training. */
  trainedWith: Scheduler | undefined
  defaults: PipelineDefaults
}

const publishedDefaults: PipelineDefaults = Object.freeze({ guidanceScale: 4, numInferenceSteps: 50, width: 320, height: 192, fps: 16 })

/** What Open-Sora 1.2 samples with. */
const stdit3Defaults: PipelineDefaults = Object.freeze({ ...publishedDefaults, guidanceScale: 7, numInferenceSteps: 30 })

/** A backbone that Open-Sora 1.2 published: it predicts a velocity, and nothing else of its folder says so. */
function isStdit3(transformer: Config): boolean {
  return transformer['model_type'] === 'STDiT3'
}

/** The folder of a built-in model, or the path itself. */
export function modelFolder(model: unknown = 'demo'): string {
  if (typeof model !== 'string') throw expected("a folder or 'demo'", 'model', model, 'type')
  if (model === 'demo' && !isFolder('demo')) return join(packageRoot(), 'models', 'demo')
  return checkPath(model, 'model')
}

/** @throws ERR_VIN_MISSING_COMPONENT when there is no folder or no transformer in it */
export async function loadParts(model: string | undefined, options: ModelOptions): Promise<PipelineParts> {
  const opened = await openFor(options, 'VideoPipeline.fromPretrained')
  const { engine } = opened
  const loaded: { dispose(): Promise<void> }[] = []
  const keep = <C extends { dispose(): Promise<void> }>(component: C): C => {
    loaded.push(component)
    return component
  }
  try {
    const folder = modelFolder(model)
    if (!isFolder(folder)) {
      const found = existsSync(folder) ? 'that is a file; pass the folder that holds transformer/, or config.json and weights' : 'there is none'
      throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected a model folder at ${folder} but ${found}`, { component: 'model', folder })
    }
    await settleFolder(folder)
    const { limits, signal } = opened.options
    const part = (name: string): string | undefined => (isFolder(join(folder, name)) ? join(folder, name) : undefined)
    // A published backbone is its own folder.
    const backbone = part('transformer') ?? (existsSync(join(folder, 'config.json')) ? folder : undefined)
    if (backbone === undefined) throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected transformer/ in ${folder} but there is none${otherWeights(folder)}`, { component: 'transformer', folder })
    const config = await readConfig(engine.binding, await checkFolder(backbone, 'transformer'), limits)
    const stdit3 = isStdit3(config)
    const defaults = await readDefaults(engine.binding, folder, limits, stdit3 ? stdit3Defaults : publishedDefaults)
    const schedulerFolder = part('scheduler')
    if (schedulerFolder !== undefined) await verifyFile(join(schedulerFolder, 'scheduler_config.json'), signal)
    const scheduler = createScheduler(schedulerFolder ?? (stdit3 ? 'RFlowScheduler' : undefined))
    const trainedWith = schedulerFolder !== undefined || stdit3 ? scheduler : undefined
    const transformer = keep(await Transformer.load(backbone, { engine: engine.share(), options: opened.options }, config))
    const vaeFolder = part('vae')
    const vae = vaeFolder === undefined ? undefined : keep(await VAE.fromPretrained(vaeFolder, opened))
    const encoderFolder = part('text_encoder')
    const textEncoder = encoderFolder === undefined ? undefined : keep(await TextEncoder.fromPretrained(encoderFolder, opened))
    const tokenizerFolder = part('tokenizer')
    const tokenizer = textEncoder?.tokenizer ?? (tokenizerFolder === undefined || !existsSync(join(tokenizerFolder, 'tokenizer.json')) ? undefined : await Tokenizer.fromPretrained(tokenizerFolder, tokenizerOptions(limits, signal)))
    signal?.throwIfAborted()
    const log = opened.options.logger ?? quietLogger
    const schedulerFrom = part('scheduler') ?? 'defaults, because there is no scheduler/'
    log.debug({ folder, scheduler: scheduler.config, tokenizer: tokenizerFolder, defaults }, `pipeline of ${folder}: ${scheduler.className} from ${schedulerFrom}`)
    return { engine, options: opened.options, source: { folder }, transformer, vae, textEncoder, tokenizer, scheduler, trainedWith, defaults }
  } catch (error) {
    for (const component of loaded) await component.dispose()
    await engine.release()
    throw error
  }
}

function tokenizerOptions(limits: ResolvedLimits, signal: AbortSignal | undefined): Parameters<typeof Tokenizer.fromPretrained>[1] {
  return { limits: { bytes: limits.tokenizerBytes, depth: limits.jsonDepth }, ...(signal === undefined ? {} : { signal }) }
}

async function readDefaults(binding: Binding, folder: string, limits: ResolvedLimits, otherwise: PipelineDefaults): Promise<PipelineDefaults> {
  const file = join(folder, 'model_index.json')
  if (!existsSync(file)) return otherwise
  const read = new IndexReader(await readJson(binding, file, limits), file)
  return Object.freeze({
    guidanceScale: read.number('guidance_scale', 0, 1000, otherwise.guidanceScale),
    numInferenceSteps: read.integer('num_inference_steps', 1, 1000, otherwise.numInferenceSteps),
    width: read.integer('width', 8, limits.pixels, otherwise.width),
    height: read.integer('height', 8, limits.pixels, otherwise.height),
    fps: read.number('fps', 0.1, 1000, otherwise.fps)
  })
}

/** Untrained parts. Each part draws from a seed of its own. */
export async function createParts(config: PipelineConfig, options: FromConfigOptions): Promise<PipelineParts> {
  checkNames(config, 'VideoPipeline.fromConfig', ['transformer', 'vae', 'textEncoder', 'tokenizer', 'scheduler'])
  checkNames(options, 'VideoPipeline.fromConfig', [...modelOptionNames, 'seed', 'defaults'])
  const { seed: given = 0, defaults = {}, ...model } = options
  const seed = checkSeed(given)
  checkNames(defaults, 'defaults', Object.keys(publishedDefaults))
  if (typeof config.transformer !== 'object' || config.transformer === null) throw expected('a config', 'transformer', config.transformer, 'type')
  const stdit3 = isStdit3(config.transformer)
  const scheduler = createScheduler(config.scheduler ?? (stdit3 ? 'RFlowScheduler' : undefined))
  const opened = await openFor(model, 'VideoPipeline.fromConfig')
  const { engine } = opened
  const share = (): Opened => ({ engine: engine.share(), options: opened.options })
  const loaded: { dispose(): Promise<void> }[] = []
  try {
    const transformer = await Transformer.create(config.transformer, seed, share())
    loaded.push(transformer)
    const vae = config.vae === undefined ? undefined : await VAE.create(config.vae, BigInt.asUintN(64, seed + 1n), share())
    if (vae !== undefined) loaded.push(vae)
    const textEncoder = config.textEncoder === undefined ? undefined : await TextEncoder.create(config.textEncoder, BigInt.asUintN(64, seed + 2n), share())
    if (textEncoder !== undefined) loaded.push(textEncoder)
    const tokenizer = config.tokenizer === undefined ? undefined : await openTokenizer(config.tokenizer)
    if (textEncoder !== undefined && tokenizer !== undefined) textEncoder.tokenizer = tokenizer
    return { engine, options: opened.options, source: { seed }, transformer, vae, textEncoder, tokenizer, scheduler, trainedWith: undefined, defaults: Object.freeze({ ...(stdit3 ? stdit3Defaults : publishedDefaults), ...defaults }) }
  } catch (error) {
    for (const component of loaded) await component.dispose()
    await engine.release()
    throw error
  }
}

async function openTokenizer(source: TokenizerSource): Promise<Tokenizer> {
  if (source instanceof Tokenizer) return source
  return typeof source === 'string' ? Tokenizer.fromPretrained(source) : Tokenizer.fromJson(source)
}
