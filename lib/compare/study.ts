// A blind study over the videos of a comparison: a folder with one page and the videos under names that say nothing, to be opened from disk or sent to people.

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { checkFunction, checkInteger, checkNames, checkPath, checkSignal, checkString } from '../check.js'
import { VinError, expected, rangeError } from '../errors.js'
import { writeChunks, writeTextAtomically } from '../files/atomic-file.js'
import { claimFolder, fillFolder } from '../files/folder.js'
import { readSmallFile } from '../files/small-file.js'
import { sha256OfFile } from '../models/checksums.js'
import { errorCode } from '../realms.js'
import { REPORT, readReport } from './report.js'
import type { ReportRow } from './report.js'
import { studyMark, studyPage, type StudyData } from './study-page.js'

const VIDEOS = 'videos'
const PAGE = 'index.html'

export interface StudyOptions {
  /** Folder of the study. @default 'study' in that of the comparison */
  output?: string | undefined
  /** The method whose wins and losses are counted. @default the report's: 'vin', where it is there */
  reference?: string | undefined
  /** What it is shown beside. @default all others of the comparison */
  methods?: readonly string[] | undefined
  /** Lengths, video frames. @default all of the comparison */
  frames?: readonly number[] | undefined
  /** So many pairs a person, drawn evenly over methods. @default all */
  pairs?: number | undefined
  /** What people are asked. @default 'Which video is better?' */
  question?: string | undefined
  /** After each video that was copied. */
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined
  /** Ends the work: the call rejects with its reason, and what was in the folder stays. */
  signal?: AbortSignal | undefined
}

export interface Study {
  /** The page. */
  path: string
  /** Pairs that there are, and that a person is shown. */
  pairs: number
  perPerson: number
  methods: string[]
  reference: string
}

const optionNames = ['output', 'reference', 'methods', 'frames', 'pairs', 'question', 'onProgress', 'signal'] as const

/** 16 digits of a file's SHA-256: equal videos are one file, and no name tells a method. */
const nameOf = async (file: string, signal: AbortSignal | undefined): Promise<string> => `${(await sha256OfFile(file, signal)).slice(0, 16)}.mp4`

/**
Makes a page for a blind study of a finished comparison: people see two videos of one prompt, length and seed side by side, one of the reference method and one of another,
without being told which is which, and say by keys which is better, or that they are as good. Order and sides are drawn anew for every person. The page counts their votes and
saves them as JSON; `countVotes` puts several people's together.

The folder works from disk, without network. Its files' names tell no method; the source of the page does, to whoever looks for it.

@example
const { path } = await makeStudy('out', { methods: ['full', 'freenoise'], pairs: 20 })
@throws VinError ERR_VIN_FORMAT for a folder without a report, ERR_VIN_DISK; RangeError for a report without pairs of videos, or names that it has not
*/
export async function makeStudy(comparison: string, options: StudyOptions = {}): Promise<Study> {
  checkNames(options, 'makeStudy', optionNames)
  const folder = checkPath(comparison, 'the folder of makeStudy')
  const { question = 'Which video is better?' } = options
  if (checkString(question, 'question').trim() === '') throw expected('a question, as "Which video is better?",', 'question', question, 'range')
  const signal = checkSignal(options.signal)
  const onProgress = checkFunction(options.onProgress, 'onProgress')
  const output = checkPath(options.output ?? join(folder, 'study'), 'output')
  const most = options.pairs === undefined ? undefined : checkInteger(options.pairs, 'pairs', 1, 100_000)
  signal?.throwIfAborted()
  const report = await readReport(join(folder, REPORT))
  const reference = choice([options.reference ?? report.reference], report.methods, 'reference')[0]!
  const methods = choice(options.methods ?? report.methods.filter((name) => name !== reference), report.methods, 'methods')
  if (methods.includes(reference)) throw expected(`methods other than the reference ${JSON.stringify(reference)}`, 'methods', reference, 'range')
  const frames = choice(options.frames ?? report.frames, report.frames, 'frames')
  const pairs = pairsOf(report.rows.filter((row) => frames.includes(row.frames)), reference, methods)
  if (pairs.length === 0) throw rangeError(`Expected a comparison with videos of ${reference} and another method for one prompt, seed and length in ${folder} but there is none; compare at least two methods, without --no-videos`)
  const place = await claimFolder(output, { what: 'a study of vin-native', stranger: strangerIn })
  const names = new Map<string, string>()
  const videos = [...new Set(pairs.flatMap(([one, other]) => [one.video!, other.video!]))]
  const study: Study = { path: join(output, PAGE), pairs: pairs.length, perPerson: Math.min(most ?? pairs.length, pairs.length), methods: methods.filter((name) => pairs.some(([, other]) => other.method === name)), reference }
  await fillFolder(output, place, {
    isMember: (path) => path === PAGE || /^videos\/[0-9a-f]{16}\.mp4$/.test(path),
    write: async (temporary) => {
      await mkdir(join(temporary, VIDEOS))
      for (const [done, video] of videos.entries()) {
        onProgress?.({ done, total: videos.length })
        const file = join(folder, ...video.split('/'))
        const name = await nameOf(file, signal).catch((error: unknown) => {
          if (errorCode(error) !== 'ENOENT') throw error
          throw new VinError('ERR_VIN_FORMAT', `Expected the video ${video} of the report in ${folder} but there is none; compare it again`, { file, expected: 'a video' })
        })
        if (![...names.values()].includes(name)) await writeChunks(join(temporary, VIDEOS, name), createReadStream(file), signal)
        names.set(video, name)
      }
      const data = dataOf(pairs, reference, question, study.perPerson, (video) => `${VIDEOS}/${names.get(video)!}`)
      await writeTextAtomically(join(temporary, PAGE), studyPage(data))
    }
  })
  onProgress?.({ done: videos.length, total: videos.length })
  return study
}

/** @throws RangeError for what a report has not */
function choice<T extends string | number>(asked: readonly T[], known: readonly T[], name: string): T[] {
  if (!Array.isArray(asked) || asked.length === 0) throw expected('a list of at least one', name, asked, 'type')
  const wrong = asked.find((each) => !known.includes(each))
  if (wrong !== undefined) throw expected(`what the comparison has (${known.join(', ')})`, name, wrong, 'range')
  return [...new Set(asked)]
}

/** Rows of the reference with those of the others, of one prompt, seed and length. */
function pairsOf(rows: readonly ReportRow[], reference: string, methods: readonly string[]): [reference: ReportRow, other: ReportRow][] {
  const key = ({ frames, prompt, promptSha256, seed }: ReportRow): string => JSON.stringify([frames, prompt, promptSha256, seed])
  // A report may come from anywhere: what it names lies in its own folder.
  const isThere = ({ video }: ReportRow): boolean => video !== undefined && /^cells\/(?!\.)[^/\\]+\/video\.mp4$/.test(video)
  const own = new Map(rows.filter((row) => row.method === reference && isThere(row)).map((row) => [key(row), row]))
  return rows.flatMap((row) => {
    const beside = own.get(key(row))
    return beside === undefined || !isThere(row) || !methods.includes(row.method) ? [] : [[beside, row]]
  })
}

function dataOf(pairs: readonly [ReportRow, ReportRow][], reference: string, question: string, perPerson: number, place: (video: string) => string): StudyData {
  const shown = pairs.map(([one, other]): StudyData['pairs'][number] => ({ method: other.method, frames: other.frames, prompt: other.prompt, seed: other.seed, videos: [place(one.video!), place(other.video!)] }))
  const study = createHash('sha256').update(JSON.stringify([reference, question, shown])).digest('hex')
  return { study, reference, question, perPerson, pairs: shown }
}

/** What in a folder is no study. */
async function strangerIn(folder: string, names: readonly string[]): Promise<string | undefined> {
  const page = await readSmallFile(join(folder, PAGE), 64 << 20).catch((error: unknown) => {
    if (['ENOENT', 'EISDIR'].includes(errorCode(error) ?? '')) return undefined
    throw error
  })
  return page?.includes(studyMark) === true ? undefined : names[0]
}
