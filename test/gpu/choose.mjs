// The public door: every plug-in with its self-test in a child process, as `npx vin-native inspect gpu` does it, and device 'auto' has to be the GPU.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { record, whole } from './job.mjs'

const cli = join(import.meta.dirname, '..', '..', 'dist', 'esm', 'cli', 'index.js')
await whole(async () => {
  const { device, backends } = JSON.parse(execFileSync(process.execPath, [cli, 'inspect', 'gpu', '--json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }))
  const plugins = backends.filter((each) => each.device === 'cuda')
  record({ kind: 'choice', device, plugins: plugins.map(({ usable, toolkit, code, reason }) => (usable ? `CUDA ${toolkit}: can be used` : `${code}, ${reason}`)) })
  if (device !== 'cuda:0') throw new Error(`Expected device 'auto' to be cuda:0 but it is ${device}: ${plugins.map(({ reason }) => reason).join('; ')}`)
})
