// The report of `npm run test:gpu`: every record as a line of JSON when it comes, and the same as a page that is written anew with it.
import { appendFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const digits = (value) => (value === undefined ? '–' : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toPrecision(2))
const time = (seconds) => (seconds >= 1 ? `${digits(seconds)} s` : seconds >= 1e-3 ? `${digits(seconds * 1e3)} ms` : `${digits(seconds * 1e6)} µs`)
const percent = (part, whole) => (whole === undefined ? '–' : `${digits((100 * part) / whole)} %`)
const cell = (text) => String(text).replaceAll('|', '\\|').replaceAll('\n', ' ')
const table = (head, rows) => [`| ${head.join(' | ')} |`, `|${head.map(() => '---|').join('')}`, ...rows.map((row) => `| ${row.map(cell).join(' | ')} |`), '']

/** The largest rates that anything of this run has reached, by what was measured: `{ copy: { rate, what }, … }`. */
export function ceilingsOf(records) {
  const found = records.filter(({ kind }) => kind === 'ceiling').map(({ ceiling, rate, what }) => ({ ceiling, rate, what }))
  for (const { part, kind, item, bytes, flops, seconds, work, status } of records) {
    if (part !== 'throughput' || kind !== 'item' || status !== 'passed') continue
    if (item === 'copy') found.push({ ceiling: 'copy', rate: bytes / seconds, what: `the op copy, ${work}` })
    if (item === 'linear') found.push({ ceiling: 'matmul fp32', rate: flops / seconds, what: `the op linear, ${work}` })
  }
  const best = {}
  for (const { ceiling, rate, what } of found) if (!(rate <= best[ceiling]?.rate)) best[ceiling] = { rate, what }
  return best
}

function throughput(records) {
  const rows = records.filter(({ part, kind }) => part === 'throughput' && kind === 'item')
  if (rows.length === 0) return []
  const ceilings = ceilingsOf(records)
  const peers = new Map(records.filter(({ part, kind }) => part === 'pytorch' && kind === 'item').map((row) => [row.item, row]))
  const pytorch = records.find(({ kind }) => kind === 'pytorch')
  const peer = (row) => {
    const other = peers.get(row.item)
    return other === undefined ? '–' : other.seconds === undefined ? other.reason : `${time(other.seconds)}, ${digits(other.seconds / row.seconds)} ×`
  }
  return [
    '## Throughput', '',
    'A call of each op: bytes read and written once, floating-point operations of products, and their share of the ceilings of this run.', '',
    ...Object.entries(ceilings).map(([name, { rate, what }]) => `- ceiling of ${name}: ${name === 'copy' ? `${digits(rate / 1e9)} GB/s` : `${digits(rate / 1e12)} TFLOP/s`} (${what})`),
    ...(pytorch === undefined ? [] : [`- PyTorch ${pytorch.version} on ${pytorch.device}: its time, and how many times as long as ours`]), '',
    ...table(
      ['op', 'largest operand', 'time', 'GB/s', 'of copy', 'TFLOP/s', 'of matmul', 'PyTorch'],
      rows.map((row) => {
        if (row.status !== 'passed') return [row.item, row.status, row.reason, '', '', '', '', '']
        const [bytes, flops] = [row.bytes / row.seconds, row.flops > 0 ? row.flops / row.seconds : undefined]
        const share = flops === undefined ? '–' : percent(flops, ceilings['matmul fp32']?.rate)
        return [row.item, row.work, time(row.seconds), digits(bytes / 1e9), percent(bytes, ceilings.copy?.rate), digits(flops === undefined ? undefined : flops / 1e12), share, peer(row)]
      })
    )
  ]
}

function device(records) {
  const row = records.find(({ kind }) => kind === 'device')
  if (row === undefined) return []
  const lines = Object.entries({ ...row.addon, ...row.driver }).map(([name, value]) => `- ${name}: ${value}`)
  const choice = records.find(({ kind }) => kind === 'choice')
  return ['## Device', '', ...lines, ...(choice === undefined ? [] : [`- device 'auto': ${choice.device} (${choice.plugins.join('; ')})`]), '']
}

/** The page. `end` of the records' first: `{ kind: 'start', … }`, of the last: `{ kind: 'end', … }` where the run was not cut off. */
export function pageOf(records, parts) {
  const [{ kind, ...start }] = records
  const end = records.find((row) => row.kind === 'end')
  const ended = new Map(records.filter((row) => row.kind === 'part').map((row) => [row.part, row]))
  const counts = (name) => {
    const items = records.filter(({ part, kind: what }) => part === name && what === 'item')
    const [passed, failed] = ['passed', 'failed'].map((key) => items.reduce((sum, row) => sum + (row[key] ?? (row.status === key ? 1 : 0)), 0))
    return items.length === 0 ? '' : `${passed} passed${failed > 0 ? `, ${failed} failed` : ''}`
  }
  const bad = records.filter(({ kind: what, status }) => (what === 'test' || what === 'item' || what === 'said') && status !== 'passed' && status !== 'not run')
  const unfinished = [...ended.values()].filter((row) => row.unfinished !== undefined)
  return [
    `# test:gpu, ${start.date}`, '',
    ...Object.entries(start).filter(([name]) => name !== 'date').map(([name, value]) => `- ${name}: ${value}`), '',
    end === undefined ? '**Not finished**: the run goes on, or was cut off.' : end.good ? '**Passed**: everything that ran.' : '**Failed**: see below.', '',
    ...table(['part', 'result', 'seconds', 'tests or ops', 'why'], parts.map((name) => {
      const { status = records.some((row) => row.part === name) ? 'unfinished' : 'not begun', seconds = '', reason = '' } = ended.get(name) ?? {}
      return [name, status, seconds, counts(name), reason.slice(0, 600)]
    })),
    ...(bad.length === 0 ? [] : ['## What failed', '', ...table(['part', 'where', 'how', 'why'], bad.map((row) => [row.part, [row.item, row.test].filter(Boolean).join(': '), row.status, (row.reason ?? '').slice(0, 600)]))]),
    ...(unfinished.length === 0 ? [] : ['## What did not run', '', ...unfinished.map((row) => `- ${row.part} (${row.status}): ${row.unfinished.join(', ')}`), '']),
    ...device(records),
    ...throughput(records)
  ].join('\n')
}

export class Report {
  #records = []
  #written = 0

  /** root: paths below it are written without it. */
  constructor(folder, root, parts) {
    this.root = `${root}/`
    mkdirSync(folder, { recursive: true })
    this.lines = join(folder, 'report.jsonl')
    this.page = join(folder, 'report.md')
    this.parts = parts
    writeFileSync(this.lines, '')
  }

  get records() {
    return this.#records
  }

  /** A line at once; the page twice a second at most, and where a part ends. */
  add(given) {
    const line = JSON.stringify(given).replaceAll(this.root, '')
    const record = JSON.parse(line)
    this.#records.push(record)
    appendFileSync(this.lines, `${line}\n`)
    const whole = record.kind !== 'item' && record.kind !== 'test'
    if (!whole && performance.now() - this.#written < 500) return
    writeFileSync(`${this.page}.new`, `${pageOf(this.#records, this.parts).trimEnd()}\n`)
    renameSync(`${this.page}.new`, this.page)
    this.#written = performance.now()
  }
}
