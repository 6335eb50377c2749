// vin-native fit-step-cache: the config gets the polynomial that the library fits, and nothing else of it changes.
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline, fitStepCache } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { events, vinNative, writeModel } from './support.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-fit-'))
  await writeModel(at('model'))
  await writeFile(at('prompts.txt'), 'a circle\n# none\na square\n')
  await cp(at('model'), at('deaf'), { recursive: true })
  for (const part of ['text_encoder', 'tokenizer']) await rm(at('deaf', part), { recursive: true })
  loadBinding().writeSafetensors(at('wide.safetensors'), { 'a circle': { data: new Float32Array(32), shape: [2, 16] } })
  await cp(at('model'), at('odd'), { recursive: true })
  // JSON to Python, whose config it is, and not to JavaScript.
  await writeFile(at('odd', 'transformer', 'config.json'), (await readFile(at('model', 'transformer', 'config.json'), 'utf8')).replace('{', '{"unused": NaN, '))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const at = (...path: string[]): string => join(folder, ...path)
const configOf = async (path: string): Promise<Record<string, unknown>> => JSON.parse(await readFile(at(path), 'utf8')) as Record<string, unknown>
const asked = ['--prompts', 'prompts.txt', '--seeds', '2', '--frames', '5,16', '--steps', '5', '--method', 'full', '--device', 'cpu']

test('the polynomial of the runs is written into the config of the model, which samples with it', async () => {
  const before = await configOf('model/transformer/config.json')
  await using pipeline = await VideoPipeline.fromPretrained(at('model'), { device: 'cpu' })
  const runs = ['a circle', 'a square'].flatMap((prompt) => [0, 1].flatMap((seed) => [5, 16].map((numFrames) => ({ prompt, seed, numFrames, numInferenceSteps: 5, method: 'full' as const }))))
  const { polynomial, changes, error } = await fitStepCache({ pipeline, runs })
  const wanted = polynomial.map((coefficient) => Number(coefficient.toPrecision(9)))
  const other = await vinNative(folder, 'fit-step-cache', ...asked, '--model', 'model', '-o', 'other.json', '--json')
  expect(other.code, other.stderr).toBe(0)
  expect(events(other.stdout).at(-1)).toEqual({ type: 'done', path: 'other.json', polynomial: wanted, runs: 8, changes: changes.length, error })
  expect(changes).toHaveLength(8 * (5 - 2))
  expect(await configOf('other.json')).toEqual({ ...before, step_cache_polynomial: wanted })
  expect(await configOf('model/transformer/config.json')).toEqual(before)
  const here = await vinNative(folder, 'fit-step-cache', ...asked, '--model', 'model')
  expect(here.code, here.stderr).toBe(0)
  expect(here.stdout).toContain(`${join('model', 'transformer', 'config.json')}: step_cache_polynomial ${wanted.join(', ')}; 8 runs, 24 changes, root mean squared error `)
  expect(await configOf('model/transformer/config.json')).toEqual({ ...before, step_cache_polynomial: wanted })
  await using fitted = await VideoPipeline.fromPretrained(at('model'), { device: 'cpu' })
  expect(fitted.transformer.config.step_cache_polynomial).toEqual(wanted)
}, 60_000)

test('a config keeps its form, and one that a list of digests names is left as it is', async () => {
  await cp(at('model'), at('formed'), { recursive: true })
  const file = at('formed', 'transformer', 'config.json')
  const { step_cache_polynomial: _, ...plain } = await configOf('model/transformer/config.json')
  const pretty = `${JSON.stringify(plain, null, 1)}\n`
  await writeFile(file, pretty)
  const digest = createHash('sha256').update(pretty).digest('hex')
  await writeFile(at('formed', 'SHA256SUMS'), `${digest}  transformer/config.json\n`)
  const refused = await vinNative(folder, 'fit-step-cache', ...asked, '--model', 'formed')
  expect(refused).toMatchObject({ code: 2, stdout: '' })
  expect(refused.stderr).toContain('that no SHA256SUMS names but received')
  expect(await readFile(file, 'utf8')).toBe(pretty)
  await rm(at('formed', 'SHA256SUMS'))
  expect(await vinNative(folder, 'fit-step-cache', ...asked, '--model', 'formed')).toMatchObject({ code: 0 })
  const text = await readFile(file, 'utf8')
  expect(text).toBe(`${JSON.stringify(JSON.parse(text), null, 1)}\n`)
  expect(text).not.toBe(pretty)
}, 60_000)

test.each([
  [[], 'Expected --prompts with a text file of a prompt a line for fit-step-cache but received none'],
  [['--prompts', 'prompts.txt'], 'Expected --model with a folder, or --output, for fit-step-cache but received neither'],
  [['--prompts', 'prompts.txt', '--model', 'model', '-o', 'prompts.txt'], "Expected a new file or a transformer's config.json for --output but \"prompts.txt\" is another file"],
  [['--prompts', 'prompts.txt', '--model', 'model', '-o', 'model/model_index.json'], "Expected a new file or a transformer's config.json for --output"],
  [['--prompts', 'prompts.txt', '--seeds', '0'], 'for --seeds but received 0'],
  [['--prompts', 'prompts.txt', '--frames', '0'], 'for --frames but received 0'],
  [['--prompts', 'prompts.txt', '--steps', '0'], 'for --steps but received 0'],
  [['--prompts', 'prompts.txt', '--steps', '1'], 'Expected an integer from 3 to 1000 for --steps but received 1'],
  [['--prompts', 'wide.safetensors', '--model', 'deaf'], 'Expected shape [L, 32] for "a circle" of --prompts wide.safetensors but received [2, 16]'],
  [['--prompts', 'prompts.txt', '--model', 'model', '--steps', '3', '--frames', '5'], 'Expected runs with at least 5 different changes from step to step but they have 2; give more runs, or more steps']
] as const)('fit-step-cache %j is refused', async (args, text) => {
  const before = await readdir(folder)
  const { code, stdout, stderr } = await vinNative(folder, 'fit-step-cache', '--device', 'cpu', ...args)
  expect(stderr).toContain(text)
  // Before the first run.
  expect(stderr).not.toMatch(/fitting [1-9]/)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(await readdir(folder)).toEqual(before)
})

test('what the polynomial cannot be written into, and a model that reads no prompts, are told before the first run', async () => {
  for (const [model, text] of [['odd', 'Expected plain JSON in odd/transformer/config.json to add step_cache_polynomial to'], ['deaf', 'the model has no text_encoder/; pass --prompts FILE.safetensors instead']] as const) {
    const { code, stderr } = await vinNative(folder, 'fit-step-cache', ...asked, '--model', model)
    expect(stderr).toContain(text)
    expect(stderr).not.toMatch(/fitting [1-9]/)
    expect(code).toBe(3)
  }
})
