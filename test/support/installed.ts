// A copy of the built package as npm installs it, for child processes: dist/ and what is asked for; its dependencies are this checkout's.
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './addon.js'

export interface Installed {
  /** The service's folder. */
  folder: string
  /** The package in it. */
  root: string
  /** node with `args`, in the service's folder and an environment without this test run's own variables. */
  node(args: string[], env?: NodeJS.ProcessEnv): { status: number | null; stdout: string; stderr: string }
  /** Runs a module that sees the package as `vin`; `answer` is the JSON that its `print` printed. */
  run(body: string, options?: { flags?: string[]; env?: NodeJS.ProcessEnv }): { answer: unknown; stderr: string }
  remove(): void
}

export const builtAddon = join(root, 'build/Release/vin-native.node')

export function installCopy(files: string[] = [], prebuilt = true): Installed {
  const folder = mkdtempSync(join(tmpdir(), 'vin-installed-'))
  const installed = join(folder, 'node_modules', 'vin-native')
  mkdirSync(installed, { recursive: true })
  for (const name of ['package.json', 'dist', ...files]) cpSync(join(root, name), join(installed, name), { recursive: true })
  const modules = join(folder, 'node_modules')
  for (const name of Object.keys((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }).dependencies)) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
  // The loader's own ones are real, because Node's permission model looks behind links.
  for (const name of ['detect-libc', 'node-gyp-build']) {
    rmSync(join(modules, name))
    cpSync(join(root, 'node_modules', name), join(modules, name), { recursive: true })
  }
  if (prebuilt) {
    const prebuilds = join(installed, 'prebuilds', `${process.platform}-${process.arch}`)
    mkdirSync(prebuilds, { recursive: true })
    copyFileSync(builtAddon, join(prebuilds, 'vin-native.node'))
  }
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VIN_|^npm_|^NODE_OPTIONS$|^VITEST/i.test(name)))
  const node: Installed['node'] = (args, env = {}) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', env: { ...clean, ...env } })
    return { status, stdout, stderr }
  }
  return {
    folder,
    root: installed,
    node,
    run(body, { flags = [], env = {} } = {}) {
      const file = join(folder, 'program.mjs')
      const entry = pathToFileURL(join(installed, 'dist/esm/index.js')).href
      writeFileSync(file, `const vin = await import(${JSON.stringify(entry)})\nconst print = (value) => console.log(JSON.stringify(value))\n${body}\n`)
      const { status, stdout, stderr } = node([...flags, file], env)
      if (status !== 0) throw new Error(`the program ended with ${status}: ${stderr}`)
      return { answer: JSON.parse(stdout), stderr }
    },
    remove: () => rmSync(folder, { recursive: true, force: true })
  }
}
