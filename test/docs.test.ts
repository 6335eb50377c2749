// The pages of docs/ say what the source has, their links lead somewhere, and the programs of examples/ run.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exitCode } from '../lib/cli/exit.js'
import { VinError } from '../lib/index.js'
import type { VinErrorCode } from '../lib/index.js'
import { root } from './support/addon.js'

const page = (name: string): string => readFileSync(join(root, name), 'utf8')
const filesBelow = (folder: string): string[] =>
  readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)]))
const sources = filesBelow('lib').filter((name) => name.endsWith('.ts')).map((name) => readFileSync(join(root, name), 'utf8'))
const matches = (pattern: RegExp): string[] => [...new Set(sources.flatMap((text) => [...text.matchAll(pattern)].map((match) => match[1]!)))].sort()

describe('pages', () => {
  const errors = page('docs/errors.md')
  /** First and further cells of the rows of the page's tables. */
  const rows = [...errors.matchAll(/^\| (`.*?) \| (.*) \|$/gm)].map(([, first, rest]) => ({ names: [...first!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!), cells: rest!.split(' | ') }))

  const refusals = [...page('lib/native/plugins.ts').matchAll(/^ {4}\| '(\w+)'$/gm)].map(([, code]) => code!)

  test('every error code has a status, its exit code, and a section', () => {
    const codes = matches(/^ {2}\| '(ERR_VIN_[A-Z_]+)'$/gm)
    expect(codes.length).toBeGreaterThanOrEqual(11)
    for (const code of codes) {
      const row = rows.find(({ names }) => names.includes(code))
      expect(row, code).toBeDefined()
      expect(row!.cells[0], code).toMatch(/^[45]\d\d$/)
      expect(Number(row!.cells[1]), code).toBe(exitCode(new VinError(code as VinErrorCode, '')))
      expect(errors, code).toContain(`\n## \`${code}\`\n`)
    }
    expect(rows.flatMap(({ names }) => names).filter((name) => name.startsWith('ERR_VIN_')).sort()).toEqual(codes)
  })

  test('every warning that the source gives is in the table, and none else', () => {
    // Codes of plug-ins that are refused look alike.
    const given = matches(/(?:\bcode: |\bwarn\()'([a-z]+[-_][a-z-_]+|captions|curve|sample|VIN_[A-Z_]+)'/g).filter((name) => !refusals.includes(name))
    const process = matches(/warnOfProcess\([a-zA-Z.]+, '([A-Z_]+)'/g)
    const told = rows.flatMap(({ names }) => names).filter((name) => !name.startsWith('ERR_') && !refusals.includes(name)).sort()
    expect(told).toEqual([...new Set([...given, ...process])].sort())
  })

  test('every reason that speaks against a plug-in is in the table', () => {
    expect(refusals.length).toBeGreaterThan(15)
    const told = rows.flatMap(({ names }) => names)
    for (const code of refusals) expect(told, code).toContain(code)
  })

  test('every environment variable that the library reads is in the table', () => {
    const text = page('docs/environment.md')
    for (const name of matches(/process\.env(?:\.|\[')([A-Z_]+)/g)) expect(text, name).toContain(`\`${name}`)
    for (const name of matches(/\b(VIN_NATIVE_[A-Z_]+)\b/g).filter((each) => each !== 'VIN_NATIVE_PREBUILD')) expect(text, name).toContain(`\`${name}\``)
  })

  test('README names the words that the built-in model knows, the prompt of its picture, and the package', () => {
    const readme = page('README.md')
    const { model } = JSON.parse(page('models/demo/tokenizer/tokenizer.json')) as { model: { vocab: Record<string, number> } }
    const words = Object.keys(model.vocab).filter((word) => /^[a-z]+$/.test(word))
    const told = /warns of others: ([\s\S]*?), and times from 0s to 32s\./.exec(readme)?.[1]?.split(/\s+/)
    expect(told).toEqual(words)
    expect(Object.keys(model.vocab).filter((word) => /^\d+s$/.test(word))).toEqual(Array.from({ length: 33 }, (_, second) => `${second}s`))
    const prompt = /demoPrompt = '([^']+)'/.exec(page('tools/bootstrap.mjs'))![1]!
    expect(readme).toContain(`("${prompt}")`)
    const { name, version } = JSON.parse(page('package.json')) as { name: string; version: string }
    expect(readme.match(/vin-native-[\d.]+\.tgz/g)).toEqual([`${name}-${version}.tgz`, `${name}-${version}.tgz`])
  })

  test('every option of a public type says what it is', () => {
    const silent = readdirSync(join(root, 'docs/api/interfaces'))
      .filter((name) => name.endsWith('Options.md'))
      .flatMap((name) =>
        page(`docs/api/interfaces/${name}`).split('\n### ').slice(1).flatMap((section) => {
          // After its name and its type in code, before the parameters of a function: a sentence, a shape, or at least its default.
          const [heading = '', text = ''] = section.split(/\n#### (?!Default)/)[0]!.split(/\n```ts[^`]*```\n/)
          return /^[^*|\s]/m.test(text) ? [] : [`${name}: ${heading.trim()}`]
        })
      )
    expect(silent.join('\n')).toBe('')
  })

  test.each([
    ['services.md', ['queueLimit', '**Shutting down.**', '**Workers.**', '**Containers.**', 'examples/service.mjs']],
    ['bundlers-and-tests.md', ['esbuild', 'webpack', 'rollup', 'external', 'Jest', 'vmThreads']],
    ['own-videos.md', ['captions.json', '--check', '--lengths', 'Ctrl-C', 'examples/train.mjs']],
    ['comparing.md', ['--methods', '--prompts', '--report', '--from', 'kill -9', 'report.csv']],
    ['measuring.md', ['evaluate', '--metrics', '--clips', '--borders', 'RAFT']]
  ])('%s tells what one has to know', (name, words) => {
    for (const word of words) expect(page(`docs/${name}`)).toContain(word)
  })

  test('links lead to files', () => {
    for (const name of ['README.md', 'CONTRIBUTING.md', ...filesBelow('docs').filter((file) => file.endsWith('.md')), 'examples/README.md']) {
      for (const [, target] of page(name).matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)) {
        if (/^[a-z]+:/.test(target!)) continue
        expect(existsSync(resolve(root, dirname(name), target!)), `${name} → ${target}`).toBe(true)
      }
    }
  })

  test('every page of docs/ and every example is named by its index', () => {
    for (const file of readdirSync(join(root, 'docs')).filter((name) => name !== 'README.md' && name !== 'api')) expect(page('docs/README.md'), file).toContain(`(${file})`)
    for (const file of readdirSync(join(root, 'examples')).filter((name) => name !== 'README.md')) expect(page('examples/README.md'), file).toContain(`(${file})`)
  })
})

describe('examples', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vin-examples-'))
    mkdirSync(join(folder, 'node_modules'))
    symlinkSync(root, join(folder, 'node_modules', 'vin-native'))
    for (const name of readdirSync(join(root, 'examples'))) symlinkSync(join(root, 'examples', name), join(folder, name))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  // A link keeps its own place, so that `vin-native` is found beside it.
  const flags = ['--preserve-symlinks', '--preserve-symlinks-main']

  test.each([
    ['worker.mjs', ['worker-0.mp4', 'worker-1.mp4'], /worker-1\.mp4: 32 frames/],
    ['timeline.mjs', ['first.mp4', 'both.mp4'], /64 and 128 frames/],
    ['train.mjs', ['trained/model_index.json', 'trained.mp4'], /step 3: loss/]
  ])('%s', { timeout: 180_000 }, (name, files, says) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, name], { cwd: folder, encoding: 'utf8' })
    expect(status, stderr).toBe(0)
    expect(stdout).toMatch(says)
    for (const file of files) expect(existsSync(join(folder, file)), file).toBe(true)
  })

  test('service.mjs makes videos, refuses what is wrong by status, and stops when what it began is answered', { timeout: 180_000 }, async () => {
    const service = spawn(process.execPath, [...flags, 'service.mjs'], { cwd: folder, env: { ...process.env, PORT: '0', STATES: join(folder, 'states') }, stdio: ['ignore', 'pipe', 'inherit'] })
    try {
      const lines = createInterface({ input: service.stdout })[Symbol.asyncIterator]()
      const url = (await lines.next()).value as string
      const ask = (body: unknown): Promise<Response> => fetch(`${url}/videos`, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) })
      for (const body of ['{', '', 'null', '7', '"a red circle"', '{}', '{ "prompt": 7 }', '{ "prompt": "a", "seed": null }']) expect((await ask(body)).status, body).toBe(400)
      const wrong = await ask({ prompt: 'a red circle', numFrames: -1 })
      expect([wrong.status, ((await wrong.json()) as { code: string }).code]).toEqual([400, 'ERR_OUT_OF_RANGE'])
      expect((await fetch(url)).status).toBe(404)
      // One samples, eight wait; what comes after them is told so.
      const answers = await Promise.all(Array.from({ length: 12 }, (_, seed) => ask({ prompt: 'a red circle moves over the sea', numFrames: 16, seed })))
      const statuses = answers.map(({ status }) => status)
      expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(9)
      expect(statuses.every((status) => status === 200 || status === 429)).toBe(true)
      const last = ask({ prompt: 'a red circle moves over the sea', numFrames: 16, seed: 99 })
      while (((await (await fetch(`${url}/healthz`)).json()) as { runs: number }).runs === 0) await new Promise((wait) => setTimeout(wait, 5))
      service.kill('SIGTERM')
      const answer = await last
      expect(Buffer.from(await answer.arrayBuffer()).subarray(4, 8).toString()).toBe('ftyp')
      expect((await lines.next()).value).toBe('stopped')
      if (service.exitCode === null) await once(service, 'exit')
      expect(service.exitCode).toBe(0)
    } finally {
      service.kill('SIGKILL')
    }
  })
})
