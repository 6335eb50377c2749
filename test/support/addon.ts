// The addon for tests that call it directly, and the emulated CUDA backend where it was built.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { loadBinding } from '../../lib/native/load.js'

export const root = join(import.meta.dirname, '..', '..')

export const binding = () => loadBinding()

/** build-backends/emu/libvin_cuda.so, or undefined on machines without CMake. */
export const emulatedBackend: string | undefined = [join(root, 'build-backends/emu/libvin_cuda.so')].find((path) => existsSync(path))

/** The plug-in for a real GPU that VIN_GPU_BACKEND names. */
export const gpuBackend: string | undefined = process.env['VIN_GPU_BACKEND'] || undefined
