// Options of everything that opens a model: where it runs and what bounds it.

import { checkFunction, checkInteger, checkNames, checkOneOf, checkSignal } from '../check.js'
import { notSupported } from '../errors.js'
import { checkDevice, type Device } from '../native/backends.js'
import type { EngineOptions } from '../native/engine.js'
import type { NativeBinding } from '../native/load.js'
import { checkLogger, type Logger } from '../native/log.js'
import { resolveLimits, type Limits, type ResolvedLimits } from './limits.js'

export type ComputeType = 'auto' | 'float32' | 'bfloat16' | 'int8'

/** Progress of loading a model: bytes of weight files read. */
export interface LoadProgress {
  component: string
  done: number
  total: number
}

export interface ModelOptions {
  /**
  Where the model runs.

  @default 'auto'
  @throws ERR_VIN_BACKEND_UNAVAILABLE naming every candidate, for a device that is not there
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
  /** Most device memory that may be taken, in bytes. @default 80 % of the memory that is free */
  memoryBudget?: number | undefined
  /**
  Runs of a pipeline that may wait while another one samples; one more is refused with ERR_VIN_QUEUE_FULL. 0: none waits.

  @default 100
  */
  queueLimit?: number | undefined
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

export interface ResolvedModelOptions extends EngineOptions {
  device: Device
  dtype: ComputeType
  queueLimit: number
  limits: ResolvedLimits
  signal: AbortSignal | undefined
  onProgress: ((progress: LoadProgress) => void) | undefined
  logger: Logger | undefined
}

export const modelOptionNames = ['device', 'dtype', 'threads', 'memoryBudget', 'queueLimit', 'limits', 'nativeBinding', 'signal', 'onProgress', 'logger'] as const

/** Checked, with defaults, frozen. Does no native work. */
export function resolveModelOptions(options: ModelOptions = {}, what = 'fromPretrained'): ResolvedModelOptions {
  checkNames(options, what, modelOptionNames)
  const { threads, memoryBudget } = options
  const { dtype: asked = 'auto' } = options
  if (asked === 'bfloat16' || asked === 'int8') throw notSupported('dtype', `Expected 'auto' or 'float32' for dtype but received '${asked}', which no backend of this version computes with`)
  const dtype = checkOneOf<ComputeType>(asked, 'dtype', ['auto', 'float32'])
  return Object.freeze({
    device: checkDevice(options.device),
    dtype,
    threads: threads === undefined ? undefined : checkInteger(threads, 'threads', 1, 1024),
    memoryBudget: memoryBudget === undefined ? undefined : checkInteger(memoryBudget, 'memoryBudget', 1, Number.MAX_SAFE_INTEGER),
    queueLimit: options.queueLimit === undefined ? 100 : checkInteger(options.queueLimit, 'queueLimit', 0, 1_000_000),
    limits: resolveLimits(options.limits),
    nativeBinding: options.nativeBinding,
    signal: checkSignal(options.signal),
    onProgress: checkFunction(options.onProgress, 'onProgress'),
    logger: checkLogger(options.logger)
  })
}
