// Which GPU this is, as the addon sees it and as nvidia-smi does.
import { spawnSync } from 'node:child_process'
import { createEngine, job, record, whole } from './job.mjs'

const fields = ['name', 'uuid', 'compute_cap', 'driver_version', 'memory.total', 'memory.free', 'clocks.max.sm', 'clocks.max.mem', 'ecc.mode.current', 'persistence_mode']

/** What nvidia-smi says of the GPU with this uuid. */
function smi(uuid) {
  const { status, error, stdout, stderr } = spawnSync('nvidia-smi', [`--query-gpu=${fields.join()}`, '--format=csv,noheader'], { encoding: 'utf8', timeout: 15_000 })
  if (error !== undefined) return { 'nvidia-smi': error.code === 'ENOENT' ? 'is not installed' : error.message }
  if (status !== 0) return { 'nvidia-smi': `ended with ${status}: ${`${stdout}${stderr}`.trim().split('\n')[0]}` }
  const line = stdout.trim().split('\n').find((each) => each.includes(uuid))
  return line === undefined ? { 'nvidia-smi': 'shows no GPU of this uuid' } : Object.fromEntries(line.split(', ').map((value, i) => [`nvidia-smi: ${fields[i]}`, value]))
}

/** The first plug-in whose device opens, and what the others say. */
function open() {
  const refusals = []
  for (const backendPath of job.plugins) {
    try {
      return { engine: createEngine({ device: 'cuda', threads: 1, backendPath }), plugin: backendPath, refusals }
    } catch (error) {
      refusals.push(error.message)
    }
  }
  throw new Error([...new Set(refusals)].join('; '))
}

await whole(async () => {
  const { engine, plugin, refusals } = open()
  const y = engine.op('fill', { y: { shape: [4] }, value: 7 }).y
  const { data } = await y.read()
  if (![...data].every((value) => value === 7)) throw new Error(`Expected four sevens from the GPU but found ${[...data].join(', ')}`)
  const { hardware, backend, isa } = engine.info
  record({ kind: 'device', plugin, refusals, addon: { backend, build: isa, ...hardware }, driver: smi(hardware.uuid) })
  await engine.dispose()
})
