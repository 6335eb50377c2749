// Weight files of a model folder, under any of their published names. What an index.json names is checked by the native reader, before a shard is opened.

import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { VinError } from '../errors.js'

const names = ['diffusion_pytorch_model', 'model', 'pytorch_model'].flatMap((name) => [`${name}.safetensors`, `${name}.safetensors.index.json`])

/** The file that holds a folder's state dict, or the index of its shards. */
export function weightFile(folder: string): string {
  const found = names.map((name) => join(folder, name)).find((file) => existsSync(file))
  if (found !== undefined) return found
  const pickle = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((name) => existsSync(join(folder, name)))
  const advice = pickle === undefined ? '' : `; ${pickle} is a pickle, convert it to safetensors first`
  throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected diffusion_pytorch_model.safetensors or model.safetensors (or an index.json with shards) in ${folder} but there is none${advice}`, {
    component: 'weights',
    folder
  })
}

/** Bytes that loading will read, about: the file, or all shards beside an index. */
export function weightBytes(file: string, folder: string): number {
  const files = file.endsWith('.index.json') ? readdirSync(folder).filter((name) => name.endsWith('.safetensors')).map((name) => join(folder, name)) : [file]
  return files.reduce((sum, name) => sum + statSync(name).size, 0)
}
