// Threads that the system does not give: fewer of them with a warning, or ERR_VIN_OUT_OF_MEMORY; the process lives on.

import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../support/addon.js'

// The limit counts all processes of a user and binds root not at all: the child is a user that nobody else is.
const possible = process.platform === 'linux' && process.getuid?.() === 0 && spawnSync('prlimit', ['--version']).status === 0
if (!possible) console.warn('not root on Linux with prlimit: threads that cannot be created were not tried')

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vin-threads-'))
  chmodSync(folder, 0o755)
  const entry = pathToFileURL(join(root, 'dist', 'esm', 'index.js')).href
  writeFileSync(
    join(folder, 'child.mjs'),
    `
import { readFile } from 'node:fs/promises'
// Node's own threads are there before.
await readFile(process.argv[1])
const { VideoPipeline } = await import(${JSON.stringify(entry)})
const warnings = []
process.on('warning', ({ code, message }) => warnings.push({ code, message }))
try {
  const pipeline = await VideoPipeline.fromPretrained('demo', { device: 'cpu', threads: 64 })
  const video = await pipeline.generate({ prompt: 'a red circle', numFrames: 16, numInferenceSteps: 1, outputType: 'latents', seed: 1 })
  console.log(JSON.stringify({ threads: pipeline.runtime.threads, warnings, finite: video.latents.data.every(Number.isFinite) }))
} catch (error) {
  console.log(JSON.stringify({ code: error.code, message: error.message }))
}
`
  )
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Outcome {
  threads?: number
  warnings?: { code: string; message: string }[]
  finite?: boolean
  code?: string
  message?: string
}

let user = 300_000 + (process.pid % 100_000)

function child(limit: number): Outcome {
  user += 100_000
  const result = spawnSync('prlimit', [`--nproc=${limit}`, process.execPath, join(folder, 'child.mjs')], { uid: user, gid: user, cwd: folder, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } })
  expect({ signal: result.signal, status: result.status, stderr: result.signal === null ? '' : result.stderr }).toEqual({ signal: null, status: 0, stderr: '' })
  return JSON.parse(result.stdout) as Outcome
}

/** Threads of Node itself, with those of libuv. */
const own = possible
  ? Number(spawnSync(process.execPath, ['-e', "const fs = require('fs'); fs.promises.readFile('/proc/self/status', 'utf8').then(() => console.log(/Threads:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]))"], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } }).stdout)
  : 0

test.runIf(possible)('some threads fewer than asked: the work is done, and a warning says so', () => {
  const outcome = child(own + 20)
  expect(outcome.threads).toBeGreaterThan(1)
  expect(outcome.threads).toBeLessThan(20)
  expect(outcome.finite).toBe(true)
  const fewer = (outcome.warnings ?? []).filter(({ code }) => code === 'VIN_FEWER_THREADS')
  expect(fewer).toEqual([expect.objectContaining({ message: expect.stringContaining(`Expected 64 threads but the system gave ${outcome.threads}`) as string })])
})

test.runIf(possible)('hardly any, or none: it works, or says ERR_VIN_OUT_OF_MEMORY', () => {
  const outcomes = [0, 1, 2, 3].map((more) => child(own + more))
  for (const { threads, finite, code, message } of outcomes) {
    if (code === undefined) expect({ few: (threads ?? 99) < 4, finite }).toEqual({ few: true, finite: true })
    else expect({ code, message }).toEqual({ code: 'ERR_VIN_OUT_OF_MEMORY', message: expect.stringContaining('Expected a thread for the engine but the system gives none') as string })
  }
  expect(outcomes.some(({ code }) => code === 'ERR_VIN_OUT_OF_MEMORY')).toBe(true)
})
