// The program that a plug-in is tested in (self-test-run.ts starts it): what crashes or hangs here costs the program that asked nothing. It gets its task as one
// message and answers with one.

import { Worker } from 'node:worker_threads'
import { errorCode, errorMessage } from '../realms.js'
import { VinError } from '../errors.js'
import type { DeviceInfo } from './binding.js'
import { loadBinding } from './load.js'
import { selfTest, type SelfTest } from './self-test.js'

export interface SelfTestTask extends SelfTest {
  addon: string
  /** All devices are wanted, not the tested one alone. */
  list: boolean
  limitMs: number
}

export type SelfTestAnswer = { hardware: DeviceInfo | undefined; devices: DeviceInfo[] } | { code: string | undefined; message: string; details: Record<string, unknown> }

process.once('message', (task: SelfTestTask) => void answer(task))
// Nobody waits any more. Not process.exit: it would wait for what hangs.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))

async function answer(task: SelfTestTask): Promise<void> {
  // Where the driver holds this thread too, and the parent is gone, another one ends the process.
  new Worker(`setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${task.limitMs + 5000})`, { eval: true }).unref()
  const send = (message: SelfTestAnswer): void => void process.send?.(message, () => process.kill(process.pid, 'SIGKILL'))
  try {
    const binding = loadBinding(task.addon)
    const hardware = await selfTest(binding, task)
    send({ hardware, devices: task.list ? binding.describeBackend(task).devices : [] })
  } catch (error) {
    send({ code: errorCode(error), message: errorMessage(error), details: error instanceof VinError ? error.details : {} })
  }
}
