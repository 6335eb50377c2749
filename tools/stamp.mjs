// A build step is skipped while the contents of its inputs are what they were when it last succeeded.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { which } from './toolchain.cjs'

export { which }

export const root = join(dirname(fileURLToPath(import.meta.url)), '..')

export const isMain = (url) => Boolean(process.argv[1]) && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(url))

export const say = (text) => console.log(`vin-native: ${text}`)

/** Files below the given files and folders of the repository, sorted. */
export function filesBelow(paths) {
  const files = []
  const visit = (path) => {
    if (!existsSync(join(root, path))) return
    if (!statSync(join(root, path)).isDirectory()) return void files.push(path)
    for (const name of readdirSync(join(root, path)).sort()) visit(`${path}/${name}`)
  }
  for (const path of paths) visit(path)
  return files
}

/** Names a program by path, size and time, which is enough to notice another version and needs no process. */
export function fingerprint(command) {
  const path = which(command)
  if (!path) return `${command} absent`
  const file = realpathSync(path)
  const { size, mtimeMs } = statSync(file)
  return `${file} ${size} ${mtimeMs}`
}

export function hashOf(paths, ...extra) {
  const hash = createHash('sha256')
  for (const file of filesBelow(paths)) hash.update(`${file}\0`).update(readFileSync(join(root, file))).update('\0')
  for (const text of extra) hash.update(`${text}\0`)
  return hash.digest('hex')
}

/**
 * A step `{ inputs, extra, outputs, stamp, run }`. `fresh()` tells whether there is nothing to do, `build()` does it if there is.
 * The hash is taken before running: a file that changes meanwhile is built the next time.
 */
export function step({ inputs, extra = () => [], outputs, stamp, run }) {
  const hash = () => hashOf(inputs, ...extra())
  const matches = (value) =>
    outputs.every((file) => existsSync(join(root, file))) && existsSync(join(root, stamp)) && readFileSync(join(root, stamp), 'utf8') === value
  return {
    fresh: () => matches(hash()),
    async build() {
      const value = hash()
      if (matches(value)) return
      await run()
      mkdirSync(dirname(join(root, stamp)), { recursive: true })
      writeFileSync(join(root, stamp), value)
    }
  }
}
