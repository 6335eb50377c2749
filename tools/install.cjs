// npm's install script. A fitting prebuilt addon: nothing to do. Else it is compiled, if Node's headers and a compiler are on this machine. It fetches nothing,
// never fails an installation, and nothing depends on its having run: the first use of the addon says what is missing.
'use strict'
const { spawnSync } = require('node:child_process')
const { join } = require('node:path')
const { buildEnvironment, findNodeGyp, headersPrefix, missingPrograms } = require('./toolchain.cjs')

const root = join(__dirname, '..')

/** node-gyp-build tells musl only on Alpine; detect-libc knows better. */
function findAddon() {
  const libc = process.env.LIBC || require('detect-libc').familySync() || undefined
  if (libc) process.env.LIBC = libc
  return require('node-gyp-build').resolve(root)
}

/** As at the first use (lib/native/load.ts). */
const windowsAdvice = 'vin-native does not run on Windows itself; it runs in WSL 2 (in PowerShell: wsl --install), where Node and vin-native are installed as on Linux'

/** Undefined when compiled, else why not. */
function compile() {
  if (!headersPrefix()) return `Node's headers are not installed beside ${process.execPath}`
  const missing = missingPrograms()
  if (missing.length > 0) return `${missing.join(', ')} not found`
  const nodeGyp = findNodeGyp(root)
  if (!nodeGyp) return 'node-gyp not found'
  const { status } = spawnSync(process.execPath, [nodeGyp, 'configure', 'build', '--loglevel=silent'], { cwd: root, env: buildEnvironment(), stdio: 'ignore' })
  return status === 0 ? undefined : 'the compiler reported errors'
}

/** The line for the person who installs. */
function withoutAddon() {
  if (process.platform === 'win32') return windowsAdvice
  let reason
  try {
    reason = compile()
  } catch (error) {
    reason = error.message
  }
  return reason && `no prebuilt addon for ${process.platform}-${process.arch} and it was not compiled (${reason}); npx vin-native build compiles it`
}

try {
  findAddon()
} catch {
  const line = withoutAddon()
  if (line) console.log(`vin-native: ${line}`)
}
