// Holds Linux addons and CUDA plug-ins to the C libraries of the oldest systems they are promised for, and to their exports.map:
// node tools/check-symbols.mjs FILE …   Without a file: those of prebuilds/. Needs readelf (binutils).
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isMain, root, say } from './stamp.mjs'

/** The libraries of Debian 10, RHEL 8 and their like, GCC 8: https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html. For glibc: what doctor says. */
const newest = { GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11', GCC: '8.0.0' }
const libraries = /^(libc\.so\.6|libm\.so\.6|libdl\.so\.2|libpthread\.so\.0|libstdc\+\+\.so\.6|libgcc_s\.so\.1|ld-linux[-\w]*\.so\.\d)$/
/** What exports.map names; a plug-in's file ends in .so. */
const exportsOf = (file) => (file.endsWith('.so') ? ['vin_backend_entry'] : ['napi_register_module_v1', 'node_api_module_get_api_version_v1'])

const read = (file, ...args) => execFileSync('readelf', ['-W', ...args, file], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' }, maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'pipe'] })

function isNewer(version, limit) {
  const [a, b] = [version, limit].map((text) => text.split('.').map(Number))
  const at = a.findIndex((part, i) => part !== (b[i] ?? 0))
  return at >= 0 && a[at] > (b[at] ?? 0)
}

/** What the dynamic tables of an addon or a plug-in say against it. */
export function symbolProblems(file, { glibc = newest.GLIBC } = {}) {
  const limits = { ...newest, GLIBC: glibc }
  const exported = exportsOf(file)
  const dynamic = read(file, '--dynamic')
  const symbols = read(file, '--dyn-syms').split('\n').flatMap((line) => {
    const [, , , , bind, , section, name] = line.trim().split(/\s+/)
    return name === undefined || !/^\s*\d+:/.test(line) ? [] : [{ bind, defined: section !== 'UND', name }]
  })
  const tooNew = symbols.flatMap(({ name }) => {
    const [, symbol, family, version] = /^(.+?)@+([A-Z]+)_([\d.]+)$/.exec(name) ?? []
    if (family === undefined) return []
    if (limits[family] === undefined) return [`needs ${symbol} of ${family}_${version}, a library that no floor is known for`]
    return isNewer(version, limits[family]) ? [`needs ${symbol} of ${family}_${version}, newer than ${family}_${limits[family]}`] : []
  })
  const own = symbols.filter(({ defined, bind, name }) => defined && bind !== 'LOCAL' && name !== '').map(({ name }) => name)
  return [
    ...tooNew,
    ...[...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name).filter((name) => !libraries.test(name)).map((name) => `needs the library ${name}`),
    ...own.filter((name) => !exported.includes(name)).map((name) => `exports ${name}`),
    ...exported.filter((name) => !own.includes(name)).map((name) => `does not export ${name}`),
    // A worker that ends must not unload code that the engine's threads still run.
    ...(/\(FLAGS_1\).*NODELETE/.test(dynamic) ? [] : ['is not linked with -z nodelete']),
    ...(/GNU_STACK.*RWE/.test(read(file, '--program-headers')) ? ['has an executable stack'] : [])
  ]
}

function prebuilt() {
  const folder = join(root, 'prebuilds')
  const machines = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('linux-')) : []
  return machines.flatMap((name) => readdirSync(join(folder, name), { recursive: true }).filter((file) => /\.(node|so)$/.test(file)).map((file) => join(folder, name, file)))
}

if (isMain(import.meta.url)) {
  const { glibcFloor } = await import('../dist/esm/native/machine.js')
  const files = process.argv.length > 2 ? process.argv.slice(2) : prebuilt()
  if (files.length === 0) throw new Error('Expected a Linux addon in prebuilds/ but there is none; npm run make:prebuilds')
  for (const file of files) {
    const problems = symbolProblems(file, { glibc: glibcFloor })
    for (const problem of problems) console.error(`vin-native: ${file} ${problem}`)
    if (problems.length === 0) say(`${file} runs on glibc ${glibcFloor} and later`)
    else process.exitCode = 1
  }
}
