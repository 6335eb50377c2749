// vin-native compare: a table and a page; killed, the same command goes on; --from makes the same again.
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CompareReport } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { events, start, vinNative, writeModel } from './support.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-cli-compare-'))
  await writeModel(join(folder, 'model'))
  await writeFile(join(folder, 'prompts.txt'), '# of the world\na red circle\n\n a blue square \n')
  await writeFile(join(folder, 'empty.txt'), '# nothing\n')
  await writeFile(join(folder, 'no-report.json'), '{"kind":"something"}')
  await writeFile(join(folder, 'latin.txt'), Buffer.from('caf\u00e9', 'latin1'))
  await cp(join(folder, 'model'), join(folder, 'deaf'), { recursive: true })
  for (const part of ['text_encoder', 'tokenizer']) await rm(join(folder, 'deaf', part), { recursive: true })
  const embeds = (name: string, values: number[], shape: number[]): void => loadBinding().writeSafetensors(join(folder, `${name}.safetensors`), { 'a circle': { data: Float32Array.from(values), shape } })
  embeds('wide', Array.from({ length: 32 }, () => 1), [2, 16])
  embeds('whole', Array.from({ length: 64 }, () => 1), [2, 32])
  await writeFile(join(folder, 'cut.safetensors'), (await readFile(join(folder, 'wide.safetensors'))).subarray(0, 60))
  // Its last number becomes NaN.
  const bytes = await readFile(join(folder, 'whole.safetensors'))
  bytes.writeFloatLE(NaN, bytes.length - 4)
  await writeFile(join(folder, 'nan.safetensors'), bytes)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const asked = ['--methods', 'vin,full', '--prompts', 'prompts.txt', '--seeds', '2', '--frames', '16', '--metrics', 'sceneCuts,temporalFlickering', '--steps', '2', '--no-videos', '--model', 'model', '--device', 'cpu']
const reportOf = async (name: string): Promise<CompareReport> => JSON.parse(await readFile(join(folder, name, 'report.json'), 'utf8')) as CompareReport

test('killed with SIGKILL, the same command makes what is open, and --from the whole again', async () => {
  const running = start(folder, 'compare', ...asked, '--report', 'out', '--json')
  await running.line(/"type":"row"[^]*"type":"row"/)
  running.child.kill('SIGKILL')
  const killed = await running.result
  expect(killed.signal).toBe('SIGKILL')
  const first = events(killed.stdout.slice(0, killed.stdout.lastIndexOf('\n'))).filter(({ type }) => type === 'row').map(({ cell }) => cell)
  const second = await vinNative(folder, 'compare', ...asked, '--report', 'out', '--json')
  expect(second.code, second.stderr).toBe(0)
  const seen = events(second.stdout)
  const rows = seen.filter(({ type }) => type === 'row').map(({ cell }) => cell)
  expect(rows.filter((cell) => first.includes(cell))).toEqual([])
  const report = await reportOf('out')
  expect(report.rows.map(({ cell }) => cell)).toHaveLength(8)
  expect(seen.find(({ type }) => type === 'estimate')).toMatchObject({ cells: 8, open: rows.length })
  expect(seen.at(-1)).toMatchObject({ type: 'done', path: join('out', 'index.html'), rows: 8 })
  expect(Object.keys(report.weights)).toContain('transformer/diffusion_pytorch_model.safetensors')
  expect(report.prompts).toEqual(['a blue square', 'a red circle'])

  const again = await vinNative(folder, 'compare', '--from', 'out/report.json', '--report', 'again', '--no-videos', '--model', 'model', '--device', 'cpu')
  expect(again.code, again.stderr).toBe(0)
  expect(again.stderr).toMatch(/8 videos to make: about .* s here, \d+ MiB of \d+ MiB that are free/)
  const lines = again.stdout.trim().split('\n')
  expect(lines.map((line) => line.trim().split(/ {2,}/).slice(0, 3))).toEqual([['frames', 'method', 'videos'], ['16', 'vin', '4'], ['16', 'full', '4'], [lines.at(-1)!]])
  expect(lines.at(-1)).toBe(`${join('again', 'index.html')}: 8 videos of 2 methods`)
  expect((await reportOf('again')).rows.map(({ cell, values: { seconds, ...values } }) => [cell, values])).toEqual(report.rows.map(({ cell, values: { seconds, ...values } }) => [cell, values]))
}, 120_000)

test('two processes share a folder: each video is made by one of them, and both tell the whole', async () => {
  const both = await Promise.all([1, 2].map(() => vinNative(folder, 'compare', ...asked, '--report', 'shared', '--json')))
  for (const { code, stderr } of both) expect(code, stderr).toBe(0)
  const made = both.map(({ stdout }) => events(stdout).filter(({ type }) => type === 'row').map(({ cell }) => String(cell)))
  expect(made.flat()).toHaveLength(8)
  expect(new Set(made.flat()).size).toBe(8)
  for (const { stdout } of both) expect(events(stdout).at(-1)).toMatchObject({ type: 'done', rows: 8 })
  const report = await reportOf('shared')
  expect(report.rows.map(({ cell }) => cell).sort()).toEqual(made.flat().sort())
  for (const { cell } of report.rows) expect(await readdir(join(folder, 'shared', 'cells', cell))).toEqual(['row.json'])
}, 120_000)

test('Ctrl-C keeps what is finished and says how to go on', async () => {
  const running = start(folder, 'compare', ...asked, '--report', 'stopped', '--json')
  await running.line(/"type":"row"/)
  running.child.kill('SIGINT')
  const { code, stderr, stdout } = await running.result
  expect({ code, stderr }).toMatchObject({ code: 130 })
  expect(events(stdout).find(({ type }) => type === 'saved')).toMatchObject({ folder: 'stopped', resume: expect.stringMatching(/^npx vin-native compare --methods vin,full .*--report stopped/) as string })
  expect(await readdir(join(folder, 'stopped'))).toEqual(expect.arrayContaining(['cells', 'comparison.json']))
}, 60_000)

test.each([
  [['--prompts', 'empty.txt'], 2, 'Expected a prompt a line in empty.txt for --prompts but it holds none'],
  [['--prompts', 'prompts.txt', '--methods', 'vin,vim'], 2, 'for --methods but received "vim"'],
  [['--prompts', 'prompts.txt', '--methods', 'vin:steps=3'], 2, 'Expected numInferenceSteps=…, '],
  [['--prompts', 'prompts.txt', '--frames', '64,x'], 2, 'Expected a number for --frames but received "x"'],
  [['--prompts', 'prompts.txt', '--seeds', '0'], 2, 'for --seeds but received 0'],
  [['--prompts', 'prompts.txt', '--metrics', 'mave'], 2, 'for --metrics but received "mave"'],
  [['--prompts', 'prompts.txt', '--steps', '0'], 2, 'for --steps but received 0'],
  [['--from', 'no-report.json'], 3, 'Expected the report.json of a comparison in no-report.json but found something else'],
  [['--prompts', 'latin.txt'], 3, 'Expected UTF-8 text with a prompt a line in latin.txt but found other bytes'],
  [['--prompts', 'cut.safetensors'], 3, 'cut.safetensors: expected a header that ends within'],
  [['--prompts', 'nan.safetensors'], 3, 'embeddings [L, D] by prompt in nan.safetensors but found NaN or Inf for "a circle"'],
  [['--prompts', 'prompts.txt', '--model', 'deaf'], 3, 'Expected the model to have text_encoder/ to compare prompts but it has none; pass --prompts FILE.safetensors\n'],
  [['--prompts', 'wide.safetensors', '--model', 'deaf'], 2, 'Expected shape [L, 32] for "a circle" of --prompts wide.safetensors but received [2, 16]'],
  [['--prompts', 'prompts.txt', '--model', 'nowhere'], 3, 'Expected a model folder at nowhere']
] as const)('compare %j exits with %i', async (args, code, text) => {
  const result = await vinNative(folder, 'compare', '--device', 'cpu', '--report', 'refused', ...args)
  expect(result.stderr).toContain(text)
  expect(result).toMatchObject({ code, stdout: '' })
  expect(await readdir(folder)).not.toContain('refused')
}, 60_000)
