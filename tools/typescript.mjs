// Compiles lib/ twice: dist/esm, and dist/cjs from a copy of the sources in a folder whose package.json says commonjs, because the nearest package.json is what
// tells TypeScript which of the two a .ts file is. Types are written for each. Files that are not TypeScript are copied. Programs are ES modules alone.
// Then, over what dist/ exports, the programs of the built-in model: build-ts/demo, which is not published.
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { run } from './run.mjs'
import { filesBelow, isMain, root } from './stamp.mjs'

const isTypeScript = (file) => /\.[cm]?ts$/.test(file)
const withoutType = (file) => file.replace(/(\.d)?\.([cm]?)[jt]s$/, '.$2js')

/**
What TypeScript leaves as import() in CommonJS loads by require instead: Jest, among others, runs CommonJS where import() is not to be had. A package that is
CommonJS itself gets the `default` that import() would have given it.
*/
function requireWhatIsImported() {
  for (const file of filesBelow(['dist/cjs']).filter((path) => path.endsWith('.js'))) {
    const text = readFileSync(join(root, file), 'utf8')
    const changed = text.replace(/\bimport\('([^']+)'\)/g, (_, name) => {
      const loaded = `Promise.resolve().then(() => require('${name}'))`
      return name.startsWith('.') ? loaded : `${loaded}.then((module) => (module.__esModule ? module : { ...module, default: module }))`
    })
    if (changed !== text) writeFileSync(join(root, file), changed)
  }
}

/** Outputs of sources that are gone. */
function prune(outputFolder, sources) {
  const wanted = new Set(sources.map((file) => (isTypeScript(file) ? withoutType(file) : file)))
  for (const file of filesBelow([outputFolder])) {
    const source = file.slice(outputFolder.length + 1)
    if (source !== 'package.json' && !wanted.has(source) && !wanted.has(withoutType(source))) rmSync(join(root, file))
  }
}

export async function buildTypeScript() {
  const all = filesBelow(['lib']).map((file) => file.slice('lib/'.length))
  const sourcesOf = { esm: all, cjs: all.filter((file) => !file.startsWith('cli/')) }
  const copy = (file, folder) => {
    mkdirSync(dirname(join(root, folder, file)), { recursive: true })
    cpSync(join(root, 'lib', file), join(root, folder, file))
  }
  const staged = 'build-ts/cjs'
  rmSync(join(root, staged), { recursive: true, force: true })
  for (const file of sourcesOf.cjs) copy(file, staged)
  const commonjs = '{ "type": "commonjs" }\n'
  writeFileSync(join(root, staged, 'package.json'), commonjs)

  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  const compile = (kind, outputs) => {
    // tsc trusts its record of what it wrote; without the outputs the record is worthless.
    if (!existsSync(join(root, outputs))) rmSync(join(root, `build-ts/${kind}.tsbuildinfo`), { force: true })
    return run(process.execPath, [tsc, '-p', `tsconfig.${kind}.json`], { cwd: root })
  }
  for (const kind of ['esm', 'cjs']) {
    const code = await compile(kind, `dist/${kind}`)
    if (code !== 0) return code
    prune(`dist/${kind}`, sourcesOf[kind])
    for (const file of sourcesOf[kind]) if (!isTypeScript(file)) copy(file, `dist/${kind}`)
  }
  requireWhatIsImported()
  writeFileSync(join(root, 'dist/cjs/package.json'), commonjs)
  const code = await compile('demo', 'build-ts/demo')
  if (code !== 0) return code
  prune('build-ts/demo', filesBelow(['models/demo/recipe', 'models/demo/evaluation']).map((file) => file.slice('models/demo/'.length)))
  // npm makes programs executable where it installs a package; in the repository itself npx starts them as they lie.
  for (const program of Object.values(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).bin)) chmodSync(join(root, program), 0o755)
  return 0
}

if (isMain(import.meta.url)) process.exitCode = await buildTypeScript()
