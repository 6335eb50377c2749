// A folder as people have it: good clips beside short, damaged and foreign files. Good ones train, each other one is named with its reason.
import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { clipTable } from '../../lib/cli/clip-table.js'
import { Trainer, VAE, VAETrainer, videoFolder } from '../../lib/index.js'
import type { StepReport, TrainingExample, TrainingWarning, VideoFolder, VinError } from '../../lib/index.js'
import { fewestVideoFrames, latentFramesOf } from '../../lib/plan/frames.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { readVideo, requireFfmpeg } from '../../lib/video/ffmpeg.js'
import { tinyPipeline, tinyVAE } from '../support/models.js'

const ffmpeg = await requireFfmpeg('test').catch(() => undefined)
let folder: string
const open: { dispose(): void | Promise<void> }[] = []
const keep = <T extends { dispose(): void | Promise<void> }>(value: T): T => {
  open.push(value)
  return value
}
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.dispose()
})
const make = (name: string, ...args: string[]): void => void execFileSync(ffmpeg!, ['-v', 'error', ...args, '-y', join(folder, name)])
const colour = (name: string, seconds: number, ...args: string[]): void => make(name, '-f', 'lavfi', '-i', `testsrc=s=64x48:r=16:d=${seconds}`, ...args)
const size = { width: 32, height: 32 }
const failure = (work: Promise<unknown>): Promise<VinError> => work.then(() => expect.fail('expected a rejection'), (error: unknown) => error as VinError)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'clips-'))
  if (ffmpeg === undefined) return
  await mkdir(join(folder, 'nested', 'deeper'), { recursive: true })
  await mkdir(join(folder, '.hidden'))
  await mkdir(join(folder, 'my-model', 'samples'), { recursive: true })
  colour('good.mp4', 2)
  colour('nested/deeper/also.mp4', 2)
  colour('short.mp4', 0.5)
  make('animated.gif', '-f', 'lavfi', '-i', 'testsrc=s=64x48:r=16:d=2')
  make('audio.mp4', '-f', 'lavfi', '-i', 'sine=d=1', '-c:a', 'aac')
  await writeFile(join(folder, 'broken.mp4'), 'no video at all')
  await writeFile(join(folder, '._good.mp4'), 'what macOS leaves on other disks')
  await copyFile(join(folder, 'good.mp4'), join(folder, '.hidden', 'good.mp4'))
  // What a model left there is no data.
  await writeFile(join(folder, 'my-model', 'model_index.json'), '{}')
  await copyFile(join(folder, 'good.mp4'), join(folder, 'my-model', 'samples', '500.mp4'))
  await writeFile(join(folder, 'old.m2ts'), '')
  // A link that leads back up.
  await symlink(folder, join(folder, 'nested', 'up'))
  // A movie whose header comes first, cut in the middle of its pictures.
  colour('whole.mp4', 4, '-movflags', '+faststart', '-g', '8', '-bf', '0')
  const bytes = await readFile(join(folder, 'whole.mp4'))
  await writeFile(join(folder, 'cut.mp4'), bytes.subarray(0, Math.floor(bytes.length * 0.7)))
  await rm(join(folder, 'whole.mp4'))
  for (const name of ['good', 'short', 'audio', 'broken', 'cut']) await writeFile(join(folder, `${name}.txt`), 'a red circle')
  await writeFile(join(folder, 'captions.json'), JSON.stringify({ 'animated.gif': 'a blue square', './nested/deeper/also.mp4': 'a caption of the folder above' }))
  await writeFile(join(folder, 'nested', 'deeper', 'captions.jsonl'), '{"file": "also.mp4", "caption": "a circle moves"}\n')
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

test.skipIf(ffmpeg === undefined)('a clip that cannot be opened is left out for what it is, in a table of one line for each', async () => {
  const others = await mkdtemp(join(tmpdir(), 'clips-'))
  try {
    await copyFile(join(folder, 'good.mp4'), join(others, 'a but b.mp4'))
    make(join('..', basename(others), 'hdr.mp4'), '-f', 'lavfi', '-i', 'testsrc=s=64x48:r=16:d=1', '-color_trc', 'arib-std-b67')
    await writeFile(join(others, 'list.mp4'), '#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\na.mp4\n#EXT-X-ENDLIST\n')
    await writeFile(join(others, 'z but.mp4'), 'no video at all')
    for (const name of ['a but b', 'hdr', 'list', 'z but']) await writeFile(join(others, `${name}.txt`), 'a red\ncircle\x1b[2J moves\n')
    const { clips } = await videoFolder(others, size).prepare({ minFrames: 16 })
    expect(clips.map(({ file, reason }) => [file, reason])).toEqual([
      ['a but b.mp4', undefined],
      ['hdr.mp4', expect.stringMatching(/^its transfer is HLG \(HDR\); convert it: ffmpeg /)],
      ['list.mp4', 'its content is of the kind hls, which is not opened; convert it with ffmpeg'],
      ['z but.mp4', expect.stringMatching(/^damaged, or no video: [A-Z]/)]
    ])
    const lines = clipTable(clips, 16).split('\n')
    expect(lines).toHaveLength(5)
    expect(lines[1]).toMatch(/a red circle \[2J moves$/)
  } finally {
    await rm(others, { recursive: true, force: true })
  }
})

describe.skipIf(ffmpeg === undefined)('a folder of clips (skipped without ffmpeg, which reads them)', () => {
  // Clips are read once for all tests.
  let data: VideoFolder
  beforeAll(() => void (data = videoFolder(folder, { ...size, maxFrames: 64 })))

  test('is looked at as a whole: what is used, what is left out and why', async () => {
    const { clips, warnings } = await data.prepare({ minFrames: 16 })
    const short = clips.map(({ file, use, frames, reason }) => [file, use, frames, reason])
    expect(short).toEqual([
      ['animated.gif', 'training', 32, undefined],
      ['audio.mp4', 'left out', 0, 'it has no video stream'],
      ['broken.mp4', 'left out', 0, expect.stringMatching(/^damaged, or no video: /)],
      ['cut.mp4', 'training', expect.any(Number), undefined],
      ['good.mp4', 'training', 32, undefined],
      ['nested/deeper/also.mp4', 'training', 32, undefined],
      ['short.mp4', 'left out', 8, 'too short: 8 frames (0.5 s), a clip needs 16 (1 s)']
    ])
    const cut = clips.find(({ file }) => file === 'cut.mp4')!
    expect(cut.frames).toBeGreaterThan(16)
    expect(cut.frames).toBeLessThan(60)
    expect(cut.damage).toMatch(new RegExp(`^damaged or cut off( \\(ffmpeg: .*\\))?: ${cut.frames} of 64 frames at 16 fps were read$`))
    expect(clips.find(({ file }) => file === 'nested/deeper/also.mp4')!.prompt).toBe('a circle moves')
    expect(clips[0]).toMatchObject({ prompt: 'a blue square', width: 64, height: 48 })
    expect(warnings).toEqual([{ code: 'files-not-read', message: expect.stringContaining('old.m2ts') }])
  })

  test('trains on the good ones, and one warning names the others with their reasons and the lengths that would do', async () => {
    const trainer = keep(new Trainer(keep(await tinyPipeline()), { lengths: [5, 10], latentFramesPerStep: 10 }))
    const reports: StepReport[] = []
    const warnings: TrainingWarning[] = []
    await trainer.fit(data, { steps: 6, onStep: (report) => void reports.push(report), onWarning: (warning) => void warnings.push(warning) })
    expect(reports.map(({ loss }) => Number.isFinite(loss))).toEqual(Array(6).fill(true))
    const left = warnings.filter(({ code }) => code === 'clips-left-out')
    expect(left).toHaveLength(1)
    expect(left[0]!.message).toMatch(/^3 of 7 clips are left out: audio\.mp4 \(it has no video stream\), broken\.mp4 \(damaged.*\), short\.mp4 \(too short: 8 frames \(0\.5 s\), a clip needs 13 \(0\.8 s\)\); lengths that begin with 3 latent frames, not 5, would take the short ones$/)
    expect(warnings.filter(({ code }) => code === 'damaged-video')).toMatchObject([{ message: expect.stringMatching(/^1 of 7 clips are used as far as they can be read: cut\.mp4 /) }])
  })

  test('a video to go on from that is cut off is a warning too', async () => {
    const pipeline = keep(await tinyPipeline())
    const video = await pipeline.generate({ prompt: 'a red circle', numFrames: 80, numInferenceSteps: 1, seed: 1, outputType: 'latents', video: join(folder, 'cut.mp4') })
    expect(video.warnings).toContainEqual({ code: 'damaged-video', message: expect.stringMatching(/cut\.mp4 is damaged or cut off.*: \d+ of 64 frames at 16 fps were read$/) as string })
    const whole = await pipeline.generate({ prompt: 'a red circle', numFrames: 80, numInferenceSteps: 1, seed: 1, outputType: 'latents', video: join(folder, 'good.mp4') })
    expect(whole.warnings).toEqual([])
  })

  test('a stream that is garbled in the middle is a warning with ffmpeg’s words', async () => {
    const bytes = Buffer.from(await readFile(join(folder, 'good.mp4')))
    const begin = bytes.indexOf('mdat') + 4
    for (let at = begin + 1500; at < begin + 2200; at++) bytes[at] = (at * 7919) % 251
    const path = join(folder, '.hidden', 'garbled.mp4')
    await writeFile(path, bytes)
    const warnings: TrainingWarning[] = []
    let read = 0
    for await (const _ of readVideo(path, { ...size, fps: 16, onWarning: (warning) => void warnings.push(warning) })) read++
    expect(read).toBeGreaterThan(0)
    expect(warnings).toMatchObject([{ code: 'damaged-video', message: expect.stringMatching(new RegExp(`garbled\\.mp4 is damaged or cut off \\(ffmpeg: (?!Last message).+\\): ${read} of 32 frames at 16 fps were read$`)) }])
  })

  test('of what says neither frames nor length, a missing end is told', async () => {
    const inner = join(folder, '.hidden', 'ends')
    await mkdir(inner)
    for (const [name, ...codec] of [['whole.gif'], ['whole.ogv', '-c:v', 'libtheora', '-g', '4']]) make(join('.hidden', 'ends', name!), '-f', 'lavfi', '-i', 'testsrc=s=64x48:r=16:d=2', ...codec)
    for (const kind of ['gif', 'ogv']) {
      const bytes = await readFile(join(inner, `whole.${kind}`))
      await writeFile(join(inner, `cut.${kind}`), bytes.subarray(0, Math.floor(bytes.length * 0.7)))
    }
    for (const name of ['whole', 'cut']) await writeFile(join(inner, `${name}.txt`), 'a red circle')
    const { clips } = await videoFolder(inner, size).prepare()
    const cut = clips.filter(({ damage }) => damage !== undefined)
    expect(cut.map(({ file }) => file)).toEqual(['cut.gif', 'cut.ogv'])
    for (const { frames } of cut) expect(frames).toBeLessThan(30)
    for (const { frames } of clips.filter((clip) => !cut.includes(clip))) expect(frames).toBe(32)
    expect(cut[0]!.damage).toMatch(/^damaged or cut off \(its end is missing\): \d+ frames at 16 fps were read$/)
  })

  test('that holds nothing usable says why', async () => {
    const bad = join(folder, '.hidden', 'bad')
    await mkdir(bad)
    await copyFile(join(folder, 'short.mp4'), join(bad, 'short.mp4'))
    await writeFile(join(bad, 'short.txt'), 'a red circle')
    const trainer = keep(new Trainer(keep(await tinyPipeline()), { lengths: [20] }))
    const error = await failure(trainer.fit(videoFolder(bad, size), { steps: 1, onWarning: () => undefined }))
    expect(error).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { videos: ['short.mp4'] } })
    expect(error.message).toMatch(/^Expected at least one video in .* that can be used but all are left out: short\.mp4 \(too short: 8 frames/)
  })

  test('keeps clips apart that training never sees', async () => {
    const data = videoFolder(folder, { ...size, heldOut: 0.5, maxFrames: 16 })
    const { clips } = await data.prepare({ minFrames: 16 })
    expect(clips.filter(({ use }) => use === 'held out')).toHaveLength(2)
    expect(clips.filter(({ use }) => use === 'training')).toHaveLength(2)
    const prompts = async (examples: AsyncIterable<TrainingExample>) => {
      const list: string[] = []
      for await (const { prompt, frames } of examples) {
        expect(frames!.shape).toEqual([16, 32, 32, 3])
        list.push(prompt)
      }
      return list.sort()
    }
    const expected = (use: string) => clips.filter((clip) => clip.use === use).map(({ prompt }) => prompt).sort()
    expect(await prompts(data)).toEqual(expected('training'))
    expect(await prompts(data.heldOut())).toEqual(expected('held out'))
  })

  test('a VAE trains on it too, whatever the lengths', async () => {
    const vae = keep(await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 }))
    const trainer = keep(new VAETrainer(vae, { stage: 'spatial', batchSize: 2 }))
    const warnings: TrainingWarning[] = []
    await trainer.fit(data, { steps: 2, onWarning: (warning) => void warnings.push(warning) })
    expect(warnings[0]!.message).toMatch(/^2 of 7 clips are left out: audio\.mp4 .*, broken\.mp4/)
  })
})

describe('captions', () => {
  const bom = Buffer.from([0xef, 0xbb, 0xbf])
  const inFolder = async (files: Record<string, string | Buffer>): Promise<string> => {
    const inner = await mkdtemp(join(tmpdir(), 'captions-'))
    open.push({ dispose: () => rm(inner, { recursive: true, force: true }) })
    for (const [name, content] of Object.entries(files)) await writeFile(join(inner, name), content)
    return inner
  }
  const prompts = async (path: string) => (await videoFolder(path, size).prepare()).clips.map(({ prompt }) => prompt)

  test.skipIf(ffmpeg === undefined)('a byte order mark is no part of them (skipped without ffmpeg)', async () => {
    const text = (content: string) => Buffer.concat([bom, Buffer.from(content)])
    expect(await prompts(await inFolder({ 'a.mp4': '', 'a.txt': text('a red circle\r\n') }))).toEqual(['a red circle'])
    expect(await prompts(await inFolder({ 'a.mp4': '', 'captions.json': text('{"a.mp4": "a red circle"}') }))).toEqual(['a red circle'])
    expect(await prompts(await inFolder({ 'a.mp4': '', 'captions.jsonl': text('{"file": "a.mp4", "caption": "a red circle"}\r\n') }))).toEqual(['a red circle'])
  })

  test.each([
    ['a.txt', Buffer.from([0xff, 0xfe, 0x61, 0]), /^Expected text in UTF-8 in .*a\.txt but found UTF-16; save it as UTF-8$/],
    ['a.txt', Buffer.from('caf\xe9', 'latin1'), /^Expected text in UTF-8 in .*a\.txt but found another encoding; save it as UTF-8$/],
    ['captions.json', Buffer.from('{"a.mp4": "caf\xe9"}', 'latin1'), /^Expected text in UTF-8 in .*captions\.json/],
    ['captions.json', Buffer.from('{"a.mp4": '), /^Expected JSON in .*captions\.json but found/],
    ['captions.jsonl', Buffer.from('{"file": "a.mp4", "caption": 3}'), /^Expected \{ "file": …, "caption": … \} in every entry in .*captions\.jsonl but found \{"file":"a\.mp4","caption":3\}$/]
  ])('%s that cannot be read is refused by its name: %#', async (name, content, message) => {
    const path = await inFolder({ 'a.mp4': '', [name]: content })
    const error = await failure(videoFolder(path, size).prepare())
    expect(error).toMatchObject({ code: 'ERR_VIN_FORMAT', details: { file: join(path, name) } })
    expect(error.message).toMatch(message)
  })
})

describe('captions the model does not know', () => {
  test.skipIf(ffmpeg === undefined)('are counted in one sentence (skipped without ffmpeg)', async () => {
    const inner = join(folder, '.hidden', 'words')
    await mkdir(inner)
    for (const [name, caption] of [['a', 'a red dragon moves'], ['b', 'a blue dragon and a red castle'], ['c', `a ${'red '.repeat(15)}circle`]]) {
      await copyFile(join(folder, 'good.mp4'), join(inner, `${name}.mp4`))
      await writeFile(join(inner, `${name}.txt`), caption!)
    }
    const trainer = keep(new Trainer(keep(await tinyPipeline()), { lengths: [5] }))
    // 12 tokens is the model's longest text; a caption of 17 words and its end are 18.
    expect((await trainer.check(videoFolder(inner, size))).warnings).toEqual([
      { code: 'captions', message: '2 of 3 captions have words the model does not know: dragon ×2, and, castle; 1 of 3 captions are longer than 12 tokens, and 6 tokens are cut off' }
    ])
  })
})

test('examples of any data set that are too short are left out with one warning; a data set of nothing else is an error', async () => {
  const video = (frames: number, index: number): TrainingExample => ({ prompt: 'a red circle', latents: { data: new PhiloxRandom(8, 0x10000, index).normals(4 * frames * 16), shape: [4, frames, 4, 4] } })
  const dataset = (...lengths: number[]) => ({
    async *[Symbol.asyncIterator]() {
      for (const [index, frames] of lengths.entries()) yield video(frames, index)
    }
  })
  const trainer = keep(new Trainer(keep(await tinyPipeline()), { lengths: [5] }))
  const warnings: TrainingWarning[] = []
  const onWarning = (warning: TrainingWarning) => void warnings.push(warning)
  let steps = 0
  await trainer.fit(dataset(3, 5, 4, 6), { steps: 4, onWarning, onStep: () => void steps++ })
  expect(steps).toBe(4)
  expect(warnings).toMatchObject([{ code: 'examples-left-out', message: expect.stringMatching(/^example 0 of the data set has 3 latent frames, fewer than the shortest of lengths 5/) }])
  await expect(trainer.fit(dataset(3, 4), { steps: 1, onWarning })).rejects.toThrow(/at least 5 latent frames/)
})

test('the signal ends a fit whose data set is looked at for ever', async () => {
  const dataset = { prepare: () => new Promise<never>(() => {}), async *[Symbol.asyncIterator]() {} }
  const reason = new Error('enough')
  const vae = keep(await VAE.fromConfig(tinyVAE, { device: 'cpu', seed: 1 }))
  for (const trainer of [keep(new Trainer(keep(await tinyPipeline()), { lengths: [5] })), keep(new VAETrainer(vae, { stage: 'spatial' }))]) {
    const controller = new AbortController()
    const fitted = trainer.fit(dataset, { steps: 1, signal: controller.signal })
    controller.abort(reason)
    await expect(fitted).rejects.toBe(reason)
  }
})

test('fewestVideoFrames is the least number that makes so many latent frames', () => {
  for (const micro of [{ frames: 16, latentFrames: 5 }, { frames: 17, latentFrames: 5 }, { frames: 16, latentFrames: 4 }]) {
    for (let latents = 1; latents <= 23; latents++) {
      let frames = 1
      while (latentFramesOf(frames, micro) < latents) frames++
      expect(fewestVideoFrames(latents, micro), `${latents} of ${micro.frames}`).toBe(frames)
    }
  }
})
