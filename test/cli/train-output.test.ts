// train --output: what somebody else put there stays, byte by byte; a checkpoint of ours is gone on with; a signal saves.
import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hashOf, mount, useFolder } from '../files/support.js'
import { events, start, vinNative, writeModel } from './support.js'

let model = ''
beforeAll(async () => writeModel((model = await mkdtemp(join(tmpdir(), 'vin-train-')))))
afterAll(() => rm(model, { recursive: true, force: true }))
const at = useFolder()
const train = (...args: string[]) => vinNative(at(), 'train', '--model', model, '--device', 'cpu', '--json', ...args)

const put = (path: string, text = 'mine'): void => {
  mkdirSync(dirname(at(path)), { recursive: true })
  writeFileSync(at(path), text)
}

describe('a folder that is not ours is refused by name before the first step, and nothing in it changes', () => {
  const shapes: [shape: string, output: string, code: number, named: string | RegExp, make: () => void][] = [
    ['the working directory', '.', 4, 'holds clips', () => undefined],
    ['the folder above', 'sub/..', 4, 'holds clips', () => mkdirSync(at('sub'))],
    ['a folder with a file', 'out', 4, 'holds a.txt', () => put('out/a.txt')],
    ['a folder with a hidden file', 'out', 4, '.env', () => put('out/.env')],
    ['a folder with an empty folder', 'out', 4, 'photos', () => mkdirSync(at('out/photos'), { recursive: true })],
    ['a repository', 'out', 4, '.git', () => (put('out/.git/HEAD'), put('out/main.c'))],
    ['the data folder', 'clips', 4, 'a.mp4', () => undefined],
    ['a new folder inside the data folder', 'clips/out', 2, 'outside the data folder', () => undefined],
    ['a link into the data folder', 'link/out', 2, 'outside the data folder', () => symlinkSync('clips', at('link'))],
    ['a plain file', 'out', 4, 'no folder', () => put('out')],
    ['a path below a plain file', 'out/checkpoint', 4, 'its folder is a file', () => put('out')],
    ['a link to a folder with files', 'out', 4, 'holds a.txt', () => (put('real/a.txt'), symlinkSync('real', at('out')))],
    ['a link to a link to a folder with files', 'out', 4, 'holds a.txt', () => (put('real/a.txt'), symlinkSync('real', at('middle')), symlinkSync('middle', at('out')))],
    ['a link to a file', 'out', 4, 'no folder', () => (put('real'), symlinkSync('real', at('out')))],
    ['a link to itself', 'out', 4, 'circle', () => symlinkSync('out', at('out'))],
    ['a pipe', 'out', 4, 'no folder', () => void execFileSync('mkfifo', [at('out')])],
    ['a name that is too long', 'x'.repeat(300), 4, 'too long', () => undefined],
    ['another program’s training folder', 'out', 4, 'holds model.bin', () => (put('out/training/state.json', '{"step": 3}'), put('out/model.bin'))],
    ['a training folder whose state is damaged', 'out', 4, 'holds training', () => put('out/training/state.json', '{"kind": "vin-na')],
    ['another library’s model', 'out', 4, 'holds model_index.json', () => (put('out/model_index.json', '{"_class_name": "StableDiffusionPipeline"}'), put('out/unet/config.json'))],
    ['a single model’s folder', 'out', 4, 'holds config.json', () => put('out/config.json', '{"_class_name": "OpenSoraVAE_V1_2"}')],
    ['an interrupted run of generate', 'out', 4, 'holds job.json', () => put('out/job.json', '{"version": 1}')],
    ['pictures of a video', 'out', 4, 'holds 000000.png', () => put('out/000000.png')]
  ]

  test.each(shapes)('%s', async (shape, output, code, named, make) => {
    put('clips/a.mp4')
    put('clips/a.txt')
    make()
    const before = hashOf(at())
    // Without --data everything else would do: only the output stops the run.
    const data = /data/.test(shape) ? ['--data', 'clips'] : []
    const result = await train(...data, '--steps', '1', '--output', output)
    expect(hashOf(at())).toBe(before)
    expect(result).toMatchObject({ code, stderr: expect.stringMatching(named) as string })
    expect(result.stderr).toContain(output.slice(0, 40))
    expect(events(result.stdout).map(({ type }) => type)).toEqual(['error'])
  })

  test('a folder that cannot be written', async (context) => {
    mkdirSync(at('out'))
    mount(context, at('out'), '-t', 'tmpfs', '-o', 'ro', 'tmpfs')
    for (const output of ['out', 'out/new']) {
      const result = await train('--steps', '1', '--output', output)
      expect(result).toMatchObject({ code: 4, stderr: expect.stringContaining('read-only') as string })
      expect(events(result.stdout).map(({ type }) => type)).toEqual(['error'])
    }
  })
})

test('a link and a mount point stay what they are, an empty volume counts as empty, and a model of ours may become a checkpoint', async (context) => {
  mkdirSync(at('real'))
  symlinkSync('real', at('link'))
  mkdirSync(at('volume'))
  mount(context, at('volume'), '-t', 'tmpfs', 'tmpfs')
  mkdirSync(at('volume', 'lost+found'))
  execFileSync('cp', ['-r', join(model, '.'), at('model')])
  put('model/model_index.json', '{"_class_name": "VinVideoPipeline", "width": 64, "height": 64}')
  put('model/notes.txt')
  for (const output of ['link', 'volume', 'model']) {
    for (const first of [0, 1]) {
      const result = await train('--steps', '1', '--output', output)
      expect(result, result.stderr).toMatchObject({ code: 0 })
      expect(events(result.stdout).filter(({ type }) => type === 'step').map(({ step }) => step)).toEqual([first])
    }
  }
  expect(lstatSync(at('link')).isSymbolicLink()).toBe(true)
  expect(readdirSync(at()).sort()).toEqual(['link', 'model', 'real', 'volume'])
  expect(readdirSync(at('volume')).sort()).toEqual(['lost+found', 'model_index.json', 'scheduler', 'text_encoder', 'tokenizer', 'training', 'transformer', 'vae'])
  expect(readdirSync(at('real')).sort()).toEqual(['model_index.json', 'scheduler', 'text_encoder', 'tokenizer', 'training', 'transformer', 'vae'])
  expect(readFileSync(at('model', 'notes.txt'), 'utf8')).toBe('mine')
})

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s saves the steps made, says how to go on, and exits with 130', async (signal) => {
  const running = start(at(), 'train', '--model', model, '--device', 'cpu', '--steps', '1000', '--json', '-o', 'my model')
  await running.line(/"type":"step","step":1,/)
  running.child.kill(signal)
  // A closing terminal, and npx, which hands on what its child has had: the same wish.
  running.child.kill(signal)
  const { code, stdout, stderr } = await running.result
  expect(code, stderr).toBe(130)
  const all = events(stdout)
  const steps = all.filter(({ type }) => type === 'step').length
  expect(all.slice(-3)).toEqual([
    { type: 'checkpoint', folder: 'my model', step: steps },
    { type: 'saved', folder: 'my model', step: steps, resume: `npx vin-native train --model ${model} --device cpu --steps ${1000 - steps} --json -o 'my model'` },
    { type: 'error', code: 'cancelled', message: 'interrupted', details: {} }
  ])
  expect(JSON.parse(readFileSync(at('my model', 'training', 'state.json'), 'utf8'))).toMatchObject({ step: steps })
  const again = await vinNative(at(), 'train', '--device', 'cpu', '--steps', '1', '-o', 'my model')
  expect(again, again.stderr).toMatchObject({ code: 0 })
})

test('in plain words: what is saved, and the command that goes on', async () => {
  const running = start(at(), 'train', '--model', model, '--device', 'cpu', '--minutes', '5', '-o', 'checkpoint')
  await new Promise<void>((resolve) => running.child.stderr!.on('data', (chunk: Buffer) => /training [1-9]/.test(chunk.toString()) && resolve()))
  running.child.kill('SIGINT')
  const { code, stderr } = await running.result
  expect(code).toBe(130)
  expect(stderr).toMatch(/interrupted: \d+ steps are saved in checkpoint, go on with: npx vin-native train --model \S+ --device cpu --minutes [45]\.\d -o checkpoint\n/)
})
