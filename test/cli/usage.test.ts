// What is refused, with which words and which exit code; all of it before any work.

import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { packageRoot, packageVersion } from '../../lib/native/package-root.js'
import type { ArgsDef, Command } from '../../lib/cli/command.js'
import { commandNames, commands, laterCommands } from '../../lib/cli/commands.js'
import { checkArguments, numberOption, seedOption } from '../../lib/cli/arguments.js'
import { VinError } from '../../lib/errors.js'
import { exitCode } from '../../lib/cli/exit.js'
import { sentence } from '../../lib/cli/sentence.js'
import { defaultScale } from '../../lib/video/frames.js'
import { events, start, vinNative } from './support.js'

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
  [['resume'], 2, 'Expected FOLDER for resume (the vin-… folder that the run left) but received nothing'],
  [['plan', '--json=x'], 2, "Expected --json without a value but received '--json=x'"],
  [['eval'], 2, "the nearest one is 'evaluate', and vin-native --help lists all"],
  [['run'], 2, "Expected a command but received 'run'; vin-native --help lists all"],
  [['study', 'pages'], 2, "Expected one of page, votes for study but received 'pages'; the nearest one is 'page'"],
  [['inspect', 'gpu', '--step', '3'], 2, 'Expected --step with inspect attention only but received it with inspect gpu'],
  [['help', 'generat'], 2, "the nearest one is 'generate'"],
  [['help', 'plan', 'resume'], 2, "Expected one command for help but received 'resume' too"],
  // By the names that were typed, and before a model is looked for.
  ...(
    [
      [['plan', '--frames', '1e9'], 'Expected an integer from 1 to 4096 for --frames but received 1e9'],
      [['generate', '--steps', '0'], 'Expected an integer from 1 to 1000 for --steps but received 0'],
      [['plan', '--image', 'nope.png'], 'Expected the path of a picture for --image but "nope.png" cannot be read'],
      [['plan', '--video', 'nope.mp4'], 'Expected the path of a video for --video but "nope.mp4" cannot be read'],
      [['plan', '--width', '65'], 'Expected a multiple of 8 (the two nearest are 64 and 72) for --width but received 65'],
      [['plan', '--chunk-frames', '4', '--context-frames', '5'], 'Expected --context-frames of at most --chunk-frames 4 but received 5'],
      [['plan', '--method', 'vim'], `Expected one of 'vin', 'full', 'autoregressive', 'independent', 'freenoise', 'spectral-blend', 'streaming-t2v' for --method but received "vim"`],
      [['plan', '--scheduler', 'DDIM'], 'Expected one of DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler for --scheduler but received "DDIM"'],
      [['plan', '--fusion', 'late+mid'], `Expected one of 'early', 'mid', 'late', 'none' or FROM..UNTIL as 0.8..0.3, weights of 'linear', 'raised-cosine', 'learned', or both with + between for --fusion but received "late+mid"`],
      [['plan', '--fusion', '0.2..0.5'], 'Expected fusion.until of at most fusion.from 0.2 but received 0.5'],
      [['plan', '--keyframe-interval', '0'], 'Expected a number from 0.001 to 3600 for --keyframe-interval but received 0'],
      [['plan', '--dtype', 'half'], `Expected one of 'auto', 'float32' for --dtype but received "half"`],
      [['plan', '--device', 'gpu'], `Expected one of 'auto', 'cpu', 'cuda' or 'cuda:N' for --device but received "gpu"`],
      [['plan', '--memory-budget', '-5'], 'Expected a number of MiB above 0 for --memory-budget but received "-5"'],
      [['decode', 'x.safetensors', '--frames', '0'], 'Expected an integer from 1 to 4096 for --frames but received 0'],
      [['inspect', 'attention', '--steps', '0'], 'for --steps but received 0'],
      [['train', '--steps', '1', '--batch-size', '0'], 'for --batch-size but received 0'],
      [['train', '--steps', '-1'], 'for --steps but received -1']
    ] as const
  ).map(([args, text]): [string[], number, string] => [[...args, ...(args[0] === 'inspect' ? [] : ['--model', 'nowhere'])], 2, text]),
  [['resume', '.'], 2, 'has no job.json'],
  [['train'], 2, 'Expected --steps or --minutes'],
  [['inspect', 'modle'], 2, "the nearest one is 'model'"],
  [['generate', '--model', 'nowhere', '--device', 'cpu'], 3, 'Expected a model folder at nowhere'],
  [['serve'], 3, "'serve', which is not built yet"],
  [['compare'], 2, 'Expected --prompts with a text file of a prompt a line for compare but received none'],
  [['compare', '--prompts', 'nowhere.txt'], 2, 'Expected a text file with a prompt a line for --prompts but "nowhere.txt" cannot be read'],
  [['compare', '--from', 'nowhere.json'], 2, 'the report.json of a comparison for --from but "nowhere.json" cannot be read'],
  ...(
    [
      [['generate', '--image', 'nope'], 'the path of a picture for --image'],
      [['generate', '--last-image', 'nope'], 'the path of a picture for --last-image'],
      [['generate', '--video', 'nope'], 'the path of a video for --video'],
      [['plan', '--scheduler', './nope'], 'a class name, or the path of a config, for --scheduler'],
      [['compare', '--prompts', 'nope'], 'a text file with a prompt a line for --prompts'],
      [['compare', '--from', 'nope'], 'the report.json of a comparison for --from'],
      [['fit-step-cache', '--prompts', 'nope'], 'a text file with a prompt a line for --prompts'],
      [['resume', 'nope'], 'the folder of an interrupted run'],
      [['decode', 'nope'], 'a .safetensors file of latents'],
      [['evaluate', 'nope'], 'the path of a video'],
      [['study', 'votes', 'nope'], 'answers of a study'],
      [['train', '--data', 'nope', '--steps', '1'], "a folder of videos, or 'demo', for --data"]
    ] as const
  ).map(([args, what]): [string[], number, string] => [[...args], 2, `Expected ${what} but "${args[0] === 'plan' ? './nope' : 'nope'}" cannot be read: it does not exist`]),
  ...[['decode', '.'], ['evaluate', '.'], ['study', 'votes', '.'], ['compare', '--prompts', '.'], ['compare', '--from', '.'], ['generate', '--image', '.']].map((args): [string[], number, string] => [args, 2, 'but "." is a folder']),
  [['study', 'page', 'nope'], 2, `Expected the report.json of a comparison but "${join('nope', 'report.json')}" cannot be read: it does not exist`],
  [['fit-step-cache', '--prompts', 'nope', '--steps', '1'], 2, 'Expected an integer from 3 to 1000 for --steps but received 1'],
  [['fit-step-cache'], 2, 'for fit-step-cache but received none; embeddings by prompt, in a .safetensors file, do as well'],
  [['generate', '-o', 'no/such/x.mp4'], 4, 'does not exist; make it first'],
  [['generate', '--device', 'cuda-ptx', '--model', 'nowhere'], 4, 'cuda-ptx']
])('%j exits with %i', async (args, code, text) => {
  const result = await vinNative(folder, ...args)
  expect(result.stderr).toMatch(text)
  expect(result).toMatchObject({ code, signal: null, stdout: '' })
  expect(result.stderr).not.toContain('    at ')
  expect(await readdir(folder)).toEqual([])
})

// A beginning of a name counts as near, and what nothing is near to gets no name.
test.each([
  ['generate', ['--out', 'x'], "the nearest one is '--output'"],
  ['generate', ['--memory', '3'], "the nearest one is '--memory-budget'"],
  ['generate', ['--num-inference-steps', '3'], "the nearest one is '--steps'"],
  ['generate', ['--negativePrompt', 'x'], "the nearest one is '--negative'"],
  ['generate', ['--guidance-scale', '3'], "the nearest one is '--guidance'"],
  ['generate', ['--xyzzy'], "received '--xyzzy'; vin-native help generate lists all"],
  ['generate', ['-n', '3'], "received '-n'; vin-native help generate lists all"],
  ['generate', ['--prompt', 'a'], "Expected PROMPT for generate as a word of its own but received it with '--prompt'; leave the option's name out"],
  ['compare', ['--no-video'], "the nearest one is '--no-videos'"],
  ['train', ['--folder', 'x'], "received '--folder'; vin-native help train lists all"],
  ['study', ['out'], "Expected one of page, votes for study but received 'out'"],
  ['study', ['page', 'out', '--pair', '3'], "the nearest one is '--pairs'"],
  ['study', ['votes', 'a.json', '--pair', '3'], "received '--pair'; vin-native help study lists all"],
  ['study', ['--pairs', '3', 'votes', 'a.json'], 'Expected --pairs with study page only but received it with study votes'],
  ['inspect', ['gpu', '--stepps', '3'], "received '--stepps'; vin-native help inspect lists all"],
  ['inspect', ['attention', '--stepps', '3'], "the nearest one is '--steps'"]
] as const)('%s %j says what is near', async (name, args, text) => {
  const { args: definitions, subjects } = (await commands[name].load()) as Command
  expect(() => checkArguments(name, args, definitions as ArgsDef, subjects)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringMatching(new RegExp(`${text}$`)) as string }))
})

test('with --json an error is a line of JSON too', async () => {
  const { code, stdout } = await vinNative(folder, 'generate', '--json', '--model', 'nowhere', '--device', 'cpu')
  expect(code).toBe(3)
  expect(events(stdout)).toEqual([{ type: 'error', code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('nowhere') as string, details: { component: 'model', folder: 'nowhere' } }])
})

test('an option whose value stands after = is one option, short names too', async () => {
  const { code, stderr } = await vinNative(folder, 'decode', 'nowhere.safetensors', '-o=x.avi')
  expect(code).toBe(2)
  expect(stderr).toContain('but received "x.avi"')
})

test('help of a command is what its --help is: every default, nothing that is not there', async () => {
  const helps = await Promise.all(commandNames.map((name) => vinNative(folder, 'help', name)))
  expect((await vinNative(folder, 'plan', '--help')).stdout).toBe(helps[commandNames.indexOf('plan')]!.stdout)
  for (const [i, { code, stdout }] of helps.entries()) {
    expect(code).toBe(0)
    const options = stdout.split('\n').filter((line) => /^ +(-\w, )?--[\w-]+=/.test(line))
    for (const line of options) expect(line, commandNames[i]).toMatch(/\(.+\)\s*$/)
    for (const name of ['bfloat16', 'int8', ', …']) expect(stdout, commandNames[i]).not.toContain(name)
  }
})

test('what the operating system says becomes a sentence', () => {
  const raised = (code: string, syscall: string, path?: string): Error => Object.assign(new Error(`${code}: what libuv says, ${syscall} '${path}'`), { code, syscall, ...(path === undefined ? {} : { path }) })
  expect(sentence(raised('EISDIR', 'read'))).toBe('Expected to read a file but it is a folder (EISDIR)')
  expect(sentence(raised('ENAMETOOLONG', 'open', `/tmp/${'x'.repeat(300)}.png`))).toBe(`Expected to open /tmp/${'x'.repeat(40)}… but its name is too long (ENAMETOOLONG)`)
  expect(sentence(new Error("Expected to save the run in a/b but ENOTDIR: not a directory, mkdir 'a/b'"))).toBe('Expected to save the run in a/b but a file stands where its folder should be (ENOTDIR)')
  expect(sentence(new Error("EXDEV: cross-device link not permitted, rename 'a' -> 'b'"))).toContain('EXDEV: cross-device')
  expect(exitCode(raised('EISDIR', 'read'))).toBe(4)
})

test('options have their names in sentences, and only where they are meant', () => {
  const definitions = { frames: { type: 'string' }, steps: { type: 'string' }, width: { type: 'string' }, 'chunk-frames': { type: 'string' }, model: { type: 'string' }, prompt: { type: 'positional' } } as const
  const of = (text: string): string => sentence(new Error(text), definitions)
  expect(of('Expected at most chunkFrames 10 for numFrames but received 3')).toBe('Expected at most --chunk-frames 10 for --frames but received 3')
  expect(of('Expected width 64 of the model for width but received 3')).toBe('Expected width 64 of the model for --width but received 3')
  expect(of('Expected the model to have vae/ for pixels but it has none')).toBe('Expected the model to have vae/ for pixels but it has none')
  expect(of('Expected width to be 3')).toBe('Expected --width to be 3')
  expect(of('Expected steps for numFrames 3 but received 2; train them (chunkFrames: 4)')).toBe('Expected steps for --frames 3 but received 2; train them (chunkFrames: 4)')
  expect(of('Expected a string for prompt but received 3 of maxNumFrames')).toBe('Expected a string for prompt but received 3 of maxNumFrames')
})

describe('a reader that leaves', () => {
  const leaves = async (stream: 'stdout' | 'stderr', ...args: string[]): Promise<{ code: number | null; signal: string | null; stderr: string }> => {
    const running = start(folder, ...args)
    running.child[stream]!.destroy()
    return running.result
  }

  test.each([['help'], ['help', 'generate'], ['inspect', 'prebuilds'], ['doctor', '--json']])('%s ends quietly', async (...args) => {
    expect(await leaves('stdout', ...args)).toMatchObject({ code: 0, signal: null, stderr: '' })
  })

  test('stops a run, which is saved', async () => {
    const place = await mkdtemp(join(folder, 'left-'))
    const running = start(place, 'generate', 'a red circle', '--device', 'cpu', '--frames', '17', '--steps', '900', '--seed', '1', '--json')
    await running.line(/"type":"step"/)
    running.child.stdout!.destroy()
    expect(await running.result).toMatchObject({ code: 130, signal: null, stderr: '' })
    const [saved] = await readdir(place)
    expect(await readdir(join(place, saved!))).toContain('job.json')
    await rm(place, { recursive: true })
  })

  test('an error that nobody reads keeps its code', async () => {
    expect(await leaves('stderr', 'generat')).toMatchObject({ code: 2, signal: null })
  })
})

test('help and version go to stdout', async () => {
  const [help, command, version, nothing] = await Promise.all([vinNative(folder, '--help'), vinNative(folder, 'generate', '--help'), vinNative(folder, '--version'), vinNative(folder)])
  expect(help.code).toBe(0)
  for (const name of ['generate', 'plan', 'resume', 'decode', 'evaluate', 'compare', 'study', 'fit-step-cache', 'train', 'inspect', 'bench', 'doctor']) expect(help.stdout).toContain(name)
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
  for (const name of [...laterCommands, 'bfloat16', 'int8']) expect(readme).toContain(`\`${name}\``)
})

test('numbers and seeds are read exactly', () => {
  expect(numberOption('1e3', '--x')).toBe(1000)
  expect(numberOption('-2.5', '--x')).toBe(-2.5)
  expect(numberOption(undefined, '--x')).toBeUndefined()
  for (const text of ['', ' ', '1x', 'NaN']) expect(() => numberOption(text, '--x')).toThrow(TypeError)
  expect(seedOption('7')).toBe(7)
  expect(seedOption('18446744073709551615')).toBe(2n ** 64n - 1n)
  for (const text of ['-1', '1.5', '1e3', '', '18446744073709551616', '9'.repeat(400)]) expect(() => seedOption(text)).toThrow(RangeError)
})

test('a positional whose name ends in … takes every word that is left', () => {
  const definitions = { word: { type: 'positional' }, 'file…': { type: 'positional', required: true } } as const
  expect(checkArguments('x', ['a', 'b', 'c', '--', '--d'], definitions)).toEqual(['--', 'a', 'b', 'c', '--d'])
  expect(() => checkArguments('x', ['a', 'b', 'c', ''], definitions)).toThrow("Expected FILE… for x but received ''")
  expect(() => checkArguments('x', [], definitions)).toThrow('Expected FILE… for x')
})

test('options may be given with =, negated, and end at --', () => {
  const definitions = { word: { type: 'positional' }, frames: { type: 'string', alias: 'f' }, json: { type: 'boolean' } } as const
  for (const args of [['--frames=3'], ['-f', '3'], ['--no-json'], ['--', '--frames'], ['-'], ['--frames', '-3']]) expect(() => checkArguments('x', args, definitions)).not.toThrow()
  for (const args of [['--no-frames'], ['--frames', ''], ['--frames='], [''], ['--json='], ['--', 'a', 'b'], ['--Frames=3'], ['--jsonx']]) expect(() => checkArguments('x', args, definitions)).toThrow(TypeError)
})

test('the scale is the smallest whole number by which the shorter side reaches 256', () => {
  expect([defaultScale(64, 64), defaultScale(320, 192), defaultScale(256, 512), defaultScale(255, 512), defaultScale(1024, 1024)]).toEqual([4, 2, 1, 2, 1])
})
