// The public tensor handle, and the way from plain data to the device and back.

import { types } from 'node:util'
import { VinError, checkMade, expected, rangeError, typeError } from '../errors.js'
import { brand, ownArray } from '../realms.js'
import type { DType, NativeEngine, NativeTensor, TypedArray } from './binding.js'
import { abortable } from './cancel.js'
import { commonEngine, type Engine } from './engine.js'

/** A tensor on the JavaScript side: row-major, the last dimension is contiguous. */
export interface TensorData {
  data: Float32Array
  shape: number[]
}

/** A tensor on a device. It stays there; `read()` copies it. */
export class Tensor {
  static {
    brand(this, 'Tensor')
  }

  readonly #engine: NativeEngine
  readonly #native: NativeTensor
  readonly shape: number[]
  readonly dtype: DType
  #disposed = false

  /** Use `Tensor.from`. */
  constructor(engine: NativeEngine, tensor: NativeTensor) {
    checkMade(typeof tensor === 'object' && tensor !== null, 'Tensor', 'Tensor.from({ data, shape })')
    this.#engine = engine
    this.#native = tensor
    this.shape = [...tensor.shape]
    this.dtype = tensor.dtype
  }

  /** Uploads plain data. Without an engine the tensor lies in host memory. */
  static from(value: TensorData, engine: Engine = commonEngine()): Tensor {
    checkTensorData(value, 'value')
    return new Tensor(engine.native, engine.native.upload(value.data, value.shape))
  }

  /** Resolves with a copy, or rejects with the error of the work that should have made this tensor. */
  async read(): Promise<TensorData> {
    return readNative(this.native)
  }

  /**
  Another handle of the same numbers, disposed of by itself.

  @internal
  */
  view(): Tensor {
    return new Tensor(this.#engine, this.#engine.reshape(this.native, this.shape))
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#native.dispose()
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** The handle inside; throws after dispose. */
  get native(): NativeTensor {
    if (this.#disposed) throw new VinError('ERR_VIN_DISPOSED', `Expected a live tensor of shape [${this.shape.join(', ')}] but it was disposed`)
    return this.#native
  }

  get engine(): NativeEngine {
    return this.#engine
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose()
  }
}

/** What every public function takes where it wants a tensor. */
export type TensorLike = TensorData | Tensor

export async function readNative(tensor: NativeTensor): Promise<TensorData> {
  const { data, shape } = await readArray(tensor)
  return { data: data as Float32Array, shape }
}

/** A copy of a tensor of any type. */
export async function readArray(tensor: NativeTensor): Promise<{ data: TypedArray; shape: number[] }> {
  const { data, shape } = await tensor.read()
  return { data: ownArray(data), shape }
}

/** Whether a value is still to come; one that is there is read at the call, before its owner can change it. */
export function isPromiseLike<T extends TensorLike>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && 'then' in value
}

export function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

function checkTensorData(value: unknown, name: string): asserts value is TensorData {
  if (typeof value !== 'object' || value === null || !('data' in value) || !('shape' in value)) throw expected('{ data, shape } or a Tensor', name, value, 'type')
  const { data, shape } = value
  if (!types.isFloat32Array(data)) throw expected('a Float32Array', `${name}.data`, data, 'type')
  if (!Array.isArray(shape) || !shape.every((size) => Number.isInteger(size) && size >= 0)) throw expected('an array of sizes', `${name}.shape`, shape, 'type')
  if (elements(shape as number[]) !== data.length) {
    throw rangeError(`Expected ${elements(shape as number[])} numbers for ${name} of shape [${shape.join(', ')}] but received ${data.length}`)
  }
}

/** The shape of a tensor argument, checked: a number fixes that size, a letter names it, as in `[4, 'N', 'H', 'W']`. */
export function checkShape(value: TensorLike, name: string, pattern: readonly (number | string)[]): number[] {
  if (!(value instanceof Tensor)) checkTensorData(value, name)
  else if (value.dtype !== 'float32') throw typeError(`Expected a float32 tensor for ${name} but received ${value.dtype}`)
  const shape = value.shape
  const fits = shape.length === pattern.length && pattern.every((size, axis) => typeof size === 'string' || size === shape[axis])
  if (!fits) throw rangeError(`Expected shape [${pattern.join(', ')}] for ${name} but received [${shape.join(', ')}]`)
  return shape
}

/** Native tensors made for one piece of work, freed together. */
export class Scope {
  readonly #owned: NativeTensor[] = []
  #disposed = false

  /** A tensor that comes after the end, from work that was not waited for, goes at once. */
  add(tensor: NativeTensor): NativeTensor {
    if (this.#disposed) tensor.dispose()
    else this.#owned.push(tensor)
    return tensor
  }

  /** Frees all; each is released once the queued work that uses it has run. */
  dispose(): void {
    this.#disposed = true
    for (const tensor of this.#owned.splice(0)) tensor.dispose()
  }
}

/** A tensor argument on the engine. Plain data is uploaded; a handle of another engine is copied through the host. What was made is freed with the scope. */
export async function toNative(engine: NativeEngine, value: TensorLike, scope: Scope, signal?: AbortSignal): Promise<NativeTensor> {
  if (value instanceof Tensor) {
    if (value.engine === engine) return value.native
    const copy = await abortable(readNative(value.native), signal)
    return scope.add(engine.upload(copy.data, copy.shape))
  }
  return scope.add(engine.upload(value.data, value.shape))
}

/** The result in the form of the argument: a handle for a handle, plain data for plain data. The native tensor is consumed. */
export async function toResult<T extends TensorLike>(engine: NativeEngine, like: T, result: NativeTensor): Promise<T> {
  try {
    if (like instanceof Tensor) {
      await result.ready()
      return new Tensor(engine, result) as TensorLike as T
    }
    const plain = await readNative(result)
    result.dispose()
    return plain as TensorLike as T
  } catch (error) {
    result.dispose()
    throw error
  }
}
