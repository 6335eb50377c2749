// npm's install script. A fitting prebuilt addon: nothing to do. Else it is compiled, if Node's headers and a compiler are on this machine. It fetches nothing,
// never fails an installation, and nothing depends on its having run: the first use of the addon says what is missing.
'use strict'
const { spawnSync } = require('node:child_process')
const { existsSync, realpathSync, readFileSync } = require('node:fs')
const { delimiter, dirname, join } = require('node:path')

const root = join(__dirname, '..')

const onPath = (command) => (process.env.PATH || '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, command)))

/** node-gyp-build tells musl only on Alpine; detect-libc knows better. */
function findAddon() {
  const libc = process.env.LIBC || require('detect-libc').familySync() || undefined
  if (libc) process.env.LIBC = libc
  return require('node-gyp-build').resolve(root)
}

/** The prefix of this node if it holds the headers of this very version; an ES module cannot be required here. */
function headersPrefix() {
  const prefix = dirname(dirname(realpathSync(process.execPath)))
  const file = join(prefix, 'include', 'node', 'node_version.h')
  if (!existsSync(file)) return undefined
  const text = readFileSync(file, 'utf8')
  const version = ['MAJOR', 'MINOR', 'PATCH'].map((part) => (new RegExp(`#define NODE_${part}_VERSION (\\d+)`).exec(text) || [])[1]).join('.')
  return version === process.versions.node ? prefix : undefined
}

/** Undefined when compiled, else why not. */
function compile() {
  const prefix = headersPrefix()
  if (!prefix) return `Node's headers are not installed beside ${process.execPath}`
  const missing = [process.env.CXX || 'c++', 'make', 'python3'].filter((command) => !command.includes('/') && !onPath(command))
  if (missing.length > 0) return `${missing.join(', ')} not found`
  const nodeGyp = process.env.npm_config_node_gyp
  if (!nodeGyp) return 'node-gyp not found'
  const env = { ...process.env, npm_config_nodedir: prefix, JOBS: process.env.JOBS || 'max' }
  const { status } = spawnSync(process.execPath, [nodeGyp, 'configure', 'build', '--loglevel=silent'], { cwd: root, env, stdio: 'ignore' })
  return status === 0 ? undefined : 'the compiler reported errors'
}

try {
  findAddon()
} catch {
  let reason
  try {
    reason = compile()
  } catch (error) {
    reason = error.message
  }
  if (reason) {
    console.log(`vin-native: no prebuilt addon for ${process.platform}-${process.arch} and it was not compiled (${reason}); npx vin-native build compiles it`)
  }
}
