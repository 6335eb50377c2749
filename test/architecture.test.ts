// Who may know whom: every include of csrc/ and cuda/ and every import of lib/ points in the one direction that CONTRIBUTING.md names; models/demo stands outside,
// over the public interface.
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')

const filesBelow = (folder: string): string[] =>
  readdirSync(join(root, folder)).flatMap((name) => {
    const path = `${folder}/${name}`
    return statSync(join(root, path)).isDirectory() ? filesBelow(path) : [path]
  })
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:])\/\/.*$/gm, '$1')

// ---- C++ ----

const cpp = [...filesBelow('csrc'), ...filesBelow('cuda')].filter((path) => /\.(c|h|cpp|cu|cuh|def)$/.test(path))

/** Own files that `path` includes, from the root; an include that names no own file is left as it is written. */
const includes = (path: string) =>
  [...read(path).matchAll(/^\s*#\s*include\s*([<"])([^>"]+)[>"]/gm)].map(([, kind, name]) => {
    if (kind === '<') return `<${name}>`
    const near = normalize(join(dirname(path), name!))
    return existsSync(join(root, near)) ? near : normalize(join('cuda', name!))
  })

/** For each part of the native code, what it may include beside itself. */
const mayInclude: Record<string, string[]> = {
  'csrc/napi': ['csrc/models', 'csrc/ops', 'csrc/core', 'csrc/backend.h', 'csrc/ops.def'],
  'csrc/models': ['csrc/ops', 'csrc/core', 'csrc/backend.h', 'csrc/ops.def'],
  'csrc/ops': ['csrc/core', 'csrc/backend.h', 'csrc/ops.def'],
  'csrc/core': ['csrc/backend.h', 'csrc/ops.def'],
  'csrc/cpu': ['csrc/core/cpu_backend.h', 'csrc/core/philox.h', 'csrc/backend.h', 'csrc/ops.def'],
  'csrc/backend.h': ['csrc/ops.def'],
  'csrc/ops.def': [],
  cuda: ['csrc/core/philox.h', 'csrc/backend.h', 'csrc/ops.def']
}
const part = (path: string) => Object.keys(mayInclude).find((name) => path === name || path.startsWith(`${name}/`))
const within = (path: string, names: string[]) => names.some((name) => path === name || path.startsWith(`${name}/`))

describe('native code', () => {
  test('there are files to look at, in every part', () => {
    for (const name of Object.keys(mayInclude)) expect(cpp.filter((path) => within(path, [name])), name).not.toHaveLength(0)
  })

  test('includes never turn back', () => {
    const wrong = cpp.flatMap((path) =>
      includes(path)
        .filter((name) => !name.startsWith('<') && !within(name, [part(path)!, ...mayInclude[part(path)!]!]))
        .map((name) => `${path} includes ${name}`)
    )
    expect(wrong).toEqual([])
  })

  test('every include of an own file names one that exists', () => {
    const wrong = cpp.flatMap((path) => includes(path).filter((name) => !name.startsWith('<') && name !== 'cuda/napi.h' && !existsSync(join(root, name))).map((name) => `${path}: ${name}`))
    expect(wrong).toEqual([])
  })

  test('backend.h is plain C and includes stddef.h, stdint.h and ops.def only', () => {
    expect(new Set(includes('csrc/backend.h'))).toEqual(new Set(['<stddef.h>', '<stdint.h>', 'csrc/ops.def']))
  })

  test('only csrc/napi knows Node', () => {
    expect(cpp.filter((path) => includes(path).some((name) => /napi\.h|node_api|uv\.h|v8/.test(name)) && !path.startsWith('csrc/napi/'))).toEqual([])
  })

  test('CUDA headers and the driver are known in cuda/ only, PTX in cuda/prims only', () => {
    expect(cpp.filter((path) => !path.startsWith('cuda/') && /<cuda|<cu[A-Z]|libcuda\.so/.test(read(path)))).toEqual([])
    expect(cpp.filter((path) => /\basm(\s+volatile)?\s*\(/.test(withoutComments(read(path))) && !/^(cuda\/prims|cuda\/emu|csrc\/cpu)\//.test(path))).toEqual([])
  })

  test('kernels are launched and share memory through device.cuh', () => {
    const kernels = cpp.filter((path) => path.endsWith('.cu'))
    expect(kernels).not.toHaveLength(0)
    expect(kernels.filter((path) => /<<<|__shared__|\bmem(cpy|set)\s*\(/.test(withoutComments(read(path))))).toEqual([])
  })

  test('models have no device names and no loop of timesteps', () => {
    const models = cpp.filter((path) => path.startsWith('csrc/models/'))
    expect(models.filter((path) => /"(cpu|cuda|cuda-emu)"|num_inference_steps|scheduler/.test(withoutComments(read(path))))).toEqual([])
  })

  test('kernels include no C++ header with inline code, which would be shared between instruction sets', () => {
    const plain = ['csrc/cpu/backend.cpp', 'csrc/cpu/check.cpp']
    const wrong = cpp.filter((path) => path.startsWith('csrc/cpu/') && !plain.includes(path) && includes(path).some((name) => /^<[a-z_]+>$/.test(name)))
    expect(wrong).toEqual([])
  })
})

// ---- TypeScript ----

const typeScript = filesBelow('lib').filter((path) => /\.[cm]?ts$/.test(path) && !path.endsWith('.d.ts'))

/** Modules that are loaded with the file (static) and those it loads when it runs or only for types (lazy); own ones from the root, without suffix. */
function imports(path: string): { loaded: string[]; lazy: string[] } {
  const text = withoutComments(read(path))
  const own = (name: string) => (name.startsWith('.') ? normalize(join(dirname(path), name)).replace(/\.[cm]?js$/, '') : name)
  const statements = [...text.matchAll(/^(?:import|export)\s+(type\s)?(?:[^'";]*?\sfrom\s+)?['"]([^'"]+)['"]/gm)]
  return {
    loaded: statements.filter(([, type]) => type === undefined).map(([, , name]) => own(name!)),
    lazy: [...statements.filter(([, type]) => type !== undefined).map(([, , name]) => own(name!)), ...[...text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g)].map(([, name]) => own(name!))]
  }
}

// Layers, highest first: a file may know its own layer and lower ones.
const layers = [
  ['lib/cli', 'lib/server', 'lib/studio'],
  ['lib/index'],
  ['lib/compare'],
  ['lib/pipeline', 'lib/training', 'lib/evaluate', 'lib/video'],
  ['lib/methods', 'lib/schedulers', 'lib/models', 'lib/options'],
  ['lib/plan', 'lib/native'],
  ['lib/files'],
  ['lib/check', 'lib/errors', 'lib/realms']
]
const layer = (path: string) => layers.findIndex((names) => within(path, names))

describe('TypeScript', () => {
  test('every file belongs to a layer', () => {
    expect(typeScript.map((path) => path.replace(/\.[cm]?ts$/, '')).filter((path) => layer(path) < 0)).toEqual([])
  })

  test('imports never turn back', () => {
    const wrong = typeScript.flatMap((path) => {
      const own = layer(path.replace(/\.[cm]?ts$/, ''))
      return imports(path).loaded.filter((name) => name.startsWith('lib/') && layer(name) < own).map((name) => `${path} imports ${name}`)
    })
    expect(wrong).toEqual([])
  })

  test('`any` and the addon are in lib/native only', () => {
    expect(typeScript.filter((path) => path !== 'lib/native/binding.ts' && /(:|<|\bas)\s*any\b/.test(withoutComments(read(path))))).toEqual([])
    expect(typeScript.filter((path) => !path.startsWith('lib/native/') && /node-gyp-build|\.node['"`]/.test(withoutComments(read(path))))).toEqual([])
  })

  test('instanceof asks for branded classes alone: what else there is may come from another realm', () => {
    const branded = typeScript.flatMap((path) => [...read(path).matchAll(/\bbrand\(this, '(\w+)'\)/g)].map(([, name]) => name!))
    expect(branded).toContain('VinError')
    const wrong = typeScript.flatMap((path) =>
      [...withoutComments(read(path)).matchAll(/\binstanceof ([\w.]+)/g)].filter(([, name]) => !branded.includes(name!)).map(([text]) => `${path}: ${text}; lib/realms.ts and node:util's types know other realms`)
    )
    expect(wrong).toEqual([])
  })

  test('files and folders come to their places by lib/files alone', () => {
    const placing = /\b(rename(Sync)?|copyFile(Sync)?|writeFileSync|createWriteStream|appendFileSync|symlink(Sync)?|link(Sync)?)\b/
    const wrong = typeScript.filter((path) => !path.startsWith('lib/files/')).flatMap((path) =>
      [...read(path).matchAll(/^import \{([^}]*)\} from 'node:fs(?:\/promises)?'/gm)].flatMap(([, names]) => names!.split(',').filter((name) => placing.test(name)).map((name) => `${path} imports ${name.trim()}`))
    )
    expect(wrong).toEqual([])
  })

  test("import 'vin-native' loads no package, command line, server, encoder or trainer's data", () => {
    const seen = new Set<string>(), packages = new Set<string>()
    const visit = (path: string) => {
      if (seen.has(path)) return
      seen.add(path)
      for (const name of imports(path).loaded) {
        if (!name.startsWith('lib/')) {
          if (!name.startsWith('node:')) packages.add(`${path} loads ${name}`)
          continue
        }
        const file = [`${name}.ts`, `${name}.cts`].find((each) => existsSync(join(root, each)))
        expect(file, `${path} imports ${name}`).toBeDefined()
        visit(file!)
      }
    }
    visit('lib/index.ts')
    expect(seen.size).toBeGreaterThan(10)
    expect([...packages]).toEqual([])
    expect([...seen].filter((path) => /^lib\/(cli|server|studio)\//.test(path))).toEqual([])
  })
})

test('every package that is depended on is used', () => {
  const { dependencies } = JSON.parse(read('package.json')) as { dependencies: object }
  const text = [...typeScript, ...filesBelow('tools'), 'binding.gyp', ...cpp].map(read).join('\n')
  expect(Object.keys(dependencies).filter((name) => !text.includes(`'${name}'`) && !text.includes(`"${name}"`) && !(name === 'node-addon-api' && text.includes('<napi.h>')))).toEqual([])
})

// ---- The built-in model ----

describe('models/demo', () => {
  const own = filesBelow('models/demo').filter((path) => /\.[cm]?[jt]s$/.test(path))
  const { exports, files, dependencies } = JSON.parse(read('package.json')) as { exports: Record<string, unknown>; files: string[]; dependencies: Record<string, string> }

  test('its TypeScript knows the package by its public names, and what the package depends on', () => {
    expect(own.length).toBeGreaterThan(30)
    const open = Object.keys(exports).map((name) => name.replace('.', 'vin-native'))
    const wrong = own.flatMap((path) => {
      const { loaded, lazy } = imports(path)
      const allowed = (name: string) => name.startsWith('node:') || name.startsWith('models/demo/') || open.includes(name) || Object.hasOwn(dependencies, name)
      return [...loaded, ...lazy].filter((name) => !allowed(name)).map((name) => `${path} imports ${name}`)
    })
    expect(wrong).toEqual([])
  })

  test('lib/ knows nothing of it but the world', () => {
    const found = typeScript.flatMap((path) => [...imports(path).loaded, ...imports(path).lazy].filter((name) => /demo/.test(name)).map((name) => `${path} imports ${name}`))
    expect(new Set(found)).toEqual(new Set(['lib/index.ts imports lib/training/demo-world']))
    expect(typeScript.filter((path) => /demo/.test(path))).toEqual(['lib/training/demo-world.ts'])
  })

  test('is published as data alone', () => {
    const published = files.filter((name) => name.startsWith('models'))
    expect(published.flatMap((name) => (statSync(join(root, name)).isDirectory() ? filesBelow(name) : [name])).filter((path) => !/\.(json|safetensors|md|png)$/.test(path))).toEqual([])
    expect(published).toEqual(expect.arrayContaining(['transformer', 'vae', 'text_encoder', 'tokenizer', 'scheduler', 'model_index.json'].map((name) => `models/demo/${name}`)))
  })
})

test('no file in the tree names a path of a machine', () => {
  const files = [...cpp, ...typeScript, ...filesBelow('models/demo/recipe'), ...filesBelow('models/demo/evaluation'), ...filesBelow('tools'), 'package.json', 'binding.gyp', 'vitest.config.ts', '.ci/run']
  const pattern = new RegExp(`(^|[^A-Za-z0-9_.])/(${['work', 'root', 'home/[a-z]+'].join('|')})/`)
  expect(files.filter((path) => pattern.test(read(path))).map((path) => relative(root, join(root, path)))).toEqual([])
})
