// Device names, and which plug-in serves a CUDA device. 'cpu' probes nothing.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { VinError, expected } from '../errors.js'
import type { Binding, DeviceInfo } from './binding.js'
import { findDriver } from './driver.js'
import type { Logger } from './log.js'
import { packageRoot } from './package-root.js'
import { checkPluginFile, findPlugins, type Plugin, type RejectedBackend } from './plugins.js'
import { Proof, checkSelfTestVariables } from './proof.js'

export type { RejectedBackend } from './plugins.js'

export type Device = 'auto' | 'cpu' | 'cuda' | `cuda:${number}` | 'cuda-emu' | 'cuda-ptx'

// Those of the tests are not for users.
const names = "'auto', 'cpu', 'cuda' or 'cuda:N'"

/** A device name as options give it. */
export function checkDevice(device: unknown): Device {
  if (device === undefined) return 'auto'
  if (typeof device !== 'string') throw expected(`one of ${names}`, 'device', device, 'type')
  if (!/^(auto|cpu|cuda|cuda:(0|[1-9]\d{0,2})|cuda-emu|cuda-ptx)$/.test(device)) throw expected(`one of ${names}`, 'device', device, 'range')
  return device as Device
}

export function isTestDevice(device: Device): device is 'cuda-emu' | 'cuda-ptx' {
  return device === 'cuda-emu' || device === 'cuda-ptx'
}

/** The file of a test device: the CUDA backend's sources on the host, which exist only where a developer built them. */
export function testBackend(device: 'cuda-emu' | 'cuda-ptx'): string {
  const kind = device.slice('cuda-'.length)
  const backendPath = join(packageRoot(), 'build-backends', kind, 'libvin_cuda.so')
  if (existsSync(backendPath)) return backendPath
  throw new VinError('ERR_VIN_BACKEND_UNAVAILABLE', `Expected the test backend ${backendPath} for device '${device}' but it is not there; \`npm run build:${kind}\` makes it`, {
    device,
    rejected: [{ backend: backendPath, code: 'not_found', reason: `not built; run npm run build:${kind}` } satisfies RejectedBackend]
  })
}

export interface PluginOptions {
  binding: Binding
  /** The addon's file, where it has one. */
  addon: string | undefined
  logger?: Pick<Logger, 'debug'> | undefined
  signal?: AbortSignal | undefined
}

/** What speaks against a plug-in, where that is what an error says; what else goes wrong, a full device too, is thrown. */
function rejection(error: unknown, backend: string): RejectedBackend {
  const reason = error instanceof VinError && error.code === 'ERR_VIN_BACKEND_UNAVAILABLE' ? error.details['reason'] : undefined
  if (typeof reason !== 'string') throw error
  return { backend, code: reason as RejectedBackend['code'], reason: (error as VinError).message }
}

/** The plug-in's own proof, once its file is whole and the driver that it needs is there. Neither is loaded in this process before a verdict says that they do no harm. */
async function proofOf(plugin: Plugin, device: string, options: PluginOptions): Promise<Proof | RejectedBackend> {
  const file = await checkPluginFile(plugin)
  if ('code' in file) return file
  const driver = file.needsDriver ? findDriver(options.binding) : { identity: '' }
  if ('code' in driver) return { backend: plugin.path, ...driver }
  return new Proof({ ...options, backendPath: plugin.path, sha256: file.sha256, driver: driver.identity, device })
}

/**
The first plug-in that gives the device, opened by `open`, and what was passed over. undefined: none does.

@param open an engine on the plug-in's device; what it rejects with ERR_VIN_BACKEND_UNAVAILABLE speaks against that plug-in alone
@throws RangeError for a wrong variable of the self-test, whatever plug-ins there are
*/
export async function openPlugin<E extends { hardware: DeviceInfo | undefined; close(): Promise<void> }>(
  device: string,
  options: PluginOptions,
  open: (backendPath: string) => Promise<E>
): Promise<{ opened: E | undefined; rejected: RejectedBackend[] }> {
  checkSelfTestVariables()
  const rejected: RejectedBackend[] = []
  for (const plugin of await findPlugins()) {
    if ('code' in plugin) {
      rejected.push(plugin)
      continue
    }
    try {
      const proof = await proofOf(plugin, device, options)
      if ('code' in proof) {
        rejected.push(proof)
        continue
      }
      if (!(await proof.isKnown())) await proof.test()
      let opened = await open(plugin.path)
      // Another GPU than those that were tested, or another driver.
      if (!(await proof.accepts(opened.hardware))) {
        await opened.close()
        await proof.test()
        opened = await open(plugin.path)
      }
      if (options.signal?.aborted === true) {
        await opened.close()
        throw options.signal.reason
      }
      return { opened, rejected }
    } catch (error) {
      rejected.push(rejection(error, plugin.path))
    }
  }
  return { opened: undefined, rejected }
}

/** What there is for device 'cuda', for people: every plug-in, tested now, with the devices that it shows. @throws as `openPlugin` */
export async function examinePlugins(options: PluginOptions): Promise<({ backend: string; id: string; toolkit: string; devices: DeviceInfo[] } | RejectedBackend)[]> {
  checkSelfTestVariables()
  const found = []
  for (const plugin of await findPlugins()) {
    if ('code' in plugin) {
      found.push(plugin)
      continue
    }
    try {
      const proof = await proofOf(plugin, 'cuda:0', options)
      found.push('code' in proof ? proof : { backend: plugin.path, id: plugin.id, toolkit: plugin.toolkit, devices: (await proof.test(true)).devices })
    } catch (error) {
      const full = error instanceof VinError && error.code === 'ERR_VIN_OUT_OF_MEMORY'
      found.push(full ? { backend: plugin.path, code: 'device_failed' as const, reason: error.message } : rejection(error, plugin.path))
    }
  }
  return found
}

/** 13000 is 13.0. */
export const versionOf = (driver: number): string => `${Math.floor(driver / 1000)}.${Math.floor((driver % 1000) / 10)}`

export function unavailable(device: Device, rejected: RejectedBackend[]): VinError {
  const list = rejected.map(({ backend, code, reason }) => `  ${backend}: ${code}, ${reason}`).join('\n')
  return new VinError('ERR_VIN_BACKEND_UNAVAILABLE', `Expected a CUDA backend for device '${device}' but every candidate was refused:\n${list}\nUse device 'auto' or 'cpu'.`, {
    device,
    rejected
  })
}

/** What speaks of no GPU that could have been used: there is no plug-in, no driver, no device. */
const silent: readonly RejectedBackend['code'][] = ['not_found', 'libc', 'driver_missing', 'wsl_driver', 'no_device']

/** The refusals that a person may want to mend. */
export function worthTelling(rejected: readonly RejectedBackend[]): RejectedBackend[] {
  return rejected.filter(({ code }) => !silent.includes(code))
}
