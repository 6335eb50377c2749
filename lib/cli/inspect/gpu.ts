// inspect gpu: every CUDA plug-in that could serve, tested now, with the devices that it shows; in a clone the builds of tests too; and why one cannot serve.

import { VinError } from '../../errors.js'
import { examinePlugins, testBackend, versionOf, type Device, type RejectedBackend } from '../../native/backends.js'
import type { DeviceInfo } from '../../native/binding.js'
import { loadAddon } from '../../native/load.js'
import { isClone } from '../../native/package-root.js'
import type { Inspection } from '../inspect.js'

interface Candidate extends Partial<RejectedBackend> {
  /** The option `device` that would take it. */
  device: Device
  usable: boolean
  toolkit?: string
  devices?: DeviceInfo[]
}

function testCandidate(device: 'cuda-emu' | 'cuda-ptx'): Candidate {
  try {
    return { device, usable: true, backend: testBackend(device) }
  } catch (error) {
    if (!(error instanceof VinError) || error.code !== 'ERR_VIN_BACKEND_UNAVAILABLE') throw error
    return { device, usable: false, ...(error.details['rejected'] as [RejectedBackend])[0] }
  }
}

function describe({ device, usable, backend, code, reason, devices, toolkit }: Candidate): string[] {
  const gibibytes = (bytes: number): string => (bytes / 2 ** 30).toFixed(1)
  const line = `  ${device} ${backend}: ${usable ? `can be used${toolkit === undefined ? '' : `, CUDA ${toolkit}`}` : `${code}, ${reason}`}`
  const hardware = (devices ?? []).map(({ name, uuid, arch, driver, multiprocessors, totalBytes, freeBytes }, ordinal) =>
    `    cuda:${ordinal} ${name}, sm_${arch}, ${multiprocessors} multiprocessors, ${gibibytes(freeBytes)} of ${gibibytes(totalBytes)} GiB free, driver for CUDA ${versionOf(driver)}, GPU-${uuid}`
  )
  return [line, ...hardware]
}

export async function inspectGpu(_folder: unknown, _values: unknown, _reporter: unknown, signal: AbortSignal): Promise<Inspection> {
  const { binding, path } = loadAddon()
  const plugins = (await examinePlugins({ binding, addon: path, signal })).map((each): Candidate => ('code' in each ? { device: 'cuda', usable: false, ...each } : { device: 'cuda', usable: true, backend: each.backend, toolkit: each.toolkit, devices: each.devices }))
  const device = plugins.some(({ usable }) => usable) ? 'cuda:0' : 'cpu'
  const backends = [...plugins, ...(isClone() ? [testCandidate('cuda-emu'), testCandidate('cuda-ptx')] : [])]
  return { text: [`device 'auto' is ${device}`, ...backends.flatMap(describe)].join('\n'), json: { device, backends } }
}
