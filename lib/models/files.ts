// Weight files of a model folder, under any of their published names. What an index.json names is checked by the native reader, before a shard is opened.

import { existsSync, lstatSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { VinError } from '../errors.js'
import type { Binding } from '../native/binding.js'
import type { ResolvedLimits } from '../options/limits.js'
import { readJson } from './config.js'

const names = ['diffusion_pytorch_model', 'model', 'pytorch_model'].flatMap((name) => [`${name}.safetensors`, `${name}.safetensors.index.json`])

/** The file that holds a folder's state dict, or the index of its shards. */
export function weightFile(folder: string): string {
  const found = names.map((name) => join(folder, name)).find((file) => existsSync(file))
  if (found !== undefined) return found
  throw new VinError('ERR_VIN_MISSING_COMPONENT', `Expected diffusion_pytorch_model.safetensors or model.safetensors (or an index.json with shards) in ${folder} but there is none${otherWeights(folder)}`, {
    component: 'weights',
    folder
  })
}

/**
What loading `file` reads: itself, or the shards of an index. Shards that are links stay unopened until the native reader has seen that they do not leave the repository.
What else an index may name is that reader's to refuse.
*/
export async function weightFiles(binding: Binding, file: string, limits: ResolvedLimits): Promise<{ files: string[]; links: string[] }> {
  if (!file.endsWith('.index.json')) return { files: [file], links: [] }
  const { weight_map: map } = await readJson(binding, file, { ...limits, configBytes: limits.headerBytes })
  const listed = typeof map === 'object' && map !== null ? Object.values(map) : []
  const shards = [...new Set(listed)].filter((name): name is string => typeof name === 'string' && /^[^/\\\0]+\.safetensors$/.test(name)).map((name) => join(dirname(file), name))
  const isLink = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
  return { files: shards.filter((path) => !isLink(path)), links: shards.filter(isLink) }
}

const others: readonly [pattern: RegExp, advice: (name: string) => string][] = [
  [/-\d{5}-of-\d{5}\.safetensors$/, () => 'is a shard without its index.json; add the index'],
  [/^(diffusion_pytorch_model|model|pytorch_model)\.[\w-]+\.safetensors$/, (name) => `is a variant of it; rename it to ${name.replace(/\.[\w-]+\.safetensors$/, '.safetensors')}`],
  [/\.safetensors$/, () => 'is there; if it holds these weights, rename it to model.safetensors'],
  [/\.(bin|pth|pt|ckpt|pkl)(\.index\.json)?$/, () => 'is a pickle, convert it to safetensors first'],
  [/\.(gguf|onnx|h5|msgpack)$/, () => "is not read; take the model's safetensors files"]
]

/** `; pytorch_model.bin is a pickle, convert it to safetensors first`: what lies where weights are missing, and what to do with it. */
export function otherWeights(folder: string): string {
  const listed = readdirSync(folder).sort()
  for (const [pattern, advice] of others) {
    const name = listed.find((each) => pattern.test(each))
    if (name !== undefined) return `; ${name} ${advice(name)}`
  }
  return ''
}
