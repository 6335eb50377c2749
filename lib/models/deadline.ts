// Synchronous work with an end: the regular expressions of a file that is not ours may backtrack for hours, and nothing but V8's own watchdog stops them.

import { Script, createContext } from 'node:vm'
import type { Context } from 'node:vm'

const call = new Script('work()')
let context: Context | undefined

/** What `work` returns, or throws; undefined when it took longer than `milliseconds` and was stopped where it stood. */
export function within<T>(milliseconds: number, work: () => T): { value: T } | undefined {
  context ??= createContext(Object.create(null) as Context)
  // The watchdog counts time on the wall: a process that waited for a core has not worked, and tries again.
  for (let attempt = 0; ; attempt++) {
    const before = process.cpuUsage()
    try {
      context['work'] = work
      return { value: call.runInContext(context, { timeout: milliseconds }) as T }
    } catch (error) {
      if ((error as { code?: unknown } | undefined)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
      const { user, system } = process.cpuUsage(before)
      if (attempt === 2 || (user + system) / 1000 > milliseconds / 5) return undefined
    } finally {
      context['work'] = undefined
    }
  }
}
