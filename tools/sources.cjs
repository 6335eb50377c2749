// Prints C++ sources, one per line, for binding.gyp: `core` is everything that is compiled once, `kernels` what is compiled once per instruction set.
'use strict'
const { readdirSync } = require('node:fs')
const { join } = require('node:path')

const root = join(__dirname, '..')
const cpp = (folder, skip = []) =>
  readdirSync(join(root, folder)).filter((name) => name.endsWith('.cpp') && !skip.includes(name)).sort().map((name) => `${folder}/${name}`)

// Files of csrc/cpu that hold no vector code.
const plain = ['backend.cpp', 'check.cpp']

const sources = {
  core: () => [...['core', 'ops', 'models', 'napi'].flatMap((name) => cpp(`csrc/${name}`)), ...plain.map((name) => `csrc/cpu/${name}`)],
  kernels: () => [...cpp('csrc/cpu', plain), ...cpp('csrc/cpu/gemm')]
}

module.exports = sources

if (require.main === module) {
  const which = process.argv[2]
  if (!Object.hasOwn(sources, which)) {
    console.error(`Expected one of ${Object.keys(sources).join(', ')} but received ${which}`)
    process.exit(1)
  }
  console.log(sources[which]().join('\n'))
}
