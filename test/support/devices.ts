// What a test of numbers runs on: the CPU, or each of its instruction sets, then every CUDA plug-in that is there. One way for tests of ops, models, pipelines and training.
import { dirname, join } from 'node:path'
import type { Device } from '../../lib/native/backends.js'
import type { NativeEngine } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { emulatedBackend, gpuBackend } from './addon.js'

const plugins: Record<string, string | undefined> = { 'cuda-emu': emulatedBackend, cuda: gpuBackend }

/** The emulated plug-in where it was built, and the one for a real GPU that VIN_GPU_BACKEND names. */
export const cudaDevices = Object.keys(plugins).filter((name) => plugins[name] !== undefined) as Device[]

// The package finds it by the manifest that build:cuda puts beside it.
if (gpuBackend !== undefined) process.env['VIN_NATIVE_BACKEND_PATH'] ??= join(dirname(gpuBackend), '..')

export const devices: Device[] = ['cpu', ...cudaDevices]

/** Each of these on each device, for `describe.each` and `test.each`. */
export const onDevices = <T>(cases: readonly T[]): [T, Device][] => devices.flatMap((device) => cases.map((one): [T, Device] => [one, device]))

/** Instruction sets of this machine, each of which is a CPU of its own bits, then CUDA. */
export const devicesAndSets: string[] = [...loadBinding().cpuFeatures(), ...cudaDevices]

/** Whether the device works behind the caller's back: what it finds in its memory it cannot refuse. */
export const isAsynchronous = (device: string): boolean => device in plugins

/** An engine on one of the names above. */
export function openEngine(device: string, threads = 2): NativeEngine {
  if (isAsynchronous(device)) return loadBinding().createEngine({ device, threads, backendPath: plugins[device]! })
  return loadBinding().createEngine({ device: 'cpu', threads, ...(device === 'cpu' ? {} : { isa: device }) })
}

/** The option `device` for one of the names above; an instruction set is asked for by the environment, until the next call. */
export function deviceOf(name: string): Device {
  if (isAsynchronous(name) || name === 'cpu') {
    delete process.env['VIN_NATIVE_ISA']
    return name as Device
  }
  process.env['VIN_NATIVE_ISA'] = name
  return 'cpu'
}
