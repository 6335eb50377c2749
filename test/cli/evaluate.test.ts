// vin-native evaluate: videos of other programs as a table and as JSON, and what is refused before anything is measured.
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { evaluate, evaluateClips } from '../../lib/index.js'
import { requireFfmpeg } from '../../lib/video/ffmpeg.js'
import { events, start, vinNative, writeModel } from './support.js'

const ffmpeg = await requireFfmpeg('test').catch(() => undefined)
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-cli-evaluate-'))
  if (ffmpeg === undefined) return
  const draw = (name: string, source: string): void => void execFileSync(ffmpeg, ['-v', 'error', '-f', 'lavfi', '-i', source, '-y', join(folder, name)])
  // 32 frames, another scene from the 16th on.
  draw('cut.mp4', 'color=black:s=32x24:r=10:d=1.6[a];color=white:s=32x24:r=10:d=1.6[b];[a][b]concat=n=2')
  draw('still.gif', 'color=gray:s=32x24:r=10:d=0.6')
  draw('long.avi', 'testsrc=s=64x64:r=16:d=8')
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

const columns = (line: string): string[] => line.trim().split(/ {2,}/)

describe.skipIf(ffmpeg === undefined)('(skipped without ffmpeg, which reads videos)', () => {
  test('a row a video and their mean, with what each number does not compare with', async () => {
    const { code, stdout, stderr } = await vinNative(folder, 'evaluate', 'cut.mp4', 'still.gif')
    expect(code, stderr).toBe(0)
    const [heading, cut, still, mean, ...notes] = stdout.trim().split('\n')
    expect(columns(heading!)).toEqual(['video', 'frames', 'size', 'fps', 'flicker', 'smoothness', 'dynamic', 'cuts', 'MAWE', 'W', 'M'])
    // One pair of 31 goes from black to white.
    expect(columns(cut!).slice(0, 5)).toEqual(['cut.mp4', '32', '32 × 24', '10', (1 - 1 / 31).toFixed(4)])
    expect(columns(cut!)[7]).toBe('1')
    expect(columns(still!)).toEqual(['still.gif', '6', '32 × 24', '10', '1.0000', '1.0000', '0', '0', '–', '0.000', '0.000'])
    expect(columns(mean!).slice(0, 2)).toEqual(['mean', (1 - 0.5 / 31).toFixed(4)])
    expect(columns(mean!)).toContain('0.50')
    expect(notes.join('\n')).toMatch(/optical flow: built-in; without RAFT.*\nframes between: built-in; without AMT-S/)
    expect(stderr).toMatch(/measuring 1\/2 cut\.mp4 32\/32 100 %\n/)
  }, 60_000)

  test('--json is what evaluate() says, a line a video', async () => {
    const { code, stdout } = await vinNative(folder, 'evaluate', '--json', 'cut.mp4', '--metrics', 'sceneCuts,temporalFlickering,seamScore', '--borders', '16')
    expect(code).toBe(0)
    const [measured, done] = events(stdout).filter(({ type }) => type !== 'progress')
    const metrics = ['sceneCuts', 'temporalFlickering', 'seamScore'] as const
    expect(measured).toEqual({ type: 'evaluation', file: 'cut.mp4', ...(await evaluate(join(folder, 'cut.mp4'), { metrics, borders: [16] })) })
    expect(measured).toMatchObject({ sceneCuts: [16] })
    expect(done).toMatchObject({ type: 'done', videos: 1, mean: { sceneCuts: 1 }, notes: [] })
  }, 60_000)

  test('features come from the VIN of --model, and are called VBench-form', async () => {
    await writeModel(join(folder, 'model'))
    const { code, stdout, stderr } = await vinNative(folder, 'evaluate', 'still.gif', 'cut.mp4', '--model', 'model', '--device', 'cpu', '--metrics', 'subjectConsistency,identityOverGap', '--gaps', '0.2,2')
    expect(code, stderr).toBe(0)
    const lines = stdout.trim().split('\n')
    expect(columns(lines[1]!).slice(-1)).toEqual(['1.0000'])
    expect(lines[4]).toMatch(/^similarity over a gap, still\.gif: 1 frame 1\.0000, 0\.2 s 1\.0000$/)
    expect(lines.at(-2)).toMatch(/^what lasts, of all: 0\.2 s .*, 2 s /)
    expect(lines.at(-1)).toMatch(/^features: VIN; VBench-form, not VBench/)
  }, 60_000)

  test('--clips measures clip by clip', async () => {
    const { code, stdout } = await vinNative(folder, 'evaluate', 'cut.mp4', '--clips', '--seconds', '1.2', '--metrics', 'temporalFlickering')
    expect(code).toBe(0)
    const { clips, mean } = await evaluateClips(join(folder, 'cut.mp4'), { seconds: 1.2, metrics: ['temporalFlickering'] })
    expect(stdout.trim().split('\n').slice(1).map(columns)).toEqual([
      ...clips.map(({ from, until, temporalFlickering }) => ['cut.mp4', `${from} … ${until - 1}`, temporalFlickering!.toFixed(4)]),
      ['cut.mp4', 'mean', mean.temporalFlickering!.toFixed(4)]
    ])
    expect(clips.map(({ from }) => from)).toEqual([0, 12, 20])
  }, 60_000)

  test('what is no video is told before the first one is measured', async () => {
    const { code, stdout, stderr } = await vinNative(folder, 'evaluate', 'cut.mp4', 'nowhere.mp4', '--json')
    expect(code).toBe(2)
    expect(stderr).toContain('Expected the path of a video but "nowhere.mp4" cannot be read')
    expect(events(stdout).map(({ type }) => type)).toEqual(['error'])
  }, 60_000)

  test('a signal ends it', async () => {
    const running = start(folder, 'evaluate', 'long.avi', '--metrics', 'mawe', '--json')
    await running.line(/"done":1,/)
    running.child.kill('SIGINT')
    expect(await running.result).toMatchObject({ code: 130, signal: null })
  }, 60_000)
})

test.each([
  [[], 'Expected FILE… for evaluate'],
  [['a.mp4', ''], "Expected FILE… for evaluate but received ''"],
  [['a.mp4', '--metrics', 'flicker'], `'temporalFlickering', 'motionSmoothness'`],
  [['a.mp4', '--metrics', 'seamScore'], 'Expected --borders for seamScore'],
  [['a.mp4', '--metrics', 'sceneCuts,identityOverGap'], 'Expected --model for identityOverGap'],
  [['a.mp4', '--borders', '0'], 'Expected positive video frames for --borders but received 0'],
  [['a.mp4', '--gaps', '1,x'], 'Expected a number for --gaps but received "x"'],
  [['a.mp4', '--fps', '0'], 'for --fps but received 0'],
  [['a.mp4', '--seconds', '3'], 'Expected --seconds with --clips only'],
  [['a.mp4', '--clips', '--seconds', '-1'], 'for --seconds but received -1'],
  [['a.mp4', '--device', 'gpu'], 'for --device but received "gpu"']
] as const)('evaluate %j is refused before a file is looked for', async (args, text) => {
  const { code, stdout, stderr } = await vinNative(folder, 'evaluate', ...args)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain(text)
})
