// compare on a disk that fills up in the middle: what is finished stays whole, the call says so, and the same one goes on.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { compare } from '../../lib/index.js'
import type { CompareOptions, CompareRow } from '../../lib/index.js'
import { mountSmall, useFolder } from '../files/support.js'
import { tinyPipeline } from '../support/models.js'

const at = useFolder()
const videos = { methods: ['vin', 'full'], prompts: ['a red circle', 'a blue square'], frames: [16], metrics: ['temporalFlickering'], numInferenceSteps: 2 } as const satisfies Partial<CompareOptions>

/** Takes all bytes that are left. */
function fill(file: string): void {
  writeFileSync(file, '')
  expect(() => writeFileSync(file, Buffer.alloc(8 << 20))).toThrow('ENOSPC')
}

test('what is finished stays, what failed leaves nothing half-written, and the same call goes on', async (context) => {
  mkdirSync(at('small'))
  mountSmall(context, at('small'), 4 << 20)
  await using pipeline = await tinyPipeline()
  const rows: CompareRow[] = []
  const report = at('small', 'out')
  const onRow = (row: CompareRow): void => {
    if (rows.push(row) === 2) fill(at('small', 'filler'))
  }
  const disk = { code: 'ERR_VIN_DISK', message: expect.stringContaining('the disk is full') as string, details: { reason: 'ENOSPC' } }
  await expect(compare(pipeline, { ...videos, report, onRow })).rejects.toMatchObject(disk)
  expect(rows).toHaveLength(2)
  const finished = rows.flatMap(({ cell }) => ['row.json', 'video.mp4'].map((name) => join(report, 'cells', cell, name)))
  const before = finished.map((file) => readFileSync(file, 'hex'))
  for (const [i, row] of rows.entries()) expect(JSON.parse(readFileSync(finished[2 * i]!, 'utf8'))).toEqual(JSON.parse(JSON.stringify(row)))
  // Full from the beginning is the same sentence.
  await expect(compare(pipeline, { ...videos, report })).rejects.toMatchObject({ code: 'ERR_VIN_DISK' })
  rmSync(at('small', 'filler'))
  const later: string[] = []
  const whole = await compare(pipeline, { ...videos, report, onRow: ({ cell }) => void later.push(cell) })
  expect(later).toHaveLength(2)
  expect(later.filter((cell) => rows.some((row) => row.cell === cell))).toEqual([])
  expect(whole.rows).toHaveLength(4)
  expect(finished.map((file) => readFileSync(file, 'hex'))).toEqual(before)
  // Nothing of the failed tries is left.
  const names = readdirSync(report, { recursive: true }) as string[]
  expect(names.filter((name) => /\.tmp$|states|lock/.test(name))).toEqual([])
  expect(names.filter((name) => /row\.json$/.test(name))).toHaveLength(4)
  expect(names.filter((name) => /video\.mp4$/.test(name))).toHaveLength(4)
})

test('a disk that is too small is refused before the work', async (context) => {
  mkdirSync(at('tiny'))
  mountSmall(context, at('tiny'), 256 << 10)
  await using pipeline = await tinyPipeline()
  const rows: CompareRow[] = []
  await expect(compare(pipeline, { ...videos, frames: [128], seeds: 4, report: at('tiny', 'out'), onRow: (row) => void rows.push(row) })).rejects.toMatchObject({
    code: 'ERR_VIN_DISK',
    message: expect.stringMatching(/^Expected about \d+ MiB for the comparison in .* but 0 MiB are free; choose another disk$/) as string
  })
  expect(rows).toEqual([])
})
