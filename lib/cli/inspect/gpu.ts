// inspect gpu: every CUDA backend that could serve, those of the tests too, and why one cannot.

import { VinError } from '../../errors.js'
import { resolveDevice, type Device, type RejectedBackend } from '../../native/backends.js'
import type { Inspection } from '../inspect.js'

interface Candidate extends Partial<RejectedBackend> {
  /** The option `device` that would take it. */
  device: Device
  usable: boolean
}

/** What a device name means here. */
function candidates(device: Device): Candidate[] {
  try {
    const { device: found, backendPath, rejected } = resolveDevice(device)
    return [...(backendPath === undefined ? [] : [{ device: found as Device, usable: true, backend: backendPath }]), ...rejected.map((each) => ({ device, usable: false, ...each }))]
  } catch (error) {
    if (!(error instanceof VinError) || error.code !== 'ERR_VIN_BACKEND_UNAVAILABLE') throw error
    return (error.details['rejected'] as RejectedBackend[]).map((each) => ({ device, usable: false, ...each }))
  }
}

export function inspectGpu(): Inspection {
  const { device } = resolveDevice('auto')
  const backends = (['cuda', 'cuda-emu', 'cuda-ptx'] as const).flatMap(candidates)
  const lines = backends.map(({ device: name, usable, backend, code, reason }) => `  ${name} ${backend}: ${usable ? 'can be used' : `${code}, ${reason}`}`)
  return { text: [`device 'auto' is ${device}`, ...lines].join('\n'), json: { device, backends } }
}
