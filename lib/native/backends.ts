// Device names, and the backend plug-ins that could serve them. 'cpu' probes nothing.

import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { VinError, expected } from '../errors.js'
import { packageRoot, resolveFrom } from './package-root.js'

export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}` | 'cuda-emu' | 'cuda-ptx'

/** Why a backend plug-in was not used. */
export interface RejectedBackend {
  backend: string
  code: 'not_found' | 'libc' | 'abi' | 'driver_missing' | 'driver_too_old' | 'no_code_for_device' | 'dlopen' | 'corrupt' | 'selftest_failed' | 'selftest_timeout'
  reason: string
}

export interface ResolvedDevice {
  /** As the engine takes it: 'cpu' 'cuda:0' … */
  device: string
  /** The plug-in's file; absent: the CPU backend inside the addon. */
  backendPath?: string
  rejected: RejectedBackend[]
}

// Those of the tests are not for users.
const names = "'auto', 'cpu', 'cuda' or 'cuda:N'"

/** A device name as options give it. */
export function checkDevice(device: unknown): Device {
  if (device === undefined) return 'auto'
  if (typeof device !== 'string') throw expected(`one of ${names}`, 'device', device, 'type')
  if (!/^(auto|cpu|cuda|cuda:\d{1,3}|cuda-emu|cuda-ptx)$/.test(device)) throw expected(`one of ${names}`, 'device', device, 'range')
  return device as Device
}

export function resolveDevice(device: Device): ResolvedDevice {
  if (device === 'cpu') return { device: 'cpu', rejected: [] }
  if (device === 'cuda-emu' || device === 'cuda-ptx') return resolveTestDevice(device)
  const rejected = cudaCandidates()
  if (device === 'auto') return { device: 'cpu', rejected }
  const list = rejected.map(({ backend, code, reason }) => `  ${backend}: ${code}, ${reason}`).join('\n')
  throw new VinError('ERR_VIN_BACKEND_UNAVAILABLE', `Expected a CUDA backend for device '${device}' but every candidate was refused:\n${list}\nUse device 'auto' or 'cpu'.`, {
    device,
    rejected
  })
}

/** The CUDA backend's sources on the host; they exist only where a developer built them. */
function resolveTestDevice(device: 'cuda-emu' | 'cuda-ptx'): ResolvedDevice {
  const kind = device.slice('cuda-'.length)
  const backendPath = join(packageRoot(), 'build-backends', kind, 'libvin_cuda.so')
  if (existsSync(backendPath)) return { device, backendPath, rejected: [] }
  throw new VinError('ERR_VIN_BACKEND_UNAVAILABLE', `Expected the test backend ${backendPath} for device '${device}' but it is not there; \`npm run build:${kind}\` makes it`, {
    device,
    rejected: [{ backend: backendPath, code: 'not_found', reason: `not built; run npm run build:${kind}` } satisfies RejectedBackend]
  })
}

/** Every place where a CUDA plug-in may lie, with the reason why it cannot be used. The plug-ins of this version are the two test builds above. */
function cudaCandidates(): RejectedBackend[] {
  const root = packageRoot()
  const asked = process.env['VIN_NATIVE_BACKEND_PATH']
  const folders = [
    ...(asked === undefined || asked === '' ? [] : [resolve(asked)]),
    join(root, 'build-backends', 'stage', 'backends'),
    join(root, 'prebuilds', `${process.platform}-${process.arch}`, 'backends'),
    ...['cuda13', 'cuda12'].map((id) => optionalPackage(`@vin-native/${process.platform}-${process.arch}-${id}`))
  ]
  return folders.map((folder) =>
    existsSync(join(folder, 'manifest.json'))
      ? { backend: folder, code: 'abi', reason: 'this version of the addon drives no CUDA plug-in' }
      : { backend: folder, code: 'not_found', reason: 'no CUDA plug-in is installed there' }
  )
}

function optionalPackage(name: string): string {
  try {
    return dirname(resolveFrom(`${name}/package.json`))
  } catch {
    return name
  }
}
