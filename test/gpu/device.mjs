// Which GPU this is, as the addon sees it and as nvidia-smi does.
import { spawnSync } from 'node:child_process'
import { openGPU, record } from './job.mjs'

const fields = ['name', 'uuid', 'compute_cap', 'driver_version', 'memory.total', 'memory.free', 'clocks.max.sm', 'clocks.max.mem', 'ecc.mode.current', 'persistence_mode']

function smi() {
  const { status, error, stdout, stderr } = spawnSync('nvidia-smi', [`--query-gpu=${fields.join()}`, '--format=csv,noheader'], { encoding: 'utf8', timeout: 15_000 })
  if (error !== undefined || status !== 0) return { 'nvidia-smi': error?.message ?? `ended with ${status}: ${`${stdout}${stderr}`.trim().split('\n')[0]}` }
  const [first] = stdout.trim().split('\n')
  return Object.fromEntries(first.split(', ').map((value, i) => [fields[i], value]))
}

const engine = openGPU()
const y = engine.op('fill', { y: { shape: [4] }, value: 7 }).y
const { data } = await y.read()
if (![...data].every((value) => value === 7)) throw new Error(`Expected four sevens from the GPU but found ${[...data].join(', ')}`)
record({ kind: 'device', addon: engine.info, driver: smi() })
await engine.dispose()
