// What compiling the addon takes, and where it lies on this machine. CommonJS without dependencies: the install script and the command line read it too.
'use strict'
const { existsSync, readFileSync, realpathSync, statSync } = require('node:fs')
const { availableParallelism, totalmem } = require('node:os')
const { delimiter, dirname, join } = require('node:path')

/** Where a command of PATH lies, or undefined. */
function which(command) {
  if (command.includes('/')) return existsSync(command) ? command : undefined
  const folders = (process.env.PATH || '').split(delimiter).filter(Boolean)
  return folders.map((folder) => join(folder, command)).find((path) => existsSync(path) && statSync(path).isFile())
}

/** The prefix of a node if it holds the headers of this very version, else undefined. Official builds and NodeSource packages do. */
function headersPrefix(executable = realpathSync(process.execPath), version = process.versions.node) {
  const prefix = dirname(dirname(executable))
  const file = join(prefix, 'include', 'node', 'node_version.h')
  if (!existsSync(file)) return undefined
  const text = readFileSync(file, 'utf8')
  const part = (name) => (new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text) || [])[1]
  return `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` === version ? prefix : undefined
}

/** The script of node-gyp: a checkout's own, that of the npm which runs this or came with node, or one installed beside the package; undefined: none. */
function findNodeGyp(root) {
  const script = join('node_modules', 'node-gyp', 'bin', 'node-gyp.js')
  const npm = which('npm')
  const candidates = [
    () => join(root, script),
    () => process.env.npm_config_node_gyp,
    // The command links to npm/bin/npm-cli.js.
    () => npm && join(dirname(dirname(realpathSync(npm))), script),
    () => join(dirname(dirname(realpathSync(process.execPath))), 'lib', 'node_modules', 'npm', script),
    () => require.resolve('node-gyp/bin/node-gyp.js', { paths: [root] })
  ]
  for (const candidate of candidates) {
    try {
      const path = candidate()
      if (path && existsSync(path)) return path
    } catch {
      continue
    }
  }
  return undefined
}

/** Environment of a native build: headers, and as many compile jobs as cores and memory (a kernel file takes up to 1 GiB) allow. */
function buildEnvironment(jobs = process.env.JOBS || Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30)))) {
  const environment = { ...process.env, JOBS: String(jobs) }
  const prefix = headersPrefix()
  if (prefix) {
    for (const name of Object.keys(environment)) if (/^npm_config_nodedir$/i.test(name)) delete environment[name]
    environment.npm_config_nodedir = prefix
  }
  return environment
}

/** Programs that are needed and not on PATH, by the names of Debian's packages. */
function missingPrograms() {
  return [
    [which(process.env.CXX || 'c++') || which('g++'), 'g++'],
    [which('make'), 'make'],
    [which(process.env.PYTHON || 'python3'), 'python3']
  ].flatMap(([found, name]) => (found ? [] : [name]))
}

/** `apt-get install g++ make`, as each system says it. */
function howToInstall(missing) {
  const list = missing.join(' ')
  return `Debian, Ubuntu: apt-get install ${list} · Fedora: dnf install ${list.replace('g++', 'gcc-c++')} · Alpine: apk add ${list} linux-headers · macOS: xcode-select --install`
}

module.exports = { which, headersPrefix, findNodeGyp, buildEnvironment, missingPrograms, howToInstall }
