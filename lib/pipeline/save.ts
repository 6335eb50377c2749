// A pipeline as a model folder in diffusers' layout, the mirror of load.ts.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { checkNames } from '../check.js'
import { claimFolder, fillFolder } from '../files/folder.js'
import { checkWeightType, fieldsOf, modelFiles, writeComponent, writeJson } from '../models/save.js'
import type { WeightType, WriteWeights } from '../models/save.js'
import type { Scheduler } from '../schedulers/index.js'
import type { VideoPipeline } from './pipeline.js'

export interface SavePipelineOptions {
  /** Numbers of the weights in the files, of all parts alike or part by part. @default 'float32' */
  dtype?: WeightType | { transformer?: WeightType; vae?: WeightType; textEncoder?: WeightType } | undefined
}

/** Whether a folder holds a model that vin-native wrote. */
export async function isModel(folder: string): Promise<boolean> {
  return (await fieldsOf(join(folder, 'model_index.json')))['_class_name'] === 'VinVideoPipeline'
}

/** Replaces a model folder as a whole. @throws VinError ERR_VIN_DISK, also for a checkpoint, whose state would be of other weights */
export async function savePipeline(pipeline: VideoPipeline, folder: string, options: SavePipelineOptions): Promise<void> {
  checkNames(options, 'pipeline.save', ['dtype'])
  const { dtype } = options
  if (typeof dtype === 'object') checkNames(dtype, 'dtype', ['transformer', 'vae', 'textEncoder'])
  const [transformer, vae, textEncoder] = (['transformer', 'vae', 'textEncoder'] as const).map((part) => (typeof dtype === 'object' ? checkWeightType(dtype[part], `dtype.${part}`) : checkWeightType(dtype))) as [WeightType, WeightType, WeightType]
  const place = await claimFolder(folder, {
    what: 'a model of vin-native',
    stranger: async (found, names) => (names.includes('training') ? 'training' : (await isModel(found)) ? undefined : names[0])
  })
  await fillFolder(folder, place, {
    isMember: (path) => new RegExp(`^${modelFiles}$`).test(path),
    write: (temporary) =>
      writeModelFolder(pipeline, temporary, pipeline.scheduler, {
        transformer: (path) => pipeline.transformer.native.save(path, { dtype: transformer }),
        vae: (path) => pipeline.vae.native.save(path, { dtype: vae }),
        textEncoder: (path) => pipeline.textEncoder.native.save(path, { dtype: textEncoder })
      })
  })
}

/** Fills a new folder. Weights are written by what is given, else as they are. */
export async function writeModelFolder(
  pipeline: VideoPipeline,
  folder: string,
  scheduler: Scheduler,
  write: { transformer?: WriteWeights; textEncoder?: WriteWeights; vae?: WriteWeights } = {}
): Promise<void> {
  const { guidanceScale, numInferenceSteps, width, height, fps } = pipeline.defaults
  const asIs = (model: { save(path: string, options: { dtype: 'float32' }): Promise<void> }): WriteWeights => (path) => model.save(path, { dtype: 'float32' })
  const { transformer } = pipeline
  const index: Record<string, unknown> = { _class_name: 'VinVideoPipeline', transformer: ['vin-native', 'VinTransformer3DModel'] }
  await writeComponent(join(folder, 'transformer'), transformer.description(), write.transformer ?? asIs(transformer.native))
  if (pipeline.has('vae')) {
    const { vae } = pipeline
    index['vae'] = ['vin-native', 'OpenSoraVAE_V1_2']
    await writeComponent(join(folder, 'vae'), vae.description(), write.vae ?? asIs(vae.native))
  }
  if (pipeline.has('textEncoder')) {
    const { textEncoder } = pipeline
    index['text_encoder'] = ['transformers', 'T5EncoderModel']
    await writeComponent(join(folder, 'text_encoder'), textEncoder.description(), write.textEncoder ?? asIs(textEncoder.native))
  }
  if (pipeline.has('tokenizer')) {
    index['tokenizer'] = ['tokenizers', 'Tokenizer']
    await mkdir(join(folder, 'tokenizer'))
    await writeJson(join(folder, 'tokenizer', 'tokenizer.json'), pipeline.tokenizer.source)
  }
  // diffusers has no class of this name.
  index['scheduler'] = [scheduler.className === 'RFlowScheduler' ? 'vin-native' : 'diffusers', scheduler.className]
  await mkdir(join(folder, 'scheduler'))
  await writeJson(join(folder, 'scheduler', 'scheduler_config.json'), scheduler.config)
  await writeJson(join(folder, 'model_index.json'), { ...index, guidance_scale: guidanceScale, num_inference_steps: numInferenceSteps, width, height, fps })
}
