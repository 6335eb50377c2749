// A model or one of its parts as a folder, the mirror of opening one: config.json and weights under the names that diffusers and transformers give them.

import { join } from 'node:path'
import { checkOneOf } from '../check.js'
import { makeFolders, writeDurably } from '../files/disk.js'
import { claimFolder, fillFolder } from '../files/folder.js'
import { readSmallFile } from '../files/small-file.js'

export type WeightType = 'float32' | 'float16' | 'bfloat16'

export interface SaveModelOptions {
  /**
  Numbers of the weights in the file.

  @default 'float32'
  */
  dtype?: WeightType | undefined
}

export function checkWeightType(value: unknown, name = 'dtype'): WeightType {
  return value === undefined ? 'float32' : checkOneOf<WeightType>(value, name, ['float32', 'float16', 'bfloat16'])
}

const kinds = {
  transformer: { marks: { _class_name: 'VinTransformer3DModel' }, weights: 'diffusion_pytorch_model.safetensors' },
  vae: { marks: { _class_name: 'OpenSoraVAE_V1_2' }, weights: 'diffusion_pytorch_model.safetensors' },
  text_encoder: { marks: { architectures: ['T5EncoderModel'], model_type: 't5' }, weights: 'model.safetensors' }
}

export type ComponentName = keyof typeof kinds

export interface ComponentFolder {
  name: ComponentName
  config: object
}

export type WriteWeights = (path: string) => Promise<void>

/** Names of weight files in a folder. */
const weightNames = String.raw`(diffusion_pytorch_model|model|pytorch_model)(-\d+-of-\d+)?\.safetensors(\.index\.json)?`

/** What a folder of a component, and one of a whole model, may consist of: of an older one, these files go when the new one lacks them. */
export const componentFiles = String.raw`(SHA256SUMS|config\.json|${weightNames})`
export const modelFiles = String.raw`(SHA256SUMS|model_index\.json|(transformer|vae|text_encoder|tokenizer|scheduler)/(tokenizer\.json|scheduler_config\.json|${componentFiles}))`

/** Of state.json, config.json and model_index.json: a few KiB. */
export const maxJsonBytes = 1 << 20

export const writeJson = (path: string, value: unknown): Promise<void> => writeDurably(path, `${JSON.stringify(value, null, 2)}\n`)

/** The fields of a JSON file; none when it is no such file. */
export async function fieldsOf(file: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(await readSmallFile(file, maxJsonBytes)))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

/** Fills a new folder. */
export async function writeComponent(folder: string, { name, config }: ComponentFolder, write: WriteWeights): Promise<void> {
  await makeFolders(folder)
  await writeJson(join(folder, 'config.json'), { ...kinds[name].marks, ...config })
  await write(join(folder, kinds[name].weights))
}

/** Replaces a component's folder. @throws VinError ERR_VIN_DISK */
export async function saveComponent(folder: string, component: ComponentFolder, write: WriteWeights): Promise<void> {
  const { marks } = kinds[component.name]
  const place = await claimFolder(folder, {
    what: `a saved ${component.name}`,
    stranger: async (found, names) => {
      const config = await fieldsOf(join(found, 'config.json'))
      const ours = Object.entries(marks).every(([key, value]) => JSON.stringify(config[key]) === JSON.stringify(value))
      return names.includes('training') ? 'training' : ours ? undefined : names[0]
    }
  })
  await fillFolder(folder, place, { isMember: (path) => new RegExp(`^${componentFiles}$`).test(path), write: (temporary) => writeComponent(temporary, component, write) })
}
