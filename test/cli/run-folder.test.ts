// The folder of a run: read first, written after all checks, used by one run at a time, and good for going on from anywhere.
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hashOf, mount, mountSmall, useFolder } from '../files/support.js'
import { events, start, vinNative, writeModel } from './support.js'

let model = ''
beforeAll(async () => writeModel((model = await mkdtemp(join(tmpdir(), 'vin-run-')))))
afterAll(() => rm(model, { recursive: true, force: true }))
const at = useFolder()
const options = (prompt: string) => [prompt, '--model', model, '--device', 'cpu', '--frames', '5', '--steps', '3', '--scale', '1']
const generate = (prompt: string, ...args: string[]) => vinNative(at(), 'generate', ...options(prompt), ...args)
const job = (folder: string) => JSON.parse(readFileSync(at(folder, 'job.json'), 'utf8')) as { output: string; values: Record<string, string> }

/** Interrupts a run of 300 steps, and returns the folder that it leaves in `cwd`. */
async function interrupted(cwd: string, ...args: string[]): Promise<string> {
  const running = start(cwd, 'generate', 'a circle', '--model', model, '--device', 'cpu', '--frames', '64', '--steps', '60', '--scale', '1', '--json', ...args)
  await running.line(/"type":"step","step":1,/)
  running.child.kill('SIGINT')
  const { code, stdout } = await running.result
  expect(code).toBe(130)
  return events(stdout).find(({ type }) => type === 'saved')!['folder'] as string
}

test('--resume again without --seed takes the seed of the run, and its states', async () => {
  const first = await generate('a circle', '--resume', 'states', '-o', 'one.y4m', '--json')
  expect(first.code).toBe(0)
  const { seed } = events(first.stdout).at(-1)!
  expect(job('states').values['seed']).toBe(String(seed))
  // Also where the job is lost and only the states are there.
  for (const lose of [() => undefined, () => execFileSync('rm', [at('states', 'job.json')])]) {
    lose()
    const again = await generate('a circle', '--resume', 'states', '-o', 'two.y4m', '--json')
    expect(again.code, again.stderr).toBe(0)
    expect(events(again.stdout).at(-1)).toMatchObject({ type: 'done', seed })
    expect(events(again.stdout).filter(({ type }) => type === 'step')).toEqual([])
    expect(readFileSync(at('two.y4m')).equals(readFileSync(at('one.y4m')))).toBe(true)
    expect(job('states').values['seed']).toBe(String(seed))
  }
})

test('--resume with another prompt is refused, offers nothing of the old run, and leaves it as it was', async () => {
  expect((await generate('a circle', '--resume', 'states', '-o', 'one.y4m')).code).toBe(0)
  const before = hashOf(at('states'))
  for (const other of [['a square'], ['a circle', '--seed', '3'], ['a circle', '--guidance', '3']]) {
    const refused = await generate(other[0]!, ...other.slice(1), '--resume', 'states', '-o', 'other.y4m')
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toContain('use the same options, or another folder')
    expect(refused.stderr).not.toMatch(/latents are in|resume states|decode/)
    expect(hashOf(at('states'))).toBe(before)
  }
  expect((await vinNative(at(), 'resume', 'states')).code).toBe(0)
})

test.each([
  ['--image', 'nope.png', 2],
  ['--video', 'nope.mp4', 2],
  ['--last-image', 'text.png', 3],
  ['--negative', 'x'.repeat(9000), 2],
  ['--model', 'nowhere', 3]
])('%s that is wrong leaves no folder and advises nothing', async (option, value, code) => {
  writeFileSync(at('text.png'), 'no picture')
  const before = hashOf(at())
  for (const resume of [[], ['--resume', 'states']]) {
    const result = await generate('a circle', option, value, ...resume)
    expect(result.code, result.stderr).toBe(code)
    expect(result.stderr).not.toContain('vin-native resume')
    expect(hashOf(at())).toBe(before)
  }
})

test('from a working directory that cannot be written, the run folder lies beside the output', async (context) => {
  mkdirSync(at('closed'))
  mkdirSync(at('out'))
  mount(context, at('closed'), '-t', 'tmpfs', '-o', 'ro', 'tmpfs')
  const made = await vinNative(at('closed'), 'generate', ...options('a circle'), '-o', at('out', 'x.y4m'))
  expect(made.code, made.stderr).toBe(0)
  expect(readdirSync(at('out'))).toEqual(['x.y4m'])
  const folder = await interrupted(at('closed'), '-o', '../out/y.y4m')
  expect(folder).toMatch(new RegExp(`^${at('out')}/vin-[0-9a-f]{8}$`))
  expect((await vinNative(at('closed'), 'resume', folder)).code).toBe(0)
  expect(readdirSync(at('out'))).toEqual(['x.y4m', 'y.y4m'])
})

test('resume from another folder finds model and pictures, and writes to the place first meant', async () => {
  mkdirSync(at('first'))
  mkdirSync(at('second'))
  cpSync(model, at('first', 'model'), { recursive: true })
  execFileSync(process.execPath, ['-e', `import('fast-png').then(({ encode }) => require('fs').writeFileSync(${JSON.stringify(at('first', 'a.png'))}, encode({ width: 64, height: 64, channels: 3, depth: 8, data: new Uint8Array(64 * 64 * 3).fill(90) })))`], { cwd: join(import.meta.dirname, '../..') })
  const folder = await interrupted(at('first'), '--model', 'model', '--image', 'a.png', '--seed', '5', '-o', 'film.y4m')
  const resumed = await vinNative(at('second'), 'resume', `../first/${folder}`, '--json')
  expect(resumed.code, resumed.stderr).toBe(0)
  expect(events(resumed.stdout).filter(({ type }) => type === 'step')[0]!['step']).toBeGreaterThan(0)
  expect(readdirSync(at('second'))).toEqual([])
  expect(readdirSync(at('first')).sort()).toEqual(['a.png', 'film.y4m', 'model'])
})

test('what others put into the folder of a run stays when the run ends', async () => {
  const folder = await interrupted(at(), '-o', 'film.y4m')
  writeFileSync(at(folder, 'notes.txt'), 'mine')
  expect((await vinNative(at(), 'resume', folder)).code).toBe(0)
  expect(readdirSync(at(folder))).toEqual(['notes.txt'])
})

test('--resume into a folder of somebody else is refused by name, before the model is opened', async () => {
  mkdirSync(at('mine'))
  writeFileSync(at('mine', 'thesis.txt'), 'years of work')
  mkdirSync(at('jobs'))
  writeFileSync(at('jobs', 'job.json'), '{"name": "a job of another program"}')
  writeFileSync(at('file'), '')
  symlinkSync('mine', at('link'))
  const before = hashOf(at())
  for (const [name, code, text] of [['mine', 4, 'holds thesis.txt'], ['link', 4, 'holds thesis.txt'], ['jobs', 3, 'job.json'], ['file', 4, 'no folder']] as const) {
    const result = await generate('a circle', '--model', 'nowhere', '--resume', name)
    expect(result).toMatchObject({ code, stderr: expect.stringContaining(text) as string })
  }
  expect(hashOf(at())).toBe(before)
})

test('an output that could not be written is refused before the model is opened', async (context) => {
  mkdirSync(at('out.y4m'))
  mkdirSync(at('out'))
  writeFileSync(at('out', 'photo.jpg'), 'mine')
  mkdirSync(at('closed'))
  mount(context, at('closed'), '-t', 'tmpfs', '-o', 'ro', 'tmpfs')
  const before = hashOf(at())
  for (const [output, text] of [['out.y4m', 'it is a folder'], ['out.png', 'holds photo.jpg'], ['closed/out.gif', 'read-only'], ['closed/out.png', 'read-only']] as const) {
    const result = await generate('a circle', '--model', 'nowhere', '-o', output)
    expect(result).toMatchObject({ code: 4, stderr: expect.stringContaining(text) as string })
  }
  mkdirSync(at('film.preview.apng'))
  expect(await generate('a circle', '--model', 'nowhere', '--preview', '-o', 'film.gif')).toMatchObject({ code: 4, stderr: expect.stringContaining('film.preview.apng but it is a folder') as string })
  execFileSync('rmdir', [at('film.preview.apng')])
  expect(hashOf(at())).toBe(before)
})

describe('two runs on one folder', () => {
  const running = () => start(at(), 'generate', 'a circle', '--model', model, '--device', 'cpu', '--frames', '64', '--steps', '1000', '--json', '--resume', 'states', '-o', 'one.y4m')

  test('the second is refused and told who holds it; the first goes on', async () => {
    const first = running()
    await first.line(/"type":"step","step":1,/)
    for (const second of [await vinNative(at(), 'resume', 'states', '--json'), await generate('a circle', '--resume', 'states', '--json')]) {
      expect(second.code).toBe(4)
      expect(events(second.stdout).at(-1)).toMatchObject({
        code: 'ERR_VIN_DISK',
        message: expect.stringMatching(`process ${first.child.pid} on .* uses it since .*; wait for it, or choose another folder`) as string,
        details: { reason: 'ELOCKED', pid: first.child.pid }
      })
    }
    first.child.kill('SIGINT')
    const { code, stdout } = await first.result
    expect(code).toBe(130)
    expect(events(stdout).at(-1)).toMatchObject({ code: 'cancelled' })
    expect(readdirSync(at('states')).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('a dead holder is followed at once, and its half-written files go', async () => {
    const first = running()
    await first.line(/"type":"step","step":1,/)
    first.child.kill('SIGKILL')
    await first.result
    expect(readdirSync(at('states'))).toContain('.vin-lock')
    for (const name of ['.state-000009.safetensors.0123abcd.tmp', '.job.json.0123abcd.tmp']) writeFileSync(at('states', name), 'half')
    const second = start(at(), 'resume', 'states', '--json')
    await second.line(/"type":"step"/)
    expect(readdirSync(at('states')).filter((name) => /0123abcd/.test(name))).toEqual([])
    second.child.kill('SIGINT')
    expect((await second.result).code).toBe(130)
  })
})

test('on a full disk a state is ERR_VIN_DISK, and the states of before are whole', async (context) => {
  mkdirSync(at('small'))
  mountSmall(context, at('small'), 1 << 20)
  const first = start(at(), 'generate', 'a circle', '--model', model, '--device', 'cpu', '--frames', '64', '--steps', '60', '--json', '--seed', '1', '--resume', 'small/states', '-o', 'film.y4m')
  await first.line(/"type":"step","step":1,/)
  expect(() => writeFileSync(at('small', 'filler'), Buffer.alloc(1 << 20))).toThrow('ENOSPC')
  const { code, stdout } = await first.result
  expect(code).toBe(4)
  expect(events(stdout).at(-1)).toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'ENOSPC' } })
  expect(readdirSync(at('small', 'states')).filter((name) => name.endsWith('.tmp'))).toEqual([])
  execFileSync('rm', [at('small', 'filler')])
  const resumed = await vinNative(at(), 'resume', 'small/states', '--json')
  expect(resumed.code, resumed.stderr).toBe(0)
  expect(events(resumed.stdout).filter(({ type }) => type === 'step')[0]!['step']).toBeGreaterThan(0)
  expect(existsSync(at('film.y4m'))).toBe(true)
})
