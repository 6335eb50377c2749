// train on a folder of clips: the table of --check, warnings, held-out loss, the curve and the samples.
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { requireFfmpeg } from '../../lib/video/ffmpeg.js'
import { events, vinNative, writeModel } from './support.js'

const ffmpeg = await requireFfmpeg('test').catch(() => undefined)
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-train-clips-'))
  await writeModel(join(folder, 'model'))
  if (ffmpeg === undefined) return
  await mkdir(join(folder, 'clips'))
  const clip = (name: string, seconds: number): void => void execFileSync(ffmpeg, ['-v', 'error', '-f', 'lavfi', '-i', `testsrc=s=64x64:r=16:d=${seconds}`, '-y', join(folder, 'clips', name)])
  for (const name of ['a.mp4', 'b.mp4', 'c.gif']) clip(name, 1)
  clip('short.mp4', 0.5)
  await writeFile(join(folder, 'clips', 'broken.mp4'), 'nothing')
  await writeFile(join(folder, 'clips', '._a.mp4'), 'nothing')
  for (const name of ['a', 'b', 'c', 'short', 'broken']) await writeFile(join(folder, 'clips', `${name}.txt`), name === 'b' ? 'a red dragon' : 'a red circle moves')
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))
const train = (...args: string[]) => vinNative(folder, 'train', '--model', 'model', '--device', 'cpu', '--data', 'clips', ...args)

describe.skipIf(ffmpeg === undefined)('(skipped without ffmpeg, which reads clips)', () => {
  test('--check lists every clip, says what a clip needs, and writes nothing', async () => {
    const { code, stdout, stderr } = await train('--check', '--lengths', '5,10', '-o', 'never')
    expect(code).toBe(0)
    const lines = stdout.trim().split('\n')
    expect(lines[0]).toMatch(/^clip\s+size\s+frames\s+length\s+use\s+caption or reason$/)
    expect(lines.slice(1, 6).map((line) => line.replace(/ {2,}/g, '|'))).toEqual([
      'a.mp4|64 × 64|16|1.0 s|training|a red circle moves',
      'b.mp4|64 × 64|16|1.0 s|training|a red dragon',
      expect.stringMatching(/^broken\.mp4\|left out\|damaged, or no video: /),
      'c.gif|64 × 64|16|1.0 s|training|a red circle moves',
      'short.mp4|64 × 64|8|0.5 s|left out|too short: 8 frames (0.5 s), a clip needs 13 (0.8 s)'
    ])
    expect(lines.at(-1)).toBe('3 of 5 clips are trained on, 0 held out, 2 left out; with lengths 5, 10 a clip needs 13 frames (0.8 s at 16 fps)')
    expect(stderr).toMatch(/warning: 2 of 5 clips are left out: broken\.mp4 .*short\.mp4 .*lengths that begin with 3 latent frames, not 5, would take the short ones/)
    expect(stderr).toMatch(/warning: 1 of 3 captions have words the model does not know: dragon/)
    await expect(readFile(join(folder, 'never', 'model_index.json'))).rejects.toMatchObject({ code: 'ENOENT' })
  }, 60_000)

  test('clips that all are too short for the lengths are exit code 3, and the shortest usable length is said', async () => {
    const { code, stderr } = await train('--check')
    expect(code).toBe(3)
    expect(stderr).toMatch(/a clip needs 61 \(3\.8 s\).*lengths that begin with 3 latent frames, not 20/)
    const run = await train('--steps', '1', '-o', 'none')
    expect(run.code).toBe(3)
    expect(run.stderr).toMatch(/Expected at least one video in clips that can be used but all are left out/)
  }, 60_000)

  test('a run measures clips that it does not train on, writes the curve and samples, and a resumed one goes on with both', async () => {
    const options = ['--lengths', '5', '--held-out', '0.4', '--eval-every', '2', '--sample-every', '3', '-o', 'out', '--json']
    const first = await train('--steps', '3', ...options)
    expect(first.code, first.stderr).toBe(0)
    const seen = events(first.stdout)
    const steps = seen.filter(({ type }) => type === 'step')
    expect(steps.map(({ step, heldOutLoss }) => [step, typeof heldOutLoss])).toEqual([[0, 'undefined'], [1, 'number'], [2, 'undefined']])
    expect(steps.map(({ etaMs }) => typeof etaMs)).toEqual(['number', 'number', 'number'])
    expect(steps[2]!['etaMs']).toBe(0)
    expect(seen.filter(({ type }) => type === 'warning')).toMatchObject([{ code: 'clips-left-out' }, { code: 'captions' }])
    const sample = join('out', 'training', 'samples', '000003.gif')
    expect(seen.filter(({ type }) => type === 'sample')).toMatchObject([{ step: 3, path: sample }])
    expect((await readFile(join(folder, sample))).subarray(0, 6).toString()).toBe('GIF89a')
    const rows = async () => (await readFile(join(folder, 'out', 'training', 'curve.csv'), 'utf8')).trim().split('\n').map((line) => line.split(','))
    const [header, ...curve] = await rows()
    expect(header).toEqual(['step', 'loss', 'held_out_loss', 'gradient_norm', 'learning_rate', 'samples_per_second', 'seconds'])
    expect(curve.map(([step, loss, heldOut]) => [Number(step), Number(loss), heldOut === '' ? undefined : Number(heldOut)])).toEqual(steps.map(({ step, loss, heldOutLoss }) => [step, loss, heldOutLoss]))

    // A row of a step that the checkpoint does not hold, as a killed run leaves it.
    await writeFile(join(folder, 'out', 'training', 'curve.csv'), `${[header, ...curve, ['3', '9', '', '9', '9', '9', '9']].map((row) => row!.join(',')).join('\n')}\n4,9`)
    const second = await train('--steps', '1', ...options)
    expect(second.code, second.stderr).toBe(0)
    const [, ...whole] = await rows()
    expect(whole.map(([step]) => step)).toEqual(['0', '1', '2', '3'])
    expect(whole.slice(0, 3)).toEqual(curve)
    expect(Number(whole[3]![1])).toBe(events(second.stdout).find(({ type }) => type === 'step')!['loss'])
    expect(typeof events(second.stdout).find(({ type }) => type === 'done')!['heldOutLoss']).toBe('number')

    // What cannot be written beside the checkpoint is told, and the run goes on.
    await rm(join(folder, 'out', 'training', 'curve.csv'))
    await mkdir(join(folder, 'out', 'training', 'curve.csv'))
    const third = await train('--steps', '2', ...options)
    expect(third.code, third.stderr).toBe(0)
    expect(events(third.stdout).filter(({ code }) => code === 'curve')).toHaveLength(1)
    expect(events(third.stdout).filter(({ type }) => type === 'checkpoint')).toMatchObject([{ step: 6 }])
  }, 120_000)
})

test('wrong options are refused in their own names before a model is opened', async () => {
  for (const [args, message] of [
    [['--check'], /Expected --data with a folder of videos for --check/],
    [['--steps', '1', '--lengths', '5,x'], /Expected a number for --lengths but received "x"/],
    [['--steps', '1', '--held-out', '2'], /Expected a number from 0 to 0\.9 for --held-out but received 2/],
    [['--steps', '1', '--eval-every', '0'], /Expected an integer from 1 .* for --eval-every/]
  ] as const) {
    const { code, stderr } = await vinNative(folder, 'train', '--model', 'nowhere', ...args)
    expect(code).toBe(2)
    expect(stderr).toMatch(message)
  }
}, 60_000)
