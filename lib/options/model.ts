// Options of everything that opens a model: where it runs and what bounds it.

import { checkFunction, checkInteger, checkOneOf, checkOptions, checkSignal, unchecked, type Checks } from '../check.js'
import { expected, notSupported, rangeError } from '../errors.js'
import { checkDevice, type Device } from '../native/backends.js'
import type { NativeBinding } from '../native/load.js'
import { checkLogger, type Logger } from '../native/log.js'
import { defaultLimits, resolveLimits, type Limits, type ResolvedLimits } from './limits.js'

export type ComputeType = 'auto' | 'float32' | 'bfloat16' | 'int8'

/** Progress of loading a model: bytes of weight files read. */
export interface LoadProgress {
  component: string
  done: number
  total: number
}

/** Parts of a transformer that method 'streaming-t2v' needs beside the backbone (methods.md §5). */
export const streamingParts = ['cam', 'apm'] as const
/** Parts of a transformer beside backbone and VIN. */
export const transformerParts = [...streamingParts, 'fusion', 'memory'] as const
export type TransformerPart = (typeof transformerParts)[number]

export interface ModelOptions {
  /**
  Where the model runs. 'cuda' is 'cuda:0'; N counts the GPUs that the driver shows. 'auto' takes 'cuda:0' where there is one, else the CPU: with one warning
  (`VIN_CPU_FALLBACK`) where a GPU is there and was refused. A GPU is tested before its first use, in a child process.

  @default 'auto'
  @throws ERR_VIN_BACKEND_UNAVAILABLE naming every candidate and why, for a device that cannot be had; ERR_VIN_OUT_OF_MEMORY for one that is full
  */
  device?: Device | undefined
  /**
  Numbers the model computes with; 'auto' is float32 on the CPU.

  @default 'auto'
  @throws ERR_VIN_NOT_SUPPORTED for one that the device cannot compute with
  */
  dtype?: ComputeType | undefined
  /**
  Threads that compute. Results do not depend on it.

  @default the cores of the cgroup
  @throws RangeError outside 1 … 1024
  */
  threads?: number | undefined
  /** Most device memory that may be taken, in bytes. @default 80 % of the memory that is free: the cgroup's, or the GPU's */
  memoryBudget?: number | undefined
  /**
  Runs of a pipeline that may wait while another one samples; one more is refused with ERR_VIN_QUEUE_FULL. 0: none waits.

  @default 100
  */
  queueLimit?: number | undefined
  /**
  Parts that the transformer gets untrained where its checkpoint has none of them, always with the same values: 'cam', which begins as a copy of the first half of
  its layers, and 'apm', both of method 'streaming-t2v'; 'fusion', the weights of `fusion: { weights: 'learned' }`; 'memory', the `vin.memory.*` of `globalTokenMemory`, for a model with a VIN. Untrained they change nothing; `Trainer` trains
  them (`trainable: 'cam'`, `'apm'`, `'fusion'`; 'memory' with `vin.*`, by its option `globalTokenMemory`), and `save` writes them.

  @default none
  */
  addParts?: readonly TransformerPart[] | undefined
  /**
  Numbers K of the head `vin.global_features.*`, which the transformer gets untrained where its checkpoint has none: what the global tokens are to tell of a whole video
  in training (`globalFeatures` of an example, `globalFeatureWeight` of Trainer). No video depends on it, and `save` writes it.

  @default none
  @throws RangeError for a model without a VIN, or whose head has another K
  */
  globalFeatures?: number | undefined
  /** Bounds on files and requests, by name. */
  limits?: Limits | undefined
  /**
  vin-native.node: a path, or the loaded addon. What has no such option (`randn`, schedulers, tensors) takes the one given last, where it finds no other.

  @default VIN_NATIVE_BINDING, then the installed one
  */
  nativeBinding?: NativeBinding | undefined
  /** Stops loading. */
  signal?: AbortSignal | undefined
  /** Called while weights are read. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /**
  pino, or anything of its shape: `warn(facts, message)` gets the warnings of loading, of runs and of saving, `debug(facts, message)` what was loaded, from where and why.

  @default none: runs keep their warnings, loading warns through process.emitWarning, and NODE_DEBUG=vin-native shows what was loaded
  @throws TypeError for one without debug and warn
  */
  logger?: Logger | undefined
}

/** Every option; those without a default are undefined where they were not given. */
export interface ResolvedModelOptions extends Readonly<Omit<ModelOptions, 'limits'>> {
  readonly device: Device
  readonly dtype: ComputeType
  readonly queueLimit: number
  readonly limits: ResolvedLimits
}

function checkComputeType(value: unknown, name: string): ComputeType {
  if (value === 'bfloat16' || value === 'int8') throw notSupported(name, `Expected 'auto' or 'float32' for dtype but received '${value}', which no backend of this version computes with`)
  return checkOneOf<ComputeType>(value, name, ['auto', 'float32'])
}

function checkParts(value: unknown, name: string): readonly TransformerPart[] {
  if (!Array.isArray(value)) throw expected("an array of 'cam', 'apm', 'fusion' and 'memory'", name, value, 'type')
  const parts = value.map((part: unknown) => checkOneOf(part, name, transformerParts))
  const again = parts.find((part, i) => parts.indexOf(part) < i)
  if (again !== undefined) throw rangeError(`Expected each part once for ${name} but received '${again}' twice`)
  return parts
}

/** Each option once. */
const modelChecks: Checks<ModelOptions> = {
  device: checkDevice,
  dtype: checkComputeType,
  threads: (value, name) => checkInteger(value, name, 1, 1024),
  memoryBudget: (value, name) => checkInteger(value, name, 1, Number.MAX_SAFE_INTEGER),
  queueLimit: (value, name) => checkInteger(value, name, 0, 1_000_000),
  addParts: checkParts,
  globalFeatures: (value, name) => checkInteger(value, name, 1, 65_536),
  limits: resolveLimits,
  nativeBinding: unchecked,
  signal: checkSignal,
  onProgress: (value, name) => checkFunction(value as ModelOptions['onProgress'], name),
  logger: checkLogger
}

export const modelOptionNames = Object.keys(modelChecks)

/** Checked, with defaults, frozen. Does no native work. */
export function resolveModelOptions(options: ModelOptions = {}, what = 'fromPretrained'): ResolvedModelOptions {
  const { limits = defaultLimits, ...given } = checkOptions(options, what, modelChecks)
  return Object.freeze({ device: 'auto', dtype: 'auto', queueLimit: 100, ...given, limits: limits as ResolvedLimits })
}
