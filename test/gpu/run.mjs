// A part of `npm run test:gpu`: a program that leaves records in a file, one item after another. What an item takes down with it is that item: it is named, and the program
// starts again with those that are left.
import { spawn } from 'node:child_process'
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { basename } from 'node:path'

/** How a part may end. Whatever is neither of the first two makes the run fail. */
export const good = ['passed', 'not run']

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** Lines that have been added to a file since the last call. */
function follow(path) {
  let [position, rest] = [0, '']
  return () => {
    const file = openSync(path, 'r')
    const buffer = Buffer.alloc(1 << 16)
    for (let bytes; (bytes = readSync(file, buffer, 0, buffer.length, position)) > 0; position += bytes) rest += buffer.toString('latin1', 0, bytes)
    closeSync(file)
    const lines = rest.split('\n')
    rest = lines.pop()
    return lines.map((line) => JSON.parse(Buffer.from(line, 'latin1').toString()))
  }
}

/** Running groups of processes, which end with this one. */
const groups = new Set()
const kill = (pid) => {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
export const killAll = () => groups.forEach(kill)

/** Runs a command of its own process group and gives its records to `take` as they come. `stall`: seconds without one that it is given. */
async function attempt({ command, args, env, cwd }, { records, stall, until, take, say }) {
  writeFileSync(records, '')
  const read = follow(records)
  const child = spawn(command, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-20_000)
      say(text)
    })
  }
  let end
  child.on('error', (error) => (end ??= { error }))
  child.on('close', (code, signal) => (end ??= { code, signal }))
  if (child.pid !== undefined) groups.add(child.pid)
  let last = performance.now()
  let reason
  const poll = () => {
    const rows = read()
    if (rows.length > 0) last = performance.now()
    rows.forEach(take)
  }
  while (end === undefined) {
    await sleep(20)
    poll()
    if (end !== undefined || reason !== undefined) continue
    if (performance.now() > until) reason = 'time'
    else if (performance.now() - last > stall * 1000) reason = 'stall'
    if (reason !== undefined) kill(child.pid)
  }
  poll()
  // What it may have left behind.
  if (child.pid !== undefined) {
    kill(child.pid)
    groups.delete(child.pid)
  }
  return { ...end, reason, output }
}

/**
 * part: { name, seconds, stall, tests (whether it has to run any), command(job) → { command, args, env }, read(output, complete) → what the output alone says is wrong, as `{ reason }` }
 * context: { cwd, job, records (a file), remaining (seconds), take(row), say(text) }
 *
 * Resolves with `{ part, status, reason, seconds, unfinished }`, status of: passed, failed, crashed, hung, cut off, not run.
 */
export async function runPart(part, { cwd, job, records, remaining, take, say }) {
  const start = performance.now()
  const limit = Math.min(part.seconds, remaining)
  const until = start + limit * 1000
  const seen = { planned: [], begun: new Set(), ended: new Set(), bad: new Set(), passed: 0, absent: undefined, said: undefined }
  const receive = (row) => {
    if (row.kind === 'items') seen.planned = row.items
    else if (row.kind === 'begin') seen.begun.add(row.item)
    else if (row.kind === 'absent') seen.absent = row.reason
    else if (row.kind === 'said') seen.said = row.reason
    if (row.kind === 'item') {
      seen.ended.add(row.item)
      seen.passed += row.passed ?? 0
    }
    if (row.status !== undefined && !good.includes(row.status)) seen.bad.add(row.status)
    if (!['items', 'begin', 'beat'].includes(row.kind)) take({ part: part.name, ...row })
  }
  const finish = (status, reason) => {
    const unfinished = seen.planned.filter((item) => !seen.ended.has(item))
    return { part: part.name, status, ...(reason === undefined ? {} : { reason }), seconds: Math.round((performance.now() - start) / 100) / 10, ...(unfinished.length > 0 ? { unfinished } : {}) }
  }
  const seconds = (value) => `${Math.round(value * 10) / 10} s`
  for (;;) {
    const command = part.command({ ...job, records, done: [...seen.begun] })
    if (command === undefined) break
    const { code, signal, error, reason, output } = await attempt({ cwd, ...command }, { records, stall: part.stall, until, take: receive, say })
    if (error !== undefined) return finish('not run', error.code === 'ENOENT' ? `${basename(command.command)} is not installed` : `${basename(command.command)} cannot be started: ${error.code}`)
    if (seen.absent !== undefined) return finish('not run', seen.absent)
    const pending = [...seen.begun].filter((item) => !seen.ended.has(item))
    const tail = output.trim().split('\n').slice(-12).join('\n')
    if (reason === 'time') return finish('cut off', `ran past ${seconds(limit)}${pending.length > 0 ? ` in ${pending.join(', ')}` : ''}`)
    const died = reason === 'stall' ? 'hung' : signal !== null || pending.length > 0 ? 'crashed' : undefined
    const said = part.read?.(output, died === undefined)
    if (said !== undefined) receive({ kind: 'said', status: 'failed', ...said })
    if (died === undefined) {
      if (code !== 0 && seen.bad.size === 0) return finish('failed', `ended with ${code}: ${tail}`)
      break
    }
    const why = died === 'hung' ? `said nothing for ${seconds(part.stall)}` : signal !== null ? `ended by ${signal} (${constants.signals[signal]})` : `ended with ${code}`
    for (const item of pending) receive({ kind: 'item', item, status: died, reason: why })
    if (pending.length === 0) return finish(died, `${why}: ${tail}`)
  }
  const status = ['hung', 'crashed', 'failed'].find((each) => seen.bad.has(each)) ?? 'passed'
  const unfinished = seen.planned.some((item) => !seen.ended.has(item))
  if (part.tests && seen.passed === 0 && status === 'passed') return finish('failed', 'no test of the device has run')
  return unfinished && status === 'passed' ? finish('failed', 'ended before it was done') : finish(status, seen.said)
}
