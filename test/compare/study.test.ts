// A blind study: how votes are counted, what a page shows and hides, and the page in a browser, by keys alone.
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compare, countVotes, makeStudy } from '../../lib/index.js'
import type { StudyAnswers, StudyVote } from '../../lib/index.js'
import { vinNative } from '../cli/support.js'
import { chromium, withPage, type Page } from '../support/chromium.js'
import { tinyPipeline } from '../support/models.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-study-'))
  const pipeline = await tinyPipeline()
  try {
    await compare(pipeline, { report: at('out'), methods: ['vin', 'full', 'independent'], prompts: ['a red circle', 'a </script> "square"'], frames: [48], metrics: ['temporalFlickering'], numInferenceSteps: 1 })
  } finally {
    await pipeline.dispose()
  }
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

const at = (...path: string[]): string => join(folder, ...path)
const videoOf = async (method: string, prompt: string): Promise<Buffer> => {
  const report = JSON.parse(await readFile(at('out', 'report.json'), 'utf8')) as { rows: { method: string; prompt: string; video: string }[] }
  return readFile(at('out', report.rows.find((row) => row.method === method && row.prompt === prompt)!.video))
}

/** L: the left one, R: the right one, T: a tie; small: the reference was on the right. */
const votesOf = (method: string, frames: number, letters: string): StudyVote[] =>
  [...letters].map((letter, seed) => ({ method, frames, prompt: 'a circle', seed, left: /[LRT]/.test(letter) ? 'vin' : method, choice: ({ l: 'left', r: 'right', t: 'tie' } as const)[letter.toLowerCase() as 'l'], seconds: 3 }))
const answersOf = (session: number, votes: StudyVote[], more: Partial<StudyAnswers> = {}): StudyAnswers => ({ kind: 'vin-native study answers', version: 1, study: 'a', reference: 'vin', question: 'Which?', person: 'Ada', session, votes, results: [], ...more })

test('votes are counted for the reference, whichever side it was on', () => {
  // Against full: L and r are wins, R and l losses. By hand: 64 frames 3 wins, 1 tie, 1 loss; 128 frames 1 win, 1 tie, 1 loss.
  const first = answersOf(1, [...votesOf('full', 64, 'LrT'), ...votesOf('freenoise', 64, 'RRl')])
  const second = answersOf(2, [...votesOf('full', 64, 'Rr'), ...votesOf('full', 128, 'Ltl')], { person: 'Ben' })
  const { people, reference, results } = countVotes([first, second])
  expect({ people, reference }).toEqual({ people: 2, reference: 'vin' })
  expect(results.map(({ method, frames, votes, wins, ties, losses }) => [method, frames, votes, wins, ties, losses])).toEqual([
    ['freenoise', undefined, 3, 0, 0, 3],
    ['freenoise', 64, 3, 0, 0, 3],
    ['full', undefined, 8, 4, 2, 2],
    ['full', 64, 5, 3, 1, 1],
    ['full', 128, 3, 1, 1, 1]
  ])
  // 2 of 8: Wilson's interval in tables is .0715 … .5907, and that of 3 of 3 is .4385 … 1.
  const all = results[2]!
  expect([all.winRate.mean, all.tieRate.mean, all.lossRate.mean]).toEqual([0.5, 0.25, 0.25])
  expect(all.lossRate.interval![0]).toBeCloseTo(0.0715, 4)
  expect(all.lossRate.interval![1]).toBeCloseTo(0.5907, 4)
  expect(results[0]!.lossRate.interval![0]).toBeCloseTo(0.4385, 4)
  expect(results[0]!.lossRate.interval![1]).toBeCloseTo(1, 12)
})

test('the intervals are those of methods.md, and a file that was saved twice counts once', () => {
  const votes = votesOf('full', 64, 'R'.repeat(41) + 'T'.repeat(20) + 'L'.repeat(67))
  const { people, results } = countVotes([answersOf(7, votes.slice(0, 50)), answersOf(7, votes), answersOf(7, votes)])
  expect(people).toBe(1)
  expect(results[0]).toMatchObject({ votes: 128, losses: 41, ties: 20, wins: 67 })
  expect(results[0]!.lossRate.interval!.map((end) => end.toFixed(4))).toEqual(['0.2457', '0.4054'])
})

test('answers that are none, or of another study, are refused in a sentence', () => {
  const good = answersOf(1, votesOf('full', 64, 'L'))
  expect(() => countVotes([])).toThrow('Expected answers of at least one person for countVotes but received none')
  for (const wrong of [5, 'ada.json', null, undefined, good]) expect(() => countVotes(wrong as never)).toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: expect.stringMatching(/^Expected a list of answers for countVotes but received /) as string }))
  const others = [answersOf(2, good.votes, { study: 'b'.repeat(64), person: 'Ben' }), answersOf(3, good.votes, { person: '' })]
  expect(() => countVotes([good, ...others])).toThrow(`Expected answers to one study but received those to 2, which were shown different videos: study a in answers[0] ("Ada"), answers[2]; study ${'b'.repeat(12)} in answers[1] ("Ben"); count them apart`)
  expect(() => countVotes([good, answersOf(2, [])])).toThrow(expect.objectContaining({ code: 'ERR_VIN_FORMAT', message: 'Expected at least one vote in answers[1] but found none; leave it out' }))
  const thousand = [...votesOf('full', 64, 'LR'), ...Array.from({ length: 1000 }, () => votesOf('full', 64, 'lr')[1]!)]
  expect(() => countVotes([answersOf(1, thousand)])).toThrow(expect.objectContaining({ code: 'ERR_VIN_FORMAT', message: 'Expected one vote on each pair in answers[0] but found votes[1] and votes[2] on the same (full, 64 frames, "a circle", seed 1); take the file as the page of the study saved it' }))
  for (const wrong of [null, 7, { ...good, kind: 'x' }, { ...good, votes: {} }]) expect(() => countVotes([wrong as never])).toThrow('Expected answers of a study in answers[0] but found something else')
  for (const vote of [null, { left: 'left' }, { ...good.votes[0], choice: 'both' }, { ...good.votes[0], left: 'freenoise' }, { ...good.votes[0], method: 'vin' }]) {
    expect(() => countVotes([{ ...good, votes: [good.votes[0], vote] } as never])).toThrow('as votes[1] in answers[0]')
  }
})

test('the command says of which files it speaks', async () => {
  const good = answersOf(1, votesOf('full', 64, 'L'))
  const files = { 'here.json': good, 'there.json': { ...good, study: 'b', session: 2, person: '' }, 'none.json': { ...good, votes: [] }, 'twice.json': { ...good, votes: [...good.votes, ...good.votes] } }
  for (const [name, value] of Object.entries(files)) await writeFile(at(name), JSON.stringify(value))
  const refused = async (code: number, text: string, ...args: string[]): Promise<void> => {
    const result = await vinNative(folder, 'study', ...args)
    expect(result.stderr).toContain(text)
    expect(result).toMatchObject({ code, stdout: '' })
  }
  await refused(2, 'study a in here.json ("Ada"); study b in there.json; count them apart', 'votes', 'here.json', 'there.json')
  await refused(3, 'Expected at least one vote in none.json but found none', 'votes', 'here.json', 'none.json')
  await refused(3, 'Expected one vote on each pair in twice.json but found votes[0] and votes[1]', 'votes', 'twice.json')
  await refused(2, "Expected a value for --question but received ''", 'page', 'out', '--question', '')
  await refused(2, 'Expected a question, as "Which video is better?", for --question but received "  "', 'page', 'out', '--question', '  ')
})

test('a study holds the videos under names that tell nothing, and one page', async () => {
  const steps: number[] = []
  const study = await makeStudy(at('out'), { onProgress: ({ done }) => void steps.push(done) })
  expect(study).toEqual({ path: at('out', 'study', 'index.html'), pairs: 4, perPerson: 4, reference: 'vin', methods: ['full', 'independent'] })
  expect(steps).toEqual([0, 1, 2, 3, 4, 5, 6])
  expect(await readdir(at('out', 'study'))).toEqual(['index.html', 'videos'])
  const names = await readdir(at('out', 'study', 'videos'))
  for (const name of names) expect(name).toMatch(/^[0-9a-f]{16}\.mp4$/)
  const page = await readFile(study.path, 'utf8')
  // What is shown names no method; the script's data do.
  expect(page.slice(0, page.indexOf('<script'))).not.toMatch(/\bvin\b(?!-native)|\bfull\b|independent/)
  expect(page.match(/<\/script>/g)).toHaveLength(2)
  const data = JSON.parse(/id="data">(.*?)<\/script>/.exec(page)![1]!) as { pairs: { method: string; prompt: string; videos: [string, string] }[] }
  expect(data.pairs.map(({ method, prompt }) => `${method}: ${prompt}`).sort()).toEqual(['full: a </script> "square"', 'full: a red circle', 'independent: a </script> "square"', 'independent: a red circle'])
  for (const { method, prompt, videos } of data.pairs) {
    for (const [i, of] of ['vin', method].entries()) expect((await readFile(at('out', 'study', videos[i]!))).equals(await videoOf(of, prompt)), `${of}, ${prompt}`).toBe(true)
  }
  // Made again for fewer: what it no longer shows goes.
  expect(await makeStudy(at('out'), { reference: 'full', methods: ['independent'], pairs: 1 })).toMatchObject({ pairs: 2, perPerson: 1, reference: 'full' })
  expect((await readdir(at('out', 'study', 'videos'))).length).toBe(4)
})

test('what no study can be made of is refused, and nothing is written', async () => {
  const refused = (options: object, expected: object, from = 'out'): Promise<void> => expect(makeStudy(at(from), { output: at('refused'), ...options })).rejects.toMatchObject(expected)
  const says = (text: string): string => expect.stringContaining(text) as string
  await refused({ reference: 'freenoise' }, { code: 'ERR_OUT_OF_RANGE', message: 'Expected what the comparison has (vin, full, independent) for reference but received "freenoise"' })
  await refused({ methods: ['vin'] }, { code: 'ERR_OUT_OF_RANGE', message: says('methods other than the reference "vin"') })
  await refused({ frames: [32] }, { code: 'ERR_OUT_OF_RANGE', message: says('(48) for frames but received 32') })
  await refused({ pairs: 0 }, { code: 'ERR_OUT_OF_RANGE' })
  await refused({ question: '' }, { code: 'ERR_OUT_OF_RANGE', message: says('for question but received ""') })
  await refused({ signal: AbortSignal.abort(new Error('early')) }, { message: 'early' })
  await refused({}, { code: 'ERR_VIN_FORMAT', message: says('but found no file') }, 'nowhere')
  await mkdir(at('odd'))
  const report = JSON.parse(await readFile(at('out', 'report.json'), 'utf8')) as { rows: { video?: string }[] }
  const write = (change: (row: { video?: string }) => object): Promise<void> => writeFile(at('odd', 'report.json'), JSON.stringify({ ...report, rows: report.rows.map(change) }))
  // Videos outside the comparison are none of it; those that went are named.
  await write((row) => ({ ...row, video: '../out/report.json' }))
  await refused({}, { code: 'ERR_OUT_OF_RANGE', message: says('compare at least two methods, without --no-videos') }, 'odd')
  await write((row) => row)
  await refused({}, { code: 'ERR_VIN_FORMAT', message: says('Expected the video cells/') }, 'odd')
  expect(await readdir(folder)).not.toContain('refused')
  await mkdir(at('photos'))
  await writeFile(at('photos', 'holiday.jpg'), '')
  await refused({ output: at('photos') }, { code: 'ERR_VIN_DISK', message: says('holds holiday.jpg') })
})

const noBrowser = chromium === undefined ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : ''

test.skipIf(chromium === undefined)(`the page is voted on by keys alone, blindly, at 400 pixels and in the dark${noBrowser}`, { timeout: 120_000 }, async () => {
  const { path } = await makeStudy(at('out'), { output: at('page'), question: 'Which one moves <better>?' })
  const until = async (page: Page, expression: string): Promise<void> => {
    for (let attempt = 0; !(await page.evaluate<boolean>(expression)); attempt++) {
      if (attempt === 100) throw new Error(`never: ${expression}; ${page.complaints.join('\n')}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  const pictures = process.env['VIN_SCREENSHOTS']
  const picture = async (page: Page, name: string): Promise<void> => (pictures === undefined ? undefined : page.screenshot(join(pictures, `${name}.png`)))
  const ready = (page: Page, pair: number): Promise<void> => until(page, `document.getElementById('status').textContent === 'Pair ${pair} of 4' && !document.getElementById('left').disabled`)
  await withPage(chromium!, `${pathToFileURL(path).href}#seed=5`, async (page) => {
    await page.resize(400, 800)
    await page.dark(true)
    const seen = (): Promise<string> => page.evaluate("[document.title, document.body.innerText, ...[...document.querySelectorAll('main *')].flatMap((each) => [...each.attributes].map(({ value }) => value))].join(' ')")
    const blind = async (): Promise<void> => expect(await seen()).not.toMatch(/\bvin\b|\bfull\b|independent/)
    expect(await page.evaluate("document.querySelector('h1').textContent")).toBe('Which one moves <better>?')
    await blind()
    await picture(page, 'study-begin')
    await page.press('Tab')
    await page.type('Ada 7')
    await page.press('Enter')
    const [lefts, rights]: string[][] = [[], []]
    const look = async (pair: number): Promise<void> => {
      await ready(page, pair)
      await blind()
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
      const [left, right] = await page.evaluate<string[]>("[...document.querySelectorAll('video')].map((video) => video.getAttribute('src'))")
      lefts.push(left!)
      rights.push(right!)
    }
    await look(1)
    await until(page, "[...document.querySelectorAll('video')].every((video) => video.currentTime > 0.2)")
    await picture(page, 'study-pair')
    // Space stops both, Home goes to the beginning.
    await page.press(' ')
    await page.press('Home')
    await until(page, "[...document.querySelectorAll('video')].every((video) => video.paused && video.currentTime === 0)")
    await page.press('ArrowLeft')
    await look(2)
    await page.press('ArrowDown')
    await ready(page, 3)
    // Back takes a vote away.
    await page.press('Backspace')
    await ready(page, 2)
    await page.press('ArrowDown')
    await look(3)
    await page.press('ArrowRight')
    await look(4)
    // Closed and opened again, it goes on.
    await page.evaluate('location.reload()')
    await until(page, "document.readyState === 'complete' && !document.getElementById('begin').hidden && !document.getElementById('goon').hidden")
    await page.evaluate("document.getElementById('goon').focus()")
    await page.press('Enter')
    await ready(page, 4)
    await page.press('ArrowRight')
    await until(page, "!document.getElementById('end').hidden")
    await picture(page, 'study-end')
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    expect(await page.evaluate('document.activeElement.id')).toBe('save')
    expect(await page.evaluate("document.getElementById('save').download")).toMatch(/^answers-Ada-7-5\.json$/)
    const saved = await page.evaluate<string>("fetch(document.getElementById('save').href).then((answer) => answer.text()).catch(() => document.getElementById('text').value)")
    const answers = JSON.parse(saved) as StudyAnswers
    expect(saved).toBe(await page.evaluate("document.getElementById('text').value"))
    expect(answers).toMatchObject({ person: 'Ada 7', session: 5, reference: 'vin', question: 'Which one moves <better>?' })
    expect(answers.votes.map(({ choice }) => choice)).toEqual(['left', 'tie', 'right', 'right'])
    // Each vote names the methods of the files that were shown.
    const { pairs } = JSON.parse(await page.evaluate<string>("document.getElementById('data').textContent")) as { pairs: { method: string; prompt: string; videos: [string, string] }[] }
    for (const [i, { method, prompt, left }] of answers.votes.entries()) {
      const { videos } = pairs.find((each) => each.method === method && each.prompt === prompt)!
      expect([lefts[i], rights[i]]).toEqual(left === 'vin' ? videos : [...videos].reverse())
    }
    expect(new Set(answers.votes.map(({ method, prompt }) => method + prompt)).size).toBe(4)
    // The page counts as the library does.
    expect(answers.results).toEqual(JSON.parse(JSON.stringify(countVotes([answers]).results)))
    const counted = await page.evaluate<string[][]>("[...document.querySelectorAll('#counts tr')].map((row) => [...row.children].map((cell) => cell.textContent))")
    expect(counted.map(([method, votes, wins, ties, losses]) => [method, ...[votes, wins, ties, losses].map(Number)])).toEqual(answers.results.filter(({ frames }) => frames === undefined).map(({ method, votes, wins, ties, losses }) => [method, votes, wins, ties, losses]))
    // The files of two people, one of them by hand, as a table.
    await writeFile(at('ada.json'), saved)
    const ben = { ...answers, person: 'Ben', session: 6, votes: answers.votes.map((vote) => ({ ...vote, choice: vote.left === 'vin' ? 'right' : 'left' })) }
    await writeFile(at('ben.json'), JSON.stringify(ben))
    const table = await vinNative(folder, 'study', 'votes', 'ada.json', 'ben.json')
    expect(table.code, table.stderr).toBe(0)
    const [full, independent] = ['full', 'independent'].map((name) => answers.results.find(({ method, frames }) => method === name && frames === undefined)!)
    const cells = table.stdout.split('\n').map((line) => line.trim().split(/ {2,}/))
    expect(cells[0]).toEqual(['vin against', 'frames', 'votes', 'wins', 'ties', 'losses', 'lost', '95 %'])
    for (const [i, own] of [full!, independent!].entries()) expect(cells[i + 1]!.slice(0, 6)).toEqual([own.method, 'all', '4', String(own.wins), String(own.ties), String(own.losses + 2)])
    expect(table.stdout).toContain('2 people')
    // Another person may follow; sides and order are drawn anew.
    await page.evaluate("document.getElementById('anew').click()")
    expect(await page.evaluate("document.getElementById('goon').hidden && !document.getElementById('begin').hidden")).toBe(true)
    await page.dark(false)
    await page.resize(1200, 900)
    await page.evaluate("location.hash = '#seed=6'")
    await page.press('Enter')
    await look(1)
    await picture(page, 'study-wide')
    expect(page.complaints).toEqual([])
  })
})
