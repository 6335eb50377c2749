// What an evaluation keeps and prints: parts that are put together, rates with their intervals, and what may not be quoted.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readFrame } from '../../models/demo/evaluation/attributes.js'
import type { SegmentReading } from '../../models/demo/evaluation/attributes.js'
import type { GapRecord } from '../../models/demo/evaluation/gap.js'
import { promptOf, readObedience } from '../../models/demo/evaluation/obedience.js'
import { latentNoiseLevels } from '../../models/demo/evaluation/latent-noise.js'
import { gapLines, latentNoiseLines, lossLines, obedienceLines, reportLines } from '../../models/demo/evaluation/print.js'
import { checkReader } from '../../models/demo/evaluation/reader.js'
import { emptyReport, loadReport, mergeReports, saveReport } from '../../models/demo/evaluation/report.js'
import type { Report, ReportSettings } from '../../models/demo/evaluation/report.js'
import { renderFrame } from '../../lib/training/demo-world.js'

let folder = ''
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'vin-report-'))))
afterAll(() => rm(folder, { recursive: true, force: true }))

const settings: ReportSettings = { weights: 'ab'.repeat(32), frames: 64, promptFrames: 256, framesFrom: 'mp4', steps: 20, guidance: 2, shift: 2, stepCache: 'off' }
const shows = (background: SegmentReading['background']): SegmentReading => ({ background, colour: undefined, shape: undefined, size: undefined, curtain: 0 })
const readable = { frames: 16, background: 1, colour: 0.5, jitter: 0.25 }

function gap(seed: number, before: SegmentReading['background'], after: SegmentReading['background'], rest: Partial<GapRecord> = {}): GapRecord {
  return { row: 'vin', seed, before: shows(before), after: shows(after), middle: 1, readable, ...rest }
}

const line = (lines: readonly string[], row: string, attribute: string) => lines.find((text) => text.startsWith(row) && text.includes(` ${attribute} `))!

test('a match rate stands with its interval, the share read and the chance level', () => {
  // 109 of 128 keep what they had: half sea, half night; the rest change from sea to night.
  const videos = Array.from({ length: 128 }, (_, seed) => gap(seed, seed < 109 && seed % 2 === 1 ? 'night' : 'sea', seed < 109 && seed % 2 === 0 ? 'sea' : 'night'))
  const lines = gapLines(videos, 64)
  const background = line(lines, 'vin', 'background')
  expect(background).toContain('109 of 128')
  expect(background).toContain('85.2 %  (95 %: 78.0 % to 90.3 %)')
  expect(background).toContain('read on both sides 100.0 %')
  // sea: 55 + 55 + 19 of 256 readings.
  expect(background).toContain(`chance ${(100 * ((129 / 256) ** 2 + (127 / 256) ** 2)).toFixed(1)} %`)
  expect(background).not.toContain('not to be quoted')
  expect(background).toContain('collapsed')
  expect(lines.join('\n')).toContain('curtain over 100.0 % of the middle frame; frames read: background 100.0 %, colour 50.0 %; background changes between 25.0 %')
})

test('a rate of which fewer than 90 % were read on both sides says that it may not be quoted', () => {
  const videos = (read: number) => Array.from({ length: 20 }, (_, seed) => gap(seed, (['sea', 'night', 'room', 'sand'] as const)[seed % 4], seed < read ? 'sea' : undefined))
  expect(line(gapLines(videos(18), 64), 'vin', 'background')).not.toContain('not to be quoted')
  expect(line(gapLines(videos(17), 64), 'vin', 'background')).toContain('not to be quoted: fewer than 90 %')
})

test('rows that were given a world say how often they show it', () => {
  const given = { background: 'sea', colour: 'red', shape: 'circle', size: 'small' }
  const lines = gapLines([0, 1, 2, 3].map((seed) => gap(seed, seed === 0 ? 'sea' : 'night', seed < 3 ? 'sea' : 'room', { row: 'other-tokens', given: { before: given, after: given } })), 64)
  expect(lines.join('\n')).toContain('background 25.0 % / 75.0 %')
})

test('losses stand beside each other, their difference with its standard error, and as a row of the learning curve', () => {
  const videos = [0, 1].map((video) => ({
    video,
    event: 'curtain' as const,
    levels: [0.1, 0.2, 0.5].map((loss) => ({ withTokens: loss, withoutTokens: loss + 0.01 + 0.02 * video })),
    far: { withTokens: 0.3, withoutTokens: 0.4 },
    hidden: { noisy: { withTokens: 0.6, withoutTokens: 0.7 + 0.1 * video }, clean: 0.25, named: 0.2 + 0.02 * video }
  }))
  const lines = lossLines(videos, 64)
  // Differences −0.01 and −0.03: mean −0.02, deviation of the mean 0.01.
  expect(lines.find((text) => text.startsWith('σ 0.95'))).toMatch(/0\.5000 +0\.5200 +−0\.0200 ± 0\.0100/)
  expect(lines.at(-1)).toBe('| .100 / .200 / .500 | .120 / .220 / .520 | .300 / .400 |')
  expect(lines.some((text) => text.includes('2 videos with a curtain'))).toBe(true)
  const hidden = lines.findIndex((text) => text.includes('2 curtains, nothing named'))
  expect(lines.slice(hidden, hidden + 3).map((text) => text.match(/\d\.\d{4}/g))).toEqual([['0.6000', '0.7500', '0.1500', '0.0500'], ['0.2500'], ['0.2100']])
})

test('what noise on latents changes is printed level by level', () => {
  const shown = { background: 'sea', colour: 'red', shape: 'circle', size: 'large' }
  const videos = [0, 1].map((video) => ({
    video,
    shown,
    // A squared error of 650.25 is a hundredth of 255², 20 dB.
    levels: latentNoiseLevels.map((level) => ({ squaredError: 650.25 * (1 + 9 * Number(level === 0.6)), read: level === 0.6 && video === 1 ? { background: 'sea', colour: 'blue' } : shown }))
  }))
  const lines = latentNoiseLines(videos)
  expect(lines[0]).toContain('2 held-out videos')
  expect(lines[1]).toBe('noise 0.00  20.0 dB  read right: background 2, colour 2, shape 2, size 2')
  expect(lines.at(-1)).toBe('noise 0.60  10.0 dB  read right: background 2, colour 1, shape 1, size 1')
})

test('rendered videos of a prompt obey it, grey ones do not', () => {
  const records = [1000, 1001, 1002, 1003, 1004].map((seed) => {
    const { world } = promptOf(seed, 64)
    return readObedience(seed, 64, Array.from({ length: 64 }, (_, frame) => readFrame(renderFrame(world, frame))))
  })
  for (const { asked, read } of records) expect([read.background, read.colour]).toEqual([asked.background, asked.colour])
  expect(obedienceLines(records, 64).find((text) => text.includes('colour'))).toContain('5 of 5')
  const grey = readObedience(1000, 64, Array.from({ length: 64 }, () => readFrame(new Uint8Array(64 * 64 * 3).fill(128))))
  const lines = obedienceLines([grey], 64)
  for (const name of ['background', 'colour', 'shape', 'size']) expect(line(lines, 'obeyed', name)).toContain('0 of 1')
  expect(line(lines, 'obeyed', 'background')).toContain('a guess 20.0 %')
})

test('the reader is checked on frames that are known and on noise', () => {
  const { right, onNoise } = checkReader(16, 4)
  expect([right.background, right.colour, onNoise]).toEqual([1, 1, 0])
  expect(right.shape).toBeGreaterThanOrEqual(0.91)
})

const part = (seeds: readonly number[], changes: Partial<ReportSettings> = {}): Report => ({
  ...emptyReport({ ...settings, ...changes }),
  gaps: seeds.flatMap((seed) => [gap(seed, 'sea', seed % 2 === 0 ? 'sea' : 'night'), gap(seed, 'room', 'room', { row: 'independent' })])
})

test('parts put together print what the whole prints, unread attributes included', async () => {
  const reader = checkReader(1, 1)
  const files = ['a.json', 'b.json'].map((name) => join(folder, name))
  // The later part first: order is by seed.
  await saveReport(files[0]!, part([2, 3]))
  await saveReport(files[1]!, part([0, 1]))
  const merged = mergeReports(await Promise.all(files.map(async (file) => ({ file, report: await loadReport(file) }))))
  expect(reportLines(merged, reader)).toEqual(reportLines(part([0, 1, 2, 3]), reader))
  expect(merged.gaps.map(({ seed }) => seed)).toEqual([0, 0, 1, 1, 2, 2, 3, 3])
})

test('parts of another evaluation, and a video that is there twice, are refused by name', () => {
  const merge = (...reports: Report[]) => mergeReports(reports.map((report, index) => ({ file: `${index}.json`, report })))
  expect(() => merge(part([0]), part([1], { shift: 8 }))).toThrow(/shift 2 in 1\.json.*found 8/)
  expect(() => merge(part([0]), part([1], { framesFrom: 'vae' }))).toThrow(/framesFrom/)
  expect(() => merge(part([0, 1]), part([1]))).toThrow(/vin, seed 1/)
  expect(() => merge()).toThrow(RangeError)
})

test('a file that is no report is refused', async () => {
  const file = join(folder, 'other.json')
  await writeFile(file, '{"kind":"something else"}')
  await expect(loadReport(file)).rejects.toThrow(/other\.json/)
  await writeFile(file, 'no JSON')
  await expect(loadReport(file)).rejects.toThrow(/other\.json/)
})
