// inspect model: weights and configs of a model folder. Reads headers only: no weight is loaded.

import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { VinError } from '../../errors.js'
import { readSmallFileSync } from '../../files/small-file.js'
import { loadBinding } from '../../native/load.js'
import { defaultLimits } from '../../options/limits.js'
import { modelFolder } from '../../pipeline/load.js'
import type { Inspection } from '../inspect.js'

interface Weight {
  name: string
  dtype: string
  shape: number[]
}

interface Part {
  /** '' for files of the folder itself. */
  name: string
  config: unknown
  files: { file: string; weights: Weight[] }[]
}

export function inspectModel(place: string | undefined): Inspection {
  const folder = modelFolder(place)
  const missing = (found: string): VinError => new VinError('ERR_VIN_MISSING_COMPONENT', `Expected a model folder at ${folder} but ${found}`, { component: 'model', folder })
  const isFolder = statSync(folder, { throwIfNoEntry: false })?.isDirectory()
  if (isFolder !== true) throw missing(isFolder === undefined ? 'there is none' : 'that is a file; pass the folder that holds transformer/, or config.json and weights')
  const names = readdirSync(folder).filter((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.isDirectory() === true)
  const parts = ['', ...names].map((name) => readPart(folder, name)).filter(({ config, files }) => config !== undefined || files.length > 0)
  if (parts.length === 0) throw missing('it holds neither configs nor weights')
  return { text: describe(folder, parts), json: { folder, parts: parts.map((part) => ({ ...part, ...totals(part) })) } }
}

function readPart(folder: string, name: string): Part {
  const place = join(folder, name)
  const config = ['config.json', 'scheduler_config.json', 'model_index.json'].map((file) => join(place, file)).find((file) => existsSync(file))
  const binding = loadBinding()
  const files = readdirSync(place)
    .filter((file) => file.endsWith('.safetensors'))
    .sort()
    .map((file) => {
      const { tensors } = binding.readSafetensors(join(place, file), { headerOnly: true })
      return { file, weights: Object.entries(tensors).map(([tensor, { dtype, shape }]) => ({ name: tensor, dtype, shape })) }
    })
  return { name, config: config === undefined ? undefined : binding.parseJson(readSmallFileSync(config, defaultLimits.configBytes), config, { nonfinite: true }), files }
}

const bytesOf: Record<string, number> = { F64: 8, F32: 4, BF16: 2, F16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 }
const nativeNames: Record<string, string> = { float64: 'F64', float32: 'F32', bfloat16: 'BF16', float16: 'F16', int32: 'I32', uint8: 'U8' }

function totals({ files }: Part): { parameters: number; bytes: number } {
  let [parameters, bytes] = [0, 0]
  for (const { dtype, shape } of files.flatMap(({ weights }) => weights)) {
    const count = shape.reduce((product, size) => product * size, 1)
    parameters += count
    bytes += count * (bytesOf[nativeNames[dtype] ?? dtype.toUpperCase()] ?? 0)
  }
  return { parameters, bytes }
}

function describe(folder: string, parts: Part[]): string {
  const lines = [folder]
  for (const part of parts) {
    const { parameters, bytes } = totals(part)
    lines.push('', `${part.name === '' ? '.' : part.name}${parameters === 0 ? '' : `: ${(parameters / 1e6).toFixed(2)} M parameters, ${(bytes / 2 ** 20).toFixed(1)} MiB`}`)
    if (part.config !== undefined) lines.push(`  config ${JSON.stringify(part.config)}`)
    for (const { file, weights } of part.files) {
      lines.push(`  ${file}: ${weights.length} tensors`)
      const width = Math.max(...weights.map(({ name }) => name.length))
      for (const { name, dtype, shape } of weights) lines.push(`    ${name.padEnd(width)}  ${dtype.padEnd(8)}  [${shape.join(', ')}]`)
    }
  }
  const all = parts.map(totals)
  lines.push('', `total: ${(all.reduce((sum, { parameters }) => sum + parameters, 0) / 1e6).toFixed(2)} M parameters, ${(all.reduce((sum, { bytes }) => sum + bytes, 0) / 2 ** 20).toFixed(1)} MiB`)
  return lines.join('\n')
}
