// Options that several commands share, and how they become options of the library.

import type { GenerateOptions, ModelOptions } from '../index.js'
import { expected } from '../errors.js'
import { checkGenerateOptions, generateOptionNames, generateRules, type Flag } from '../options/generate.js'
import { resolveLimits } from '../options/limits.js'
import { resolveModelOptions } from '../options/model.js'
import { readFusion } from '../plan/fusion.js'
import { given, numberOption, seedOption } from './arguments.js'

export const modelArguments = {
  model: { type: 'string', description: "model folder, or 'demo'", default: 'demo', valueHint: 'folder' },
  device: { type: 'string', description: 'auto, cpu, cuda or cuda:N (auto)', valueHint: 'device' },
  dtype: { type: 'string', description: 'auto or float32 (auto, which is float32)', valueHint: 'type' },
  threads: { type: 'string', description: 'threads that compute (the cores)', valueHint: 'n' },
  'memory-budget': { type: 'string', description: 'most memory to take, in MiB (80 % of what is free)', valueHint: 'MiB' }
} as const

type SamplingRules = typeof generateRules
type SamplingFlag = Extract<SamplingRules[keyof SamplingRules], { flag: object }>['flag']
type SwitchName = Extract<SamplingFlag, { value: 'switch' }>['name']
type FlagName = Exclude<SamplingFlag['name'], SwitchName>

/** Options of generate that the command line has. */
const samplingFlags = generateOptionNames.flatMap((option) => {
  const rule = generateRules[option]
  return 'flag' in rule ? [{ option, ...rule.flag }] : []
})

export interface SamplingArgument {
  type: 'string'
  description: string
  valueHint: string
}

export interface SamplingSwitch {
  type: 'boolean'
  description: string
}

export const samplingArguments = {
  prompt: { type: 'positional', description: 'what to show', required: false },
  ...(Object.fromEntries(
    samplingFlags.map(({ name, value, hint, help, otherwise }) => [name, value === 'switch' ? { type: 'boolean', description: `${help} (${otherwise})` } : { type: 'string', description: `${help} (${otherwise})`, valueHint: hint }])
  ) as Record<FlagName, SamplingArgument> & Record<SwitchName, SamplingSwitch>)
} as const

export const outputArguments = {
  json: { type: 'boolean', description: 'one JSON object a line' }
} as const

/** The values of options by name; of a switch that is on, 'true'. */
export type Values = Readonly<Record<string, string | undefined>>

/** Parsed arguments as texts. */
export function textValues(args: Record<string, unknown>): Values {
  return Object.fromEntries(Object.entries(args).flatMap(([name, value]) => (typeof value === 'string' || value === true ? [[name, String(value)]] : [])))
}

/** @throws RangeError, TypeError or ERR_VIN_NOT_SUPPORTED for what no model can be opened with */
export function modelOptions(values: Values): ModelOptions {
  const mebibytes = numberOption(values['memory-budget'], '--memory-budget')
  if (mebibytes !== undefined && !(mebibytes > 0 && mebibytes < 2 ** 32)) throw expected('a number of MiB above 0', '--memory-budget', values['memory-budget'], 'range')
  const options = given({
    device: values['device'] as ModelOptions['device'],
    dtype: values['dtype'] as ModelOptions['dtype'],
    threads: numberOption(values['threads'], '--threads'),
    memoryBudget: mebibytes === undefined ? undefined : Math.ceil(mebibytes * 2 ** 20)
  })
  resolveModelOptions(options)
  return options
}

/**
Texts become numbers, and what no model would take is refused, before one is opened.

@throws RangeError, TypeError or ERR_VIN_NOT_SUPPORTED
*/
export function samplingOptions(values: Values): GenerateOptions {
  const read = ({ name, value }: Pick<Flag, 'name' | 'value'>): unknown => {
    if (value === 'text' || (value === 'number or text' && Number.isNaN(Number(values[name] ?? NaN)))) return values[name]
    if (value === 'fusion') return values[name] === undefined ? undefined : readFusion(values[name])
    if (value === 'switch') return values[name] === 'true' ? true : undefined
    return value === 'seed' ? seedOption(values[name]) : numberOption(values[name], `--${name}`)
  }
  const options: GenerateOptions = given(Object.fromEntries([['prompt', values['prompt']], ...samplingFlags.map((flag) => [flag.option, read(flag)])]))
  checkGenerateOptions(options, resolveLimits())
  return options
}
