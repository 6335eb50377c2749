// Runs node-gyp with the headers of the node that runs this, so that nothing is fetched: node tools/node-gyp.mjs configure build
// Official builds and NodeSource packages carry them under their prefix. Without them node-gyp fetches headers itself.
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { withLock } from './lock.mjs'
import { run } from './run.mjs'
import { isMain, root, say } from './stamp.mjs'

/** The prefix of a node if it holds the headers of this very version, else undefined. */
export function headersPrefix(executable = realpathSync(process.execPath), version = process.versions.node) {
  const prefix = dirname(dirname(executable))
  const file = join(prefix, 'include', 'node', 'node_version.h')
  if (!existsSync(file)) return undefined
  const text = readFileSync(file, 'utf8')
  const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1]
  return `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` === version ? prefix : undefined
}

/** Environment of a native build: headers, and as many compile jobs as cores and memory (a kernel file takes up to 1 GiB) allow. */
export function buildEnvironment() {
  const jobs = process.env.JOBS ?? Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30)))
  const environment = { ...process.env, JOBS: String(jobs) }
  const prefix = headersPrefix()
  if (prefix) {
    for (const name of Object.keys(environment)) if (/^npm_config_nodedir$/i.test(name)) delete environment[name]
    environment.npm_config_nodedir = prefix
  }
  return environment
}

/** Exit code of `node-gyp ...args`. Two at once would write the same objects, so the second waits. */
export function nodeGyp(args) {
  const script = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js')
  return withLock(
    join(root, '.vin-native.lock.gyp'),
    () => run(process.execPath, [script, ...args], { cwd: root, env: buildEnvironment() }),
    (id) => say(`waiting for another build of the addon (process ${id}) …`)
  )
}

if (isMain(import.meta.url)) process.exitCode = await nodeGyp(process.argv.slice(2))
