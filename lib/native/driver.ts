// NVIDIA's driver as far as it can be known without loading it: a library that hangs or crashes as it is loaded has to meet the self-test's process first.

import { accessSync, readFileSync, readdirSync, statSync } from 'node:fs'
import type { Binding } from './binding.js'
import type { RejectedBackend } from './plugins.js'

/** What a plug-in opens as it is loaded. */
export const driverLibrary = 'libcuda.so.1'
/** Where Windows puts the driver for a Linux of its own; plug-ins look there too. */
const lent = '/usr/lib/wsl/lib/libcuda.so.1'
/** The kernel's part of the driver, which containers see too. */
const kernelPart = '/proc/driver/nvidia'

function isThere(path: string): boolean {
  try {
    accessSync(path)
    return true
  } catch {
    return false
  }
}

/** A fact of the machine, '' where it cannot be read. */
function told<T>(read: () => T): T | '' {
  try {
    return read()
  } catch {
    return ''
  }
}

/**
Which driver a plug-in would load: its files, the version of its kernel module, and the slots of its GPUs, which a verdict of a self-test is kept for. Or why there is none.
*/
export function findDriver(binding: Binding): { identity: string } | Pick<RejectedBackend, 'code' | 'reason'> {
  const files = [...binding.findLibrary(driverLibrary), ...[lent].filter(isThere)]
  if (files.length === 0) return missing()
  const facts = files.map((file) => [file, told(() => statSync(file))] as const).map(([file, stats]) => (stats === '' ? [file] : [file, stats.dev, stats.ino, stats.size, stats.mtimeMs]))
  return { identity: JSON.stringify([facts, told(() => readFileSync(`${kernelPart}/version`, 'utf8')), told(() => readdirSync(`${kernelPart}/gpus`).sort())]) }
}

function missing(): Pick<RejectedBackend, 'code' | 'reason'> {
  if (isThere('/usr/lib/wsl') || isThere('/dev/dxg')) {
    return { code: 'wsl_driver', reason: `Expected ${lent}, which Windows lends, but it is not there; install NVIDIA's driver in Windows (none in this Linux) and run \`wsl --update\`, or use device 'cpu'` }
  }
  if (isThere(`${kernelPart}/version`)) {
    return { code: 'no_access', reason: `Expected ${driverLibrary}, since the machine has NVIDIA's driver, but it is not here; start the container with --gpus all (NVIDIA Container Toolkit), or install the driver's libraries` }
  }
  return { code: 'driver_missing', reason: `Expected NVIDIA's driver but ${driverLibrary} was not found; install the driver, or use device 'cpu'` }
}
