// What a device is asked before it is trusted with a model: a few ops with inputs that a seed gives, and the CPU's numbers for them (packaging.md §5.5).

import { VinError } from '../errors.js'
import type { Binding, DeviceInfo, NativeEngine, NativeTensor, OpArguments } from './binding.js'

/** Normals by seed and shape are the tensors of an op; its output is `y`. */
interface Case {
  op: string
  y: number[]
  tensors: Record<string, number[]>
  numbers?: Record<string, number>
  /** Of the largest value: sums of fp32 in two orders differ by some 1e-6, what a wrong kernel makes by far more. 0: the same bits are promised. */
  tolerance: number
}

// Odd sizes, and with more than one block of threads. Values are of the order of 1.
const cases: Case[] = [
  { op: 'randn', y: [4, 5, 6, 7], tensors: {}, numbers: { seed_low: 7, seed_high: 0, stream: 0, frame_major: 1 }, tolerance: 0 },
  { op: 'add', y: [37, 131], tensors: { a: [37, 131], b: [37, 131] }, tolerance: 0 },
  { op: 'linear', y: [70, 67], tensors: { x: [70, 129], weight: [67, 129], bias: [67], residual: [70, 67] }, numbers: { activation: 1 }, tolerance: 1e-4 },
  { op: 'attention', y: [2, 3, 17, 72], tensors: { q: [2, 3, 17, 72], k: [2, 3, 41, 72], v: [2, 3, 41, 72] }, numbers: { scale: 0.125 }, tolerance: 1e-4 },
  { op: 'layer_norm_modulate', y: [33, 144], tensors: { x: [33, 144], scale: [1, 144], shift: [1, 144] }, numbers: { eps: 1e-6 }, tolerance: 1e-4 },
  { op: 'conv3d', y: [3, 5, 6, 9], tensors: { x: [3, 5, 6, 8], weight: [9, 8, 3, 3, 3], bias: [9] }, numbers: { stride_t: 1, stride_s: 1, pad_t: 1, pad_s: 1 }, tolerance: 1e-4 }
]

const elements = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1)

/** The same numbers on every machine, from −1 to 1. */
function numbersOf(shape: readonly number[], seed: number): Float32Array {
  let state = seed * 2654435761 + 1
  return Float32Array.from({ length: elements(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return (state >> 8) / 2 ** 23
  })
}

async function run(engine: NativeEngine, { op, y, tensors, numbers }: Case): Promise<Float32Array> {
  const made: NativeTensor[] = []
  const keep = (tensor: NativeTensor): NativeTensor => (made.push(tensor), tensor)
  try {
    const inputs = Object.entries(tensors).map(([name, shape], i) => [name, keep(engine.upload(numbersOf(shape, i + 1), shape))] as const)
    const args: OpArguments = { y: { shape: y }, ...Object.fromEntries(inputs), ...numbers }
    const result = keep(engine.op(op, args)['y'] as NativeTensor)
    return (await result.read()).data as Float32Array
  } finally {
    for (const tensor of made) tensor.dispose()
  }
}

const ofDevices = new Set<string>(['ERR_VIN_BACKEND_UNAVAILABLE', 'ERR_VIN_DEVICE', 'ERR_VIN_OUT_OF_MEMORY'])
const report = 'update the driver, and report this with the output of npx vin-native doctor --json'

function failed(message: string, file: string, cause?: unknown): VinError {
  return new VinError('ERR_VIN_BACKEND_UNAVAILABLE', message, { file, reason: 'selftest_failed' }, { cause })
}

export interface SelfTest {
  /** As the engine takes it: 'cuda:0' */
  device: string
  backendPath: string
}

/**
Runs the cases on a plug-in's device and on the CPU.

@throws ERR_VIN_BACKEND_UNAVAILABLE `{reason}` as the plug-in has it, or 'selftest_failed' where the numbers are not the CPU's; ERR_VIN_DEVICE, ERR_VIN_OUT_OF_MEMORY
*/
export async function selfTest(binding: Binding, { device, backendPath }: SelfTest): Promise<DeviceInfo | undefined> {
  const tested = await binding.openEngine({ device, backendPath, threads: 1 })
  const name = tested.info.hardware?.name || device
  const answerOf = async (each: Case): Promise<Float32Array> => {
    try {
      return await run(tested, each)
    } catch (error) {
      // The arguments are right: what else is said of them, by a device without memory, say, is for who mends this library.
      throw error instanceof VinError && ofDevices.has(error.code) ? error : failed(`Expected ${name} to compute the op ${each.op} but it refuses; ${report}`, backendPath, error)
    }
  }
  try {
    const cpu = binding.createEngine({ device: 'cpu', threads: 1 })
    try {
      for (const each of cases) {
        const [found, expected] = [await answerOf(each), await run(cpu, each)]
        const bound = each.tolerance * expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
        const wrong = expected.findIndex((value, i) => !(Math.abs((found[i] ?? NaN) - value) <= bound))
        if (wrong < 0) continue
        const where = `${found[wrong] ?? 'nothing'} instead of ${expected[wrong] ?? 'nothing'} at ${wrong} of ${expected.length}`
        throw failed(`Expected the CPU's numbers of the op ${each.op} from ${name} but it gave ${where}; ${report}`, backendPath)
      }
    } finally {
      await cpu.dispose()
    }
    return tested.info.hardware
  } finally {
    await tested.dispose()
  }
}
