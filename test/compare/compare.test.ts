// compare: what a row says, going on, sharing a folder, repeating a report, what is refused; and its page in a browser.
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { decode } from 'fast-png'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline, compare, evaluate, vinEncoder } from '../../lib/index.js'
import type { CompareOptions, CompareReport, CompareRow, Frame } from '../../lib/index.js'
import { readVariant } from '../../lib/compare/options.js'
import { resolveLimits } from '../../lib/options/limits.js'
import { chromium, withPage } from '../support/chromium.js'
import { shake, tinyPipeline, tinyTextEncoder, tinyTokenizer, tinyTransformer, tinyVAE } from '../support/models.js'

let folder: string
let pipeline: VideoPipeline
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-compare-'))
  pipeline = await tinyPipeline()
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true, force: true })
})

const at = (...path: string[]): string => join(folder, ...path)
const metrics = ['temporalFlickering', 'sceneCuts', 'subjectConsistency', 'identityOverGap'] as const
const small = (report: string, more: Partial<CompareOptions> = {}): CompareOptions => ({ report: at(report), methods: ['vin', 'full'], prompts: ['a red circle', 'a blue square'], frames: [16, 32], metrics, numInferenceSteps: 2, videos: false, ...more })
const rowFile = async (report: string, cell: string): Promise<CompareRow> => JSON.parse(await readFile(at(report, 'cells', cell, 'row.json'), 'utf8')) as CompareRow

let report: CompareReport
const made: CompareRow[] = []

test('a row is the video that generate makes, measured by evaluate, with what plan says it costs', async () => {
  const estimates: unknown[] = []
  const stages = new Set<string>()
  report = await compare(pipeline, small('out', { videos: true, onRow: (row) => void made.push(row), onEstimate: (estimate) => void estimates.push(estimate), onProgress: ({ stage }) => void stages.add(stage) }))
  expect(estimates).toEqual([{ cells: 8, open: 8, seconds: expect.any(Number) as number, bytes: expect.any(Number) as number, freeBytes: expect.any(Number) as number }])
  expect([...stages]).toEqual(['trying', 'comparing'])
  expect(made).toHaveLength(8)
  expect(report).toMatchObject({ methods: ['vin', 'full'], frames: [16, 32], seeds: [0], prompts: ['a blue square', 'a red circle'], reference: 'vin', metrics, options: { numInferenceSteps: 2, guidanceScale: 2, width: 32, height: 32 } })
  const cell = report.rows.find(({ method, frames, prompt }) => method === 'full' && frames === 32 && prompt === 'a red circle')!
  const options = { method: 'full', numFrames: 32, prompt: 'a red circle', seed: 0, numInferenceSteps: 2 } as const
  const { flops, memory } = pipeline.plan(options)
  expect(cell).toMatchObject({ flops: flops.total, peakMemory: memory.peak, skippedSteps: 0 })
  const evaluation = await evaluate(await pipeline.generate(options), { metrics, encoder: vinEncoder(pipeline) })
  const row = await rowFile('out', cell.cell)
  expect({ ...row.evaluation, identityOverGap: undefined }).toEqual({ ...evaluation, identityOverGap: undefined })
  expect(cell.values).toMatchObject({ temporalFlickering: evaluation.temporalFlickering, sceneCuts: 0, subjectConsistency: evaluation.subjectConsistency!.value })
  expect((await stat(at('out', cell.video!))).size).toBeGreaterThan(500)
  // The mean of a group, and the difference of pairs, from the rows.
  const flicker = (method: string, prompt: string): number => report.rows.find((each) => each.method === method && each.frames === 32 && each.prompt === prompt)!.values['temporalFlickering']!
  const group = report.groups.find(({ method, frames }) => method === 'full' && frames === 32)!
  expect(group.values['temporalFlickering']!.mean).toBeCloseTo((flicker('full', 'a red circle') + flicker('full', 'a blue square')) / 2, 12)
  expect(group.differences['temporalFlickering']).toMatchObject({ count: 2 })
  expect(group.differences['temporalFlickering']!.mean).toBeCloseTo((flicker('full', 'a red circle') - flicker('vin', 'a red circle') + flicker('full', 'a blue square') - flicker('vin', 'a blue square')) / 2, 12)
  expect(await readdir(at('out'))).toEqual(['cells', 'comparison.json', 'index.html', 'report.csv', 'report.json'])
  expect(await readdir(at('out', 'cells', cell.cell))).toEqual(['row.json', 'video.mp4'])
  const csv = (await readFile(at('out', 'report.csv'), 'utf8')).trim().split('\r\n')
  expect(csv).toHaveLength(9)
  expect(csv[0]).toMatch(/^cell,method,frames,prompt,seed,temporalFlickering,/)
  expect(JSON.parse(await readFile(at('out', 'report.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(report)))
})

test('of a method with a VIN there is a picture of where its heads look', async () => {
  const cell = report.rows.find(({ method, frames, prompt }) => method === 'vin' && frames === 32 && prompt === 'a red circle')!
  // 10 latent frames a second apart at 5 a second; latents of 4 × 4 have 2 × 2 patches, 24 pixels a patch.
  expect(cell.attention).toEqual({ picture: `cells/${cell.cell}/attention.png`, keyframes: [0, 5], heads: 4 })
  expect(report.rows.filter(({ attention }) => attention !== undefined).map(({ method }) => method)).toEqual(['vin', 'vin', 'vin', 'vin'])
  const { data, width, height, channels } = decode(await readFile(at('out', cell.attention!.picture)))
  expect({ width, height, channels }).toEqual({ width: 2 * 50 - 2, height: 5 * 50 - 2, channels: 3 })
  const pixel = (row: number, column: number, y: number, x: number): number[] => [...data.slice(3 * ((row * 50 + y) * width + column * 50 + x)).slice(0, 3)].map(Number)
  // The evaluation by itself, with a text of its own, which the encoder does not read.
  const video = await pipeline.generate({ method: 'vin', numFrames: 32, prompt: 'a red circle', seed: 0, numInferenceSteps: 2 })
  const { embeds } = await pipeline.textEncoder.encode('a blue square')
  const { encoder } = await pipeline.attention({ latents: video.latents, timestep: 1, promptEmbeds: embeds })
  const [, G = 0, keys = 0] = encoder.shape
  expect(keys).toBe(8)
  for (let head = 0; head < 4; head++) {
    const shares = Array.from({ length: keys }, (_, key) => Array.from({ length: G }, (_g, g) => encoder.data[(head * G + g) * keys + key]!).reduce((a, b) => a + b, 0) / G)
    const wanted = shares.map((share) => (255 * share) / Math.max(...shares))
    const seen = shares.map((_, key) => pixel(1 + head, key >> 2, 24 * ((key >> 1) & 1) + 12, 24 * (key & 1) + 12))
    for (const [key, [red, green, blue]] of seen.entries()) {
      expect(Math.abs(red! - wanted[key]!)).toBeLessThanOrEqual(0.51)
      expect([green, blue]).toEqual([red, red])
    }
    expect(Math.max(...seen.map(([red]) => red!))).toBe(255)
  }
  // Above them the video: frames 0 and 16 of 32 × 32, a pixel in the middle of equal ones is that of the frame.
  const frames: Frame[] = []
  for await (const frame of video.frames()) frames.push({ ...frame, data: frame.data.slice() })
  const mean = (values: Iterable<number>): number => [...values].reduce((sum, value, _i, all) => sum + value / all.length, 0)
  for (const [column, index] of [0, 16].entries()) {
    const tile = Array.from({ length: 48 * 48 }, (_, i) => pixel(0, column, Math.floor(i / 48), i % 48)).flat()
    expect(mean(tile)).toBeCloseTo(mean(frames[index]!.data), 0)
  }
  const page = await readFile(at('out', 'index.html'), 'utf8')
  expect(page.match(/<img /g)).toHaveLength(2)
  expect(page).toContain(`<img src="cells/${cell.cell}/attention.png" loading="lazy" alt="Attention of 4 heads over latent frames 0, 5">`)
  expect(page).toContain('a red circle (vin, 32 frames): above the video, below 4 heads; latent frames 0, 5')
})

test('the same call makes nothing anew, and one that asks for more makes what is missing', async () => {
  const anew: CompareRow[] = []
  expect(await compare(pipeline, small('out', { onRow: (row) => void anew.push(row) }))).toEqual(JSON.parse(JSON.stringify(report)))
  expect(anew).toEqual([])
  const more = await compare(pipeline, small('out', { methods: ['vin:fusion=none'], frames: [32], prompts: ['a red circle'], onRow: (row) => void anew.push(row) }))
  expect(anew.map(({ method }) => method)).toEqual(['vin:fusion=none'])
  expect(more.methods).toEqual(['vin', 'full', 'vin:fusion=none'])
  expect(more.rows).toHaveLength(9)
})

test('stopped in the middle, the same call goes on with what is open', async () => {
  const reason = new Error('enough')
  const controller = new AbortController()
  const first: string[] = []
  const stop = ({ cell }: CompareRow): void => void (first.push(cell) === 2 && controller.abort(reason))
  await expect(compare(pipeline, small('stopped', { signal: controller.signal, onRow: stop }))).rejects.toBe(reason)
  const before = await Promise.all(first.map((cell) => readFile(at('stopped', 'cells', cell, 'row.json'), 'utf8')))
  const second: string[] = []
  const whole = await compare(pipeline, small('stopped', { onRow: ({ cell }) => void second.push(cell) }))
  expect([...first, ...second].sort()).toEqual(made.map(({ cell }) => cell).sort())
  expect(await Promise.all(first.map((cell) => readFile(at('stopped', 'cells', cell, 'row.json'), 'utf8')))).toEqual(before)
  expect(whole.rows.map(({ values: { seconds, ...values } }) => values)).toEqual(report.rows.map(({ values: { seconds, ...values } }) => values))
})

test('two at once share a folder, each cell made by one of them; that of a dead one is taken over', async () => {
  const other = await tinyPipeline()
  // What a process that was killed leaves: its lock, and no row.
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  const dead = at('shared', 'cells', made[0]!.cell)
  await mkdir(join(dead, '.vin-lock'), { recursive: true })
  await writeFile(join(dead, '.vin-lock.json'), JSON.stringify({ host: hostname(), pid, started: 1, since: 'before' }))
  await writeFile(at('shared', 'comparison.json'), await readFile(at('out', 'comparison.json')))
  try {
    const rows: string[][] = [[], []]
    const reports = await Promise.all([pipeline, other].map((each, i) => compare(each, small('shared', { onRow: ({ cell }) => void rows[i]!.push(cell) }))))
    expect(rows.flat().sort()).toEqual(made.map(({ cell }) => cell).sort())
    expect(Math.min(...rows.map(({ length }) => length))).toBeGreaterThan(0)
    expect(reports[0]!.rows).toHaveLength(8)
    expect(reports[1]!.rows).toHaveLength(8)
    expect(await readdir(dead)).toEqual(['row.json'])
  } finally {
    await other.dispose()
  }
})

test('a report is repeated cell by cell, with its options', async () => {
  const again = await compare(pipeline, { from: report, report: at('again'), videos: false })
  expect(again.options).toEqual(JSON.parse(JSON.stringify(report.options)))
  expect(again.rows.map(({ cell, values: { seconds, ...values } }) => [cell, values])).toEqual(report.rows.map(({ cell, values: { seconds, ...values } }) => [cell, values]))
})

test('numbers that stop being finite are a result: the row says so and counts in no mean', async () => {
  const broken = await tinyPipeline()
  try {
    const { name, shape } = broken.transformer.weights().find((weight) => weight.name.endsWith('final_layer.linear.weight'))!
    broken.transformer.writeWeight(name, { data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(NaN), shape })
    const warnings: string[] = []
    const failed = await compare(broken, small('broken', { methods: ['full'], frames: [16], onWarning: ({ code }) => void warnings.push(code) }))
    expect(failed.rows.map(({ failed: failure, video }) => [failure?.code, video])).toEqual([['ERR_VIN_NONFINITE', undefined], ['ERR_VIN_NONFINITE', undefined]])
    expect(failed.groups).toMatchObject([{ videos: 2, failed: 2 }])
    expect(failed.groups[0]!.values).not.toHaveProperty('temporalFlickering')
    expect(warnings).toContain('ERR_VIN_NONFINITE')
    expect(await readFile(at('broken', 'index.html'), 'utf8')).toContain('2 failed')
  } finally {
    await broken.dispose()
  }
})

test('a variant says when overlaps are blended, and with which weights', () => {
  const fusionOf = (text: string): unknown => readVariant(`vin:fusion=${text}`, resolveLimits()).options.fusion
  expect(fusionOf('late')).toBe('late')
  expect(fusionOf('raised-cosine')).toEqual({ from: 1, until: 0.4, weights: 'raised-cosine' })
  expect(fusionOf('mid+raised-cosine')).toEqual({ from: 0.7, until: 0.3, weights: 'raised-cosine' })
  expect(fusionOf('linear+late')).toEqual({ from: 0.4, until: 0, weights: 'linear' })
  expect(fusionOf('0.8..0.3')).toEqual({ from: 0.8, until: 0.3 })
  expect(fusionOf('learned+.5..0')).toEqual({ from: 0.5, until: 0, weights: 'learned' })
  for (const wrong of ['cosine', '0.8..', '0.8..0.3..0', '1..0+mid', '1..0+1..0', '-1..0', '0x1..0', '1e-1..0', 'toString', '+', 'late+', 'late+late', 'late+cosine', 'late+mid', 'late+linear+raised-cosine', 'linear+raised-cosine']) expect(() => fusionOf(wrong), wrong).toThrow(/^Expected one of 'early'/)
})

test('what cannot be compared is refused in a sentence, and nothing is written', async () => {
  const refused = async (options: object, expected: object): Promise<void> => {
    await expect(compare(pipeline, { ...small('refused'), ...options } as CompareOptions)).rejects.toMatchObject(expected)
  }
  const says = (text: string): string => expect.stringContaining(text) as string
  await refused({ methods: ['vim'] }, { code: 'ERR_OUT_OF_RANGE', message: says("'vin', 'full'") })
  await refused({ methods: ['vin:fusoin=late'] }, { code: 'ERR_OUT_OF_RANGE', message: says('fusion=…, stepCache=…, anchorGuidanceScale=…, randomizedBlending=… after each colon for methods but received "vin:fusoin=late"') })
  await refused({ methods: ['vin:fusion=never'] }, { code: 'ERR_OUT_OF_RANGE', message: says('fusion') })
  await refused({ methods: ['vin:contextFrames=11'] }, { code: 'ERR_OUT_OF_RANGE', message: says('contextFrames') })
  await refused({ methods: [] }, { code: 'ERR_OUT_OF_RANGE', message: 'Expected at least one entry for methods but received an array of 0' })
  await refused({ prompts: undefined }, { code: 'ERR_INVALID_ARG_TYPE', message: says('Expected prompts for compare') })
  await refused({ seeds: 0 }, { code: 'ERR_OUT_OF_RANGE' })
  await refused({ frames: [1e9] }, { code: 'ERR_OUT_OF_RANGE', message: says('for frames') })
  await refused({ metrics: ['mave'] }, { code: 'ERR_OUT_OF_RANGE' })
  await refused({ method: 'vin' }, { code: 'ERR_INVALID_ARG_TYPE', message: says("received 'method'; the nearest one is 'methods'") })
  await refused({ from: report }, { code: 'ERR_INVALID_ARG_TYPE', message: says('received both') })
  await refused({ signal: AbortSignal.abort(new Error('early')) }, { message: 'early' })
  await expect(stat(at('refused'))).rejects.toMatchObject({ code: 'ENOENT' })
  // Rows of other options, and what others put into a folder.
  await expect(compare(pipeline, small('out', { guidanceScale: 3 }))).rejects.toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', message: says('Expected guidanceScale 2, as') })
  await writeFile(join(await mkdtemp(at('else-')), 'holiday.jpg'), '')
  const [other] = (await readdir(folder)).filter((name) => name.startsWith('else-'))
  await expect(compare(pipeline, small(other!))).rejects.toMatchObject({ code: 'ERR_VIN_DISK', message: says('holds holiday.jpg') })
  // A backbone without global tokens, and one without a VAE.
  const { vin, ...backbone } = tinyTransformer
  const options = { device: 'cpu', defaults: { width: 32, height: 32, numInferenceSteps: 4 } } as const
  const plain = await VideoPipeline.fromConfig({ transformer: backbone, vae: tinyVAE, textEncoder: tinyTextEncoder, tokenizer: tinyTokenizer, scheduler: 'FlowMatchEulerDiscreteScheduler' }, options)
  const bare = await VideoPipeline.fromConfig({ transformer: tinyTransformer }, options)
  try {
    shake(plain)
    await expect(compare(plain, small('plain', { metrics: ['sceneCuts'] }))).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: says('vin.global_tokens') })
    await expect(compare(plain, small('plain', { methods: ['full'] }))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: says('needs the VIN') })
    await expect(compare(bare, small('bare'))).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: says('vae/') })
    const free = await compare(plain, { report: at('free'), prompts: ['a circle'], frames: [16], numInferenceSteps: 1, metrics: ['sceneCuts'], videos: false })
    expect(free.methods).toEqual(['full', 'autoregressive', 'independent', 'freenoise', 'spectral-blend'])
  } finally {
    await Promise.all([plain.dispose(), bare.dispose()])
  }
})

const noBrowser = chromium === undefined ? ' (skipped: no chromium, chromium-browser or google-chrome on PATH)' : ''

test.skipIf(chromium === undefined)(`the page works from disk, with keys alone, at 400 pixels and in the dark${noBrowser}`, { timeout: 120_000 }, async () => {
  await withPage(chromium!, pathToFileURL(at('out', 'index.html')).href, async (page) => {
    const until = async (expression: string): Promise<void> => {
      for (let attempt = 0; !(await page.evaluate<boolean>(expression)); attempt++) {
        if (attempt === 100) throw new Error(`never: ${expression}; ${page.complaints.join('\n')}`)
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
    const times = (): Promise<number[]> => page.evaluate("[...document.querySelectorAll('video')].map((video) => video.currentTime)")
    const loaded = "[...document.querySelectorAll('video')].every((video) => video.readyState >= 2 && !video.seeking)"
    await page.resize(400, 800)
    // Two methods of the first choice; tables scroll inside themselves.
    await until(loaded)
    expect(await times()).toHaveLength(2)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(400)
    expect(await page.evaluate("document.querySelectorAll('table').length")).toBe(6)
    expect(await page.evaluate("document.querySelectorAll('.curves svg').length")).toBeGreaterThan(4)
    // Frame by frame, all together.
    await page.press('ArrowRight')
    await page.press('ArrowRight')
    await until(loaded)
    const [first, second] = await times()
    expect(first).toBeCloseTo(2.5 / 16, 3)
    expect(second).toBeCloseTo(first!, 6)
    await page.press('ArrowLeft')
    await until(loaded)
    expect((await times())[0]).toBeCloseTo(1.5 / 16, 3)
    await page.press('Home')
    await until(`${loaded} && document.querySelector('video').currentTime === 0`)
    // Space plays all of them to their end.
    await page.press(' ')
    await until("[...document.querySelectorAll('video')].every((video) => video.currentTime > 0.3)")
    await until("document.getElementById('play').textContent === 'Play'")
    // Every control is reached by Tab, and has a name.
    const reached: string[] = []
    for (let presses = 0; presses < 30; presses++) {
      await page.press('Tab')
      reached.push(await page.evaluate("(() => { const a = document.activeElement; return a.id || a.getAttribute('aria-label') || a.textContent })()"))
    }
    for (const name of ['report.json', 'report.csv', 'prompt', 'seed', 'frames', 'play', 'time']) expect(reached).toContain(name)
    expect(await page.evaluate("[...document.querySelectorAll('select, input')].every((control) => control.labels.length === 1)")).toBe(true)
    // Another length by keys: its videos come.
    await page.evaluate("document.getElementById('frames').focus()")
    await page.press('ArrowDown')
    await until(`document.getElementById('frames').value === '1' && document.querySelectorAll('video').length >= 2 && ${loaded} && document.querySelector('video').duration > 1.5`)
    const paper = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor')
    const light = await paper()
    await page.dark(true)
    expect([light, await paper()]).toEqual(['rgb(255, 255, 255)', 'rgb(23, 23, 26)'])
    const pictures = process.env['VIN_SCREENSHOTS']
    if (pictures !== undefined) {
      await page.screenshot(join(pictures, 'dark-400.png'))
      await page.dark(false)
      await page.resize(1200, 900)
      await page.screenshot(join(pictures, 'light-1200.png'))
    }
    expect(page.complaints).toEqual([])
  })
})

test('no text of a prompt is more than text in the page', async () => {
  const prompt = `a "red" circle</script><img src=x onerror=alert(1)>, 50 %`
  await compare(pipeline, small('text', { methods: ['full'], frames: [16], prompts: [prompt], metrics: ['sceneCuts'], videos: true }))
  const page = await readFile(at('text', 'index.html'), 'utf8')
  expect(page).not.toContain('<img')
  expect(page.match(/<\/script>/g)).toHaveLength(2)
  expect((await readFile(at('text', 'report.csv'), 'utf8')).split('\r\n')[1]).toContain('"a ""red"" circle</script><img src=x onerror=alert(1)>, 50 %"')
})
