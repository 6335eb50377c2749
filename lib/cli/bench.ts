// vin-native bench: the benchmarks of the repository, in a checkout of it.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { checkInteger } from '../check.js'
import { VinError } from '../errors.js'
import { packageRoot } from '../native/package-root.js'
import { numberOption } from './arguments.js'
import { defineCommand } from './command.js'
import type { StopOnSignal } from './interrupt.js'

export const benchCommand = defineCommand({
  meta: { name: 'bench', description: 'measure this machine (in a checkout of the repository)' },
  args: {
    filter: { type: 'positional', description: 'part of a benchmark file’s name: peak gemm attention denoise training components start', required: false },
    peer: { type: 'boolean', description: 'compare with PyTorch' },
    python: { type: 'string', description: 'the Python that has PyTorch (python3)', valueHint: 'path' },
    quick: { type: 'boolean', description: 'one short round: shows that everything runs and agrees, measures nothing' },
    rounds: { type: 'string', description: 'rounds of each row (5)', valueHint: 'n' }
  },
  async run({ args, data }): Promise<number> {
    const root = packageRoot()
    const script = join(root, 'tools', 'bootstrap.mjs')
    if (!existsSync(join(root, 'test')) || !existsSync(script)) {
      throw new VinError('ERR_VIN_NOT_SUPPORTED', `Expected a checkout of the repository for bench but ${root} is an installed package; clone the repository and run npm run bench`, { name: 'bench' })
    }
    const { signal } = data as StopOnSignal
    const { filter, peer, python, quick, rounds } = args
    if (rounds !== undefined) checkInteger(numberOption(rounds, '--rounds'), '--rounds', 1, 9999)
    const given = [
      ...(filter === undefined ? [] : [filter]),
      ...(peer === true ? ['--peer'] : []),
      // A name is looked up on PATH, a path is the caller's.
      ...(python === undefined ? [] : ['--python', python.includes('/') ? resolve(python) : python]),
      ...(quick === true ? ['--quick'] : []),
      ...(rounds === undefined ? [] : ['--rounds', rounds])
    ]
    const child = spawn(process.execPath, [script, 'bench', ...given], { cwd: root, stdio: 'inherit' })
    return new Promise((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code) => (signal.aborted ? reject(signal.reason as Error) : resolve(code ?? 1)))
    })
  }
})
