// A process that is killed between two operations on files, played in this one: from operation number `after` on, none ever comes back.
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const names = ['mkdir', 'rename', 'rm', 'rmdir', 'unlink', 'open', 'writeFile'] as const

/** Lets `work` make so many operations that change something. Returns whether it came to its end. */
export async function killedAfter(after: number, work: () => Promise<unknown>): Promise<boolean> {
  const originals = names.map((name) => fs.promises[name])
  let count = 0
  let die = (): void => {}
  const died = new Promise<boolean>((resolve) => (die = () => resolve(false)))
  names.forEach((name, i) => {
    const original = originals[i] as (...args: unknown[]) => Promise<unknown>
    Object.assign(fs.promises, {
      [name]: (...args: unknown[]) => {
        if (++count <= after) return original(...args)
        die()
        return new Promise(() => {})
      }
    })
  })
  syncBuiltinESMExports()
  try {
    return await Promise.race([work().then(() => true), died])
  } finally {
    names.forEach((name, i) => Object.assign(fs.promises, { [name]: originals[i] }))
    syncBuiltinESMExports()
  }
}
