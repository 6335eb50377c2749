// vin-native doctor: one line a check; --json is the template of a bug report.

import { doctor } from '../index.js'
import { defineCommand } from './command.js'
import { exitCodes } from './exit.js'
import type { StopOnSignal } from './interrupt.js'
import { outputArguments } from './options.js'
import { writeLine } from './output.js'

const marks = { ok: '✓', warning: '!', broken: '✗' } as const

export const doctorCommand = defineCommand({
  meta: { name: 'doctor', description: 'check this machine and installation' },
  args: { strict: { type: 'boolean', description: 'a warning is a failure too' }, ...outputArguments },
  async run({ args, data }): Promise<number> {
    const report = await doctor({ signal: (data as StopOnSignal).signal })
    const failed = report.checks.some(({ status }) => status === 'broken' || (args.strict === true && status === 'warning'))
    if (args.json === true) writeLine(JSON.stringify(report, null, 2))
    else {
      for (const { id, status, detail, fix } of report.checks) writeLine(`${marks[status]} ${id}: ${detail}${fix === undefined ? '' : `\n    ${fix}`}`)
      writeLine(!report.ok ? 'something is broken: see ✗ above' : failed ? 'nothing is broken, but with --strict a warning is a failure: see ! above' : 'nothing is broken')
    }
    return failed ? exitCodes.failed : exitCodes.ok
  }
})
