// Vitest's global set-up of the project `bench`: bench files append their rows to one file; when all have run, the table is printed and bench.json written.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { arch, cpus, loadavg, platform, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { loadBinding } from '../../lib/native/load.js'
import { coresAvailable } from '../../lib/native/machine.js'
import { options } from './options.js'
import { formatGoals, formatPeak, formatTable, goals } from './table.js'
import type { Row } from './table.js'

declare module 'vitest' {
  interface ProvidedContext {
    benchRows: string
  }
}

/** The machine in words. */
function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'an unknown processor'
  return `${coresAvailable()} cores of ${model}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${platform()} ${arch()}, Node ${process.versions.node}`
}

export default function setup(project: TestProject): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'vin-bench-'))
  const path = join(folder, 'rows.ndjson')
  writeFileSync(path, '')
  project.provide('benchRows', path)
  // Of the last minute, before anything of ours runs.
  const load = loadavg()[0]!
  return () => {
    const rows = readFileSync(path, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as Row)
    rmSync(folder, { recursive: true })
    if (rows.length === 0) return
    const binding = loadBinding()
    const isa = binding.cpuFeatures().at(-1)!
    const report = { machine: machine(), isa, threads: coresAvailable(), load, rounds: options.rounds, quick: options.quick, goals, rows }
    writeFileSync(join(project.config.root, 'bench.json'), `${JSON.stringify(report, null, 2)}\n`)
    const pytorch = rows.find((row) => row.pytorch !== undefined)?.pytorch
    const header = [
      `${report.machine}, ${isa}`,
      `measured peak, fp32: ${formatPeak(rows)}`,
      `ratios: ${options.rounds === 1 ? 'one round' : `median of ${options.rounds} rounds (lowest–highest)`}${pytorch === undefined ? '' : `; PyTorch ${pytorch}, fp32, as many threads`}`,
      ...(load > 0.5 ? [`the machine was busy (load ${load.toFixed(1)}): the figures are rough at best`] : [])
    ]
    const verdict = options.quick ? 'One short round measures nothing: no goal is judged.' : formatGoals(rows)
    console.log(`\n${header.join('\n')}\n${formatTable(rows)}\n\n${verdict}\n\nEvery round is in bench.json.`)
  }
}
