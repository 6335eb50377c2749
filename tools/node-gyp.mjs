// Runs node-gyp with the headers of the node that runs this, so that nothing is fetched: node tools/node-gyp.mjs configure build
// Without such headers node-gyp fetches them itself.
import { join } from 'node:path'
import { withLock } from './lock.mjs'
import { run } from './run.mjs'
import { isMain, root, say } from './stamp.mjs'
import { buildEnvironment, findNodeGyp } from './toolchain.cjs'

/** Exit code of `node-gyp ...args`. Two at once would write the same objects, so the second waits. */
export function nodeGyp(args) {
  const script = findNodeGyp(root)
  if (script === undefined) throw new Error('Expected node-gyp, which npm brings along, but found none; npm install node-gyp')
  return withLock(
    join(root, '.vin-native.lock.gyp'),
    () => run(process.execPath, [script, ...args], { cwd: root, env: buildEnvironment() }),
    (id) => say(`waiting for another build of the addon (process ${id}) …`)
  )
}

if (isMain(import.meta.url)) process.exitCode = await nodeGyp(process.argv.slice(2))
