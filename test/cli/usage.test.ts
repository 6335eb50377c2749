// What is refused, with which words and which exit code; all of it before any work.

import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { packageRoot, packageVersion } from '../../lib/native/package-root.js'
import { laterCommands } from '../../lib/cli/commands.js'
import { unsupportedMethods } from '../../lib/methods/index.js'
import { checkArguments, numberOption, seedOption } from '../../lib/cli/arguments.js'
import { VinError } from '../../lib/errors.js'
import { exitCode } from '../../lib/cli/exit.js'
import { defaultScale } from '../../lib/cli/run-job.js'
import { events, vinNative } from './support.js'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-usage-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test.each<[string[], number, string | RegExp]>([
  [['generate', 'x', '--fraems', '3'], 2, "Expected a known option of generate but received '--fraems'; the nearest one is '--frames'"],
  [['generate', 'x', '-q'], 2, "received '-q'"],
  [['generate', 'a', 'red', 'circle'], 2, "received 'red' too; put quotes around a prompt"],
  [['generate', '--frames'], 2, 'Expected a value for --frames but received nothing'],
  [['generate', '--seed', '--steps'], 2, "Expected a value for --seed but received '--steps'"],
  [['generate', '--frames', 'many'], 2, 'Expected a number for --frames but received "many"'],
  [['generate', '--seed', '-1'], 2, 'for --seed but received "-1"'],
  [['generate', '--scale', '0'], 2, 'Expected a whole number from 1 to 64 for --scale but received "0"'],
  [['generate', '-o', 'x.avi'], 2, /Expected an output that ends in one of \.mp4, .*\.safetensors but received "x\.avi"/],
  [['generat'], 2, "the nearest one is 'generate'"],
  [['resume'], 2, 'FOLDER'],
  [['resume', '.'], 2, 'has no job.json'],
  [['train'], 2, 'Expected --steps or --minutes'],
  [['inspect', 'modle'], 2, "the nearest one is 'model'"],
  [['generate', '--model', 'nowhere', '--device', 'cpu'], 3, 'Expected a model folder at nowhere'],
  [['serve'], 3, "'serve', which is not built yet"],
  [['compare'], 3, 'compare'],
  [['train', '--data', 'movies', '--steps', '1'], 3, 'a folder of videos at movies'],
  [['generate', '-o', 'no/such/x.mp4'], 4, 'does not exist; make it first'],
  [['generate', '--device', 'cuda-ptx', '--model', 'nowhere'], 4, 'cuda-ptx']
])('%j exits with %i', async (args, code, text) => {
  const result = await vinNative(folder, ...args)
  expect(result.stderr).toMatch(text)
  expect(result).toMatchObject({ code, signal: null, stdout: '' })
  expect(result.stderr).not.toContain('    at ')
  expect(await readdir(folder)).toEqual([])
})

test('with --json an error is a line of JSON too', async () => {
  const { code, stdout } = await vinNative(folder, 'generate', '--json', '--model', 'nowhere', '--device', 'cpu')
  expect(code).toBe(3)
  expect(events(stdout)).toEqual([{ type: 'error', code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('nowhere') as string, details: { component: 'model', folder: 'nowhere' } }])
})

test('help and version go to stdout', async () => {
  const [help, command, version, nothing] = await Promise.all([vinNative(folder, '--help'), vinNative(folder, 'generate', '--help'), vinNative(folder, '--version'), vinNative(folder)])
  expect(help.code).toBe(0)
  for (const name of ['generate', 'plan', 'resume', 'decode', 'train', 'inspect', 'bench', 'doctor']) expect(help.stdout).toContain(name)
  expect(command.code).toBe(0)
  for (const option of ['--frames', '--seed', '--method', '--steps', '--guidance', '--device', '--preview', '--json', '--resume', '-o']) expect(command.stdout).toContain(option)
  expect(command.stdout).not.toContain('\x1b')
  expect(version).toMatchObject({ code: 0, stdout: `${packageVersion()}\n` })
  expect(nothing.code).toBe(2)
})

test('exit codes are those of the table', () => {
  const of = (code: VinError['code']): number => exitCode(new VinError(code, ''))
  expect([of('ERR_VIN_FORMAT'), of('ERR_VIN_MISSING_COMPONENT'), of('ERR_VIN_NOT_SUPPORTED')]).toEqual([3, 3, 3])
  expect([of('ERR_VIN_OUT_OF_MEMORY'), of('ERR_VIN_DISK'), of('ERR_VIN_BACKEND_UNAVAILABLE'), of('ERR_VIN_DEVICE')]).toEqual([4, 4, 4, 4])
  expect([of('ERR_VIN_NONFINITE'), of('ERR_VIN_RESUME_MISMATCH'), of('ERR_VIN_DISPOSED')]).toEqual([1, 1, 1])
  expect(exitCode(new DOMException('x', 'AbortError'))).toBe(130)
  expect(exitCode(new TypeError('undefined is not a function'))).toBe(1)
})

test('README lists what is not built yet', async () => {
  const readme = await readFile(join(packageRoot(), 'README.md'), 'utf8')
  for (const name of [...laterCommands, ...unsupportedMethods, 'bfloat16', 'int8']) expect(readme).toContain(`\`${name}\``)
})

test('numbers and seeds are read exactly', () => {
  expect(numberOption('1e3', '--x')).toBe(1000)
  expect(numberOption('-2.5', '--x')).toBe(-2.5)
  expect(numberOption(undefined, '--x')).toBeUndefined()
  for (const text of ['', ' ', '1x', 'NaN']) expect(() => numberOption(text, '--x')).toThrow(TypeError)
  expect(seedOption('7')).toBe(7)
  expect(seedOption('18446744073709551615')).toBe(2n ** 64n - 1n)
  for (const text of ['-1', '1.5', '1e3', '']) expect(() => seedOption(text)).toThrow(RangeError)
})

test('options may be given with =, negated, and end at --', () => {
  const definitions = { word: { type: 'positional' }, frames: { type: 'string', alias: 'f' }, json: { type: 'boolean' } } as const
  for (const args of [['--frames=3'], ['-f', '3'], ['--no-json'], ['--', '--frames'], ['-'], ['--frames', '-3']]) expect(() => checkArguments('x', args, definitions)).not.toThrow()
  for (const args of [['--no-frames'], ['--', 'a', 'b'], ['--Frames=3'], ['--jsonx']]) expect(() => checkArguments('x', args, definitions)).toThrow(TypeError)
})

test('the scale is the smallest whole number by which the shorter side reaches 256', () => {
  expect([defaultScale(64, 64), defaultScale(320, 192), defaultScale(256, 512), defaultScale(255, 512), defaultScale(1024, 1024)]).toEqual([4, 2, 1, 2, 1])
})
