// Known pixels and known times through readVideo, and files that are no videos though their names say so.

import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encode } from 'fast-png'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { evaluate } from '../../lib/evaluate/index.js'
import { readVideo } from '../../lib/video/ffmpeg.js'
import { resample } from '../../lib/video/frames.js'
import { videoFolder } from '../../lib/training/video-folder.js'
import { tinyPipeline } from '../support/models.js'
import { frameOf, syntheticVideo } from './support.js'

const found = ['ffmpeg', 'ffprobe'].every((name) => spawnSync(name, ['-version']).status === 0)
const without = found ? '' : ' (skipped: no ffmpeg on PATH)'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-read-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

type Rgb = [number, number, number]

const ffmpeg = (...args: string[]): void => void execFileSync('ffmpeg', ['-nostdin', '-v', 'error', '-y', ...args], { cwd: folder })

/** Marks frames and file: the ffmpegs of five years take it from one or from the other. */
const tags = (of: Record<string, string>): string[] => ['-vf', `setparams=${Object.entries(of).map((entry) => entry.join('=')).join(':')}`, ...Object.entries(of).flatMap(([name, value]) => [`-${name}`, value])]

/** Frames of a file in the folder, as arrays of pixels. */
async function read(name: string, target: { width: number; height: number; fps: number }): Promise<Rgb[][]> {
  const frames: Rgb[][] = []
  for await (const { data } of readVideo(join(folder, name), target)) frames.push(Array.from({ length: data.length / 3 }, (_, i) => [data[3 * i]!, data[3 * i + 1]!, data[3 * i + 2]!]))
  return frames
}

/** A file of Y'CbCr without a word about its colours: a value for each plane, column, row and frame. */
async function y4m(name: string, size: { width: number; height: number; numFrames?: number; fps?: number; fields?: 'p' | 't'; aspect?: string }, value: (plane: number, x: number, y: number, frame: number) => number): Promise<void> {
  const { width, height, numFrames = 1, fps = 8, fields = 'p', aspect = '1:1' } = size
  const parts = [Buffer.from(`YUV4MPEG2 W${width} H${height} F${fps}:1 I${fields} A${aspect} C444\n`)]
  for (let frame = 0; frame < numFrames; frame++) {
    const planes = [0, 1, 2].map((plane) => Buffer.from(Uint8Array.from({ length: width * height }, (_, i) => value(plane, i % width, Math.floor(i / width), frame))))
    parts.push(Buffer.from('FRAME\n'), ...planes)
  }
  await writeFile(join(folder, name), Buffer.concat(parts))
}

function expectAll(pixels: Rgb[], colour: Rgb, error: number): void {
  const far = pixels.find((pixel) => pixel.some((value, c) => Math.abs(value - colour[c]!) > error))
  expect(far ?? colour, `every pixel within ${error} of ${String(colour)}`).toEqual(far === undefined ? colour : undefined)
}

describe.skipIf(!found)(`pixels${without}`, () => {
  test('white stays 255 and black 0 at every size, in each kind of pixel', async () => {
    // Two rows of outputs of one run: white and black, in formats with and without subsampling, range, depth and colour.
    const formats = ['yuv420p', 'yuvj420p', 'yuv422p10le', 'bgra']
    const outputs = formats.flatMap((format, i) => [['-map', '0:v', '-pix_fmt', format, '-c:v', 'ffv1', `white-${i}.mkv`], ['-map', '1:v', '-pix_fmt', format, '-c:v', 'ffv1', `black-${i}.mkv`]]).flat()
    ffmpeg('-f', 'lavfi', '-i', 'color=white:s=320x240:r=8:d=0.125', '-f', 'lavfi', '-i', 'color=black:s=320x240:r=8:d=0.125', ...outputs)
    for (const [i] of formats.entries()) {
      for (const [name, level] of [['white', 255], ['black', 0]] as const) expectAll((await read(`${name}-${i}.mkv`, { width: 128, height: 96, fps: 8 }))[0]!, [level, level, level], 0)
    }
    for (const [width, height] of [[96, 40], [400, 400]] as const) expectAll((await read('white-0.mkv', { width, height, fps: 8 }))[0]!, [255, 255, 255], 0)
  })

  test('colours without a tag are BT.601 below 720 lines and BT.709 from there on; a tag decides', async () => {
    // Pure red in either matrix, limited range.
    const red601 = [81, 90, 240], red709 = [63, 102, 240]
    await y4m('sd.y4m', { width: 96, height: 718 }, (plane) => red601[plane]!)
    await y4m('hd.y4m', { width: 96, height: 720 }, (plane) => red709[plane]!)
    expectAll((await read('sd.y4m', { width: 16, height: 120, fps: 8 }))[0]!, [255, 0, 0], 1)
    expectAll((await read('hd.y4m', { width: 16, height: 120, fps: 8 }))[0]!, [255, 0, 0], 1)
    await y4m('small.y4m', { width: 64, height: 48 }, (plane) => red709[plane]!)
    ffmpeg('-i', 'small.y4m', ...tags({ colorspace: 'bt709' }), '-c:v', 'ffv1', 'tagged.mkv')
    expectAll((await read('tagged.mkv', { width: 32, height: 24, fps: 8 }))[0]!, [255, 0, 0], 1)
  })

  test.each(['y4m', 'mp4'])('what .%s says, or leaves to custom, about its colours is what it holds, small and large', async (extension) => {
    for (const scale of [1, 45]) {
      await syntheticVideo({ width: 16, height: 16, numFrames: 1, fps: 8, pixel: (_x, _y, c) => [200, 40, 90][c]! }).save(join(folder, `colours.${extension}`), { scale })
      expectAll((await read(`colours.${extension}`, { width: 16, height: 16, fps: 8 }))[0]!, [200, 40, 90], 2)
    }
  })

  test('pixels that are not square are squared before the centre is kept', async () => {
    // 48 columns of double width are 96 × 48; the middle 48 of those are columns 12 to 35.
    await y4m('wide.y4m', { width: 48, height: 48, aspect: '2:1' }, (plane, x) => (plane > 0 ? 128 : x >= 10 && x < 38 ? 235 : 16))
    expectAll((await read('wide.y4m', { width: 48, height: 48, fps: 8 }))[0]!, [255, 255, 255], 0)
    const whole = (await read('wide.y4m', { width: 96, height: 48, fps: 8 }))[0]!
    expect([whole[0], whole[95], whole[48]]).toEqual([[0, 0, 0], [0, 0, 0], [255, 255, 255]])
  })

  test('a telephone that was turned shows its pictures upright', async () => {
    // 32 × 16 with a white left half; turned by 90° clockwise, the left is above.
    const file = join(folder, 'turned.mp4')
    await syntheticVideo({ width: 32, height: 16, numFrames: 2, fps: 8, pixel: (x) => (x < 16 ? 255 : 0) }).save(file)
    const bytes = await readFile(file)
    const matrix = bytes.indexOf('tkhd') + 4 + 40
    for (const [i, value] of [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000].entries()) bytes.writeInt32BE(value, matrix + 4 * i)
    await writeFile(file, bytes)
    const [frame] = await read('turned.mp4', { width: 16, height: 32, fps: 8 })
    expectAll(frame!.slice(0, 16 * 14), [255, 255, 255], 4)
    expectAll(frame!.slice(16 * 18), [0, 0, 0], 4)
  })

  test('fields of two moments do not become the lines of one frame', async () => {
    // A bar moves by 8 columns from field to field: in a frame as it is stored, even and odd lines show it at two places.
    await y4m('fields.y4m', { width: 64, height: 32, numFrames: 4, fields: 't' }, (plane, x, y, frame) => (plane > 0 ? 128 : Math.floor(x / 8) === 2 * frame + (y % 2) ? 235 : 16))
    const frames = await read('fields.y4m', { width: 64, height: 32, fps: 8 })
    expect(frames).toHaveLength(4)
    for (const [index, frame] of frames.entries()) {
      const row = (y: number): Rgb[] => frame.slice(64 * y, 64 * (y + 1))
      expect(row(8).map(([r]) => r > 127)).toEqual(Array.from({ length: 64 }, (_, x) => Math.floor(x / 8) === 2 * index))
      for (let y = 4; y < 28; y++) expect(row(y)).toEqual(row(4))
    }
  })

  test('generate and training see the same known pixels', async () => {
    // Red of BT.709 without a tag, in a file of 720 lines whose pixels are twice as wide as high.
    await y4m('known.y4m', { width: 16, height: 720, numFrames: 16, fps: 16, aspect: '2:1' }, (plane, _x, y) => [63, 102, 240][plane]! + (y < 300 && plane === 0 ? 100 : 0))
    await mkdir(join(folder, 'clips'))
    ffmpeg('-i', 'known.y4m', '-c:v', 'ffv1', 'clips/known.mkv')
    await writeFile(join(folder, 'clips', 'known.txt'), 'a red square')
    const pipeline = await tinyPipeline()
    try {
      for await (const { frames } of videoFolder(join(folder, 'clips'), { width: 32, height: 32 })) {
        expect(frames?.shape).toEqual([16, 32, 32, 3])
        expectAll(Array.from({ length: 16 * 32 * 32 }, (_, i) => [...frames!.data.subarray(3 * i, 3 * i + 3)] as Rgb), [255, 0, 0], 1)
        const pixels = new Float32Array(3 * 16 * 32 * 32)
        for (let i = 0; i < 16 * 32 * 32; i++) for (let c = 0; c < 3; c++) pixels[c * 16 * 32 * 32 + i] = frames!.data[3 * i + c]! / 127.5 - 1
        const wanted = await pipeline.vae.encode({ data: pixels, shape: [3, 16, 32, 32] })
        const { latents } = await pipeline.generate({ prompt: 'a red circle', numFrames: 32, seed: 1, outputType: 'latents', fps: 16, numInferenceSteps: 1, video: join(folder, 'clips', 'known.mkv') })
        const [channels = 0, given = 0] = wanted.shape
        for (let c = 0; c < channels; c++) {
          const [own, all] = [given * 16, (latents.shape[1] ?? 0) * 16]
          for (let i = 0; i < own; i++) expect(Math.abs(latents.data[c * all + i]! - wanted.data[c * own + i]!)).toBeLessThan(1e-5)
        }
      }
    } finally {
      await pipeline.dispose()
    }
  })

  test.each([['smpte2084', 'PQ'], ['arib-std-b67', 'HLG']])('%s is refused, and the sentence says how to convert it', async (transfer, name) => {
    ffmpeg('-f', 'lavfi', '-i', 'color=white:s=32x32:r=8:d=0.125', '-pix_fmt', 'yuv420p10le', ...tags({ color_trc: transfer, colorspace: 'bt2020nc', color_primaries: 'bt2020' }), '-c:v', 'ffv1', `${transfer}.mkv`)
    await expect(read(`${transfer}.mkv`, { width: 32, height: 32, fps: 8 })).rejects.toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining(`${name} (HDR); convert it: ffmpeg`) as string })
  })
})

describe.skipIf(!found)(`time${without}`, () => {
  test('a stream that begins late begins with its own first frame, and no copies stand before it', async () => {
    const level = (frame: number): number => 16 + 20 * frame
    await y4m('steps.y4m', { width: 32, height: 32, numFrames: 8 }, (plane, _x, _y, frame) => (plane > 0 ? 128 : level(frame)))
    ffmpeg('-i', 'steps.y4m', '-c:v', 'ffv1', 'steps.mkv')
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=2', '-itsoffset', '0.5', '-i', 'steps.mkv', '-map', '0:a', '-map', '1:v', '-c:v', 'copy', '-c:a', 'pcm_s16le', 'late.mkv')
    for (const fps of [8, 16]) {
      const frames = await read('late.mkv', { width: 32, height: 32, fps })
      const expected = Array.from({ length: fps }, (_, i) => Math.round(((level(Math.floor((8 * i) / fps)) - 16) * 255) / 219))
      expect(frames.map((pixels) => pixels[0]![0])).toEqual(expected)
    }
  })

  test('a Video at another rate shows the frames that its file does', async () => {
    for (const [from, to] of [[8, 16], [24, 16], [25, 16], [12, 30]] as const) {
      const video = syntheticVideo({ width: 16, height: 16, numFrames: 11, fps: from, pixel: (_x, _y, _c, frame) => 20 * frame })
      await video.save(join(folder, 'rate.y4m'))
      const levels: number[] = []
      for await (const { index, data } of resample(video.frames(), from, to)) levels[index] = data[0]!
      const frames = await read('rate.y4m', { width: 16, height: 16, fps: to })
      expect(frames.map((pixels) => Math.round(pixels[0]![0] / 20)), `${from} at ${to}`).toEqual(levels.map((level) => level / 20))
    }
  })
})

describe.skipIf(!found)(`other people's files${without}`, () => {
  test('nothing is opened that only names other files, whatever its own name ends in', async () => {
    await mkdir(join(folder, 'uploads'))
    const at = (name: string): string => join(folder, 'uploads', name)
    const secret = syntheticVideo({ numFrames: 4, fps: 16 })
    await secret.save(at('secret.mp4'))
    ffmpeg('-i', at('secret.mp4'), '-c:v', 'mpeg2video', at('secret.ts'))
    await writeFile(at('secret000.png'), encode({ data: frameOf({}, 0).data, width: 64, height: 64, channels: 3, depth: 8 }))
    const files: Record<string, string> = {
      'hls.mp4': '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n',
      'hls.mkv': `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://${at('secret.ts')}\n#EXT-X-ENDLIST\n`,
      'concat.mp4': 'ffconcat version 1.0\nfile secret.mp4\n',
      'dash.mp4': '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>',
      'session.mp4': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
      'imf.mp4': '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"></CompositionPlaylist>',
      'text.mp4': 'just some words\n'.repeat(40),
      'secret%03d.png': 'a pattern of names'
    }
    // The plain program follows these, or this test would show nothing; older ones follow hls.mp4 too.
    for (const name of ['concat.mp4', 'secret%03d.png']) {
      await writeFile(at(name), files[name]!)
      const { stdout } = spawnSync('ffmpeg', ['-nostdin', '-v', 'error', '-i', at(name), '-frames:v', '1', '-f', 'rawvideo', '-pix_fmt', 'rgb24', 'pipe:1'], { maxBuffer: 2 ** 24 })
      expect(stdout.length, name).toBe(64 * 64 * 3)
    }
    for (const [name, text] of Object.entries(files)) {
      await writeFile(at(name), text)
      await expect(evaluate(at(name)), name).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringMatching(/^Expected a video \(\.mp4, .* in .* but /) as string })
    }
    await expect(evaluate(at('concat.mp4'))).rejects.toThrow('its content is of the kind concat, which is not opened')
    // The secret itself can be read: what is refused is the way to it.
    await copyFile(at('secret.mp4'), at('own.avi'))
    expect(await evaluate(at('own.avi'))).toMatchObject({ frames: 4 })
  })

  test('nothing is asked of an address, neither for a path nor for what is in a file', async () => {
    await mkdir(join(folder, 'addresses'), { recursive: true })
    const at = (name: string): string => join(folder, 'addresses', name)
    await syntheticVideo({ numFrames: 4, fps: 16 }).save(at('own.mp4'))
    const bytes = await readFile(at('own.mp4'))
    const asked: string[] = []
    const server = createServer(({ url }, response) => {
      asked.push(url!)
      response.end(bytes)
    }).listen(0, '127.0.0.1')
    try {
      await once(server, 'listening')
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
      await writeFile(at('hls.mp4'), `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${url}/a.mp4\n#EXT-X-ENDLIST\n`)
      await writeFile(at('concat.mkv'), `ffconcat version 1.0\nfile ${url}/b.mp4\n`)
      for (const path of [`${url}/c.mp4`, `file:${at('own.mp4')}`, `concat:${at('own.mp4')}`, at('hls.mp4'), at('concat.mkv')]) {
        await expect(evaluate(path), path).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_/) as string })
      }
      expect(asked).toEqual([])
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })

  test('an mp4 whose samples are said to lie in another file shows nothing of that file', async () => {
    const box = (type: string, ...parts: Uint8Array[]): Buffer => {
      const header = Buffer.alloc(8)
      header.writeUInt32BE(8 + parts.reduce((sum, part) => sum + part.length, 0))
      header.write(type, 4, 'latin1')
      return Buffer.concat([header, ...parts])
    }
    const numbers = (...values: number[]): Buffer => Buffer.from(values.flatMap((value) => [value >> 8, value & 255]))
    // A data reference by Macintosh alias: volume, name, levels up and down, then the path as a record of type 2.
    const name = Buffer.from('other.mp4\0')
    const alias = box('alis', Buffer.alloc(4 + 10 + 1 + 27 + 12), Buffer.from([9]), Buffer.concat([name, Buffer.alloc(63 - name.length)]), Buffer.alloc(16), numbers(1, 1), Buffer.alloc(16), numbers(2, name.length), name, numbers(0xffff, 0))
    const dref = box('dref', Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]), alias)
    const rebuilt = (bytes: Buffer): Buffer => {
      const parts: Buffer[] = []
      for (let at = 0; at < bytes.length; at += bytes.readUInt32BE(at)) {
        const type = bytes.toString('latin1', at + 4, at + 8)
        const whole = bytes.subarray(at, at + bytes.readUInt32BE(at))
        if (['moov', 'trak', 'mdia', 'minf', 'dinf'].includes(type)) parts.push(box(type, rebuilt(whole.subarray(8))))
        else if (type !== 'mdat') parts.push(type === 'dref' ? dref : whole)
      }
      return Buffer.concat(parts)
    }
    // All but the samples; their offsets hold in the other file.
    await syntheticVideo({ width: 32, height: 32, numFrames: 2, pixel: () => 200 }).save(join(folder, 'other.mp4'))
    await writeFile(join(folder, 'referring.mp4'), rebuilt(await readFile(join(folder, 'other.mp4'))))
    const followed = spawnSync('ffmpeg', ['-nostdin', '-v', 'error', '-enable_drefs', '1', '-i', 'referring.mp4', '-f', 'rawvideo', '-pix_fmt', 'rgb24', 'pipe:1'], { cwd: folder })
    expect(followed.stdout.length).toBe(2 * 32 * 32 * 3)
    await expect(read('referring.mp4', { width: 32, height: 32, fps: 16 })).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT' })
  })

  test('a frame of more pixels than are decoded, and one that is a line, are refused', async () => {
    await writeFile(join(folder, 'huge.y4m'), 'YUV4MPEG2 W9000 H9000 F8:1 Ip A1:1 C444\nFRAME\n')
    await y4m('line.y4m', { width: 130, height: 2 }, () => 128)
    await expect(evaluate(join(folder, 'huge.y4m'))).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('9000 × 9000') as string })
    await expect(evaluate(join(folder, 'line.y4m'))).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('130 × 2') as string })
  })

  test('what is not there, a folder, and a song with a cover are named', async () => {
    await expect(evaluate(join(folder, 'nowhere.mp4'))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('cannot be read') as string })
    await expect(evaluate(folder)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('is a folder') as string })
    await expect(evaluate('http://127.0.0.1:9/x.mp4')).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=0.1', '-f', 'lavfi', '-i', 'color=red:s=32x32:d=0.04', '-map', '0', '-map', '1', '-c:a', 'pcm_s16le', '-c:v', 'mjpeg', '-disposition:v', 'attached_pic', 'song.mov')
    await expect(evaluate(join(folder, 'song.mov'))).rejects.toMatchObject({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining('no video stream') as string })
  })
})
