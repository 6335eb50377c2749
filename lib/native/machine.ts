// What this process may use: cores and memory of its cgroup, not of the whole machine.

import { readFileSync } from 'node:fs'
import { availableParallelism, freemem } from 'node:os'

/** The oldest glibc that prebuilt addons run on; tools/check-symbols.mjs holds them to it. */
export const glibcFloor = '2.28'

function readNumbers(path: string): number[] | undefined {
  try {
    return readFileSync(path, 'utf8').trim().split(/\s+/).map(Number)
  } catch {
    return undefined
  }
}

/** Cores of the cgroup (v2, then v1), rounded up; never more than the cores this process may run on. */
export function coresAvailable(): number {
  const cores = availableParallelism()
  const [quota, period] = readNumbers('/sys/fs/cgroup/cpu.max') ?? [
    readNumbers('/sys/fs/cgroup/cpu/cpu.cfs_quota_us')?.[0] ?? NaN,
    readNumbers('/sys/fs/cgroup/cpu/cpu.cfs_period_us')?.[0] ?? NaN
  ]
  if (quota === undefined || period === undefined || !(quota > 0) || !(period > 0)) return cores
  return Math.max(1, Math.min(cores, Math.ceil(quota / period)))
}

/** Bytes that may still be taken: the machine's available memory, or what the cgroup leaves of its limit. */
export function memoryAvailable(): number {
  const machine = freemem()
  const [limit] = readNumbers('/sys/fs/cgroup/memory.max') ?? readNumbers('/sys/fs/cgroup/memory/memory.limit_in_bytes') ?? [NaN]
  const [used] = readNumbers('/sys/fs/cgroup/memory.current') ?? readNumbers('/sys/fs/cgroup/memory/memory.usage_in_bytes') ?? [NaN]
  if (limit === undefined || used === undefined || !Number.isFinite(limit) || !Number.isFinite(used)) return machine
  return Math.max(0, Math.min(machine, limit - used))
}
