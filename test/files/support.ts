// What the tests of files have in common: the bytes below a folder, and mounts where the machine lets one make them.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import type { TestContext } from 'vitest'

/** Everything below a folder: names, kinds, times of change and bytes, as one hash. */
export function hashOf(path: string): string {
  const hash = createHash('sha256')
  const add = (at: string, name: string): void => {
    const entry = lstatSync(at)
    hash.update(`${name}\0${entry.mode}\0${entry.isDirectory() ? '' : entry.mtimeMs}\0`)
    if (entry.isSymbolicLink()) hash.update(readlinkSync(at))
    else if (entry.isDirectory()) for (const child of readdirSync(at).sort()) add(join(at, child), `${name}/${child}`)
    else if (entry.isFile()) hash.update(readFileSync(at))
  }
  add(path, '')
  return hash.digest('hex')
}

const mounted: string[] = []
// In memory where there is such a folder: hundreds of fsync() cost nothing there.
const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** A folder of its own for each test of a file; what it returns makes paths in it. */
export function useFolder(): (...names: string[]) => string {
  let folder = ''
  beforeEach(() => void (folder = realpathSync(mkdtempSync(join(base, 'vin-files-')))))
  afterEach(() => {
    for (const at of mounted.splice(0)) execFileSync('umount', ['-l', at])
    rmSync(folder, { recursive: true, force: true })
  })
  return (...names) => join(folder, ...names)
}

/** Mounts something for one test. Where a machine does not let it, the test is skipped and says so. */
export function mount(context: TestContext, at: string, ...args: string[]): void {
  try {
    execFileSync('mount', [...args, at], { stdio: 'pipe' })
    mounted.push(at)
  } catch {
    context.skip('did not run: this machine does not let tests mount')
  }
}

/** A file system of so many bytes. */
export function mountSmall(context: TestContext, at: string, bytes: number): void {
  mount(context, at, '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs')
}
