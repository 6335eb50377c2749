// The mp4 as a player sees it: boxes by a parser of this file, pixels by ffmpeg where there is one.

import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { enlarge } from '../../lib/video/frames.js'
import { frameOf, psnr, syntheticVideo } from './support.js'

let folder = ''
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-mp4-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Node {
  type: string
  offset: number
  body: Buffer
  children: Node[]
}

function parse(file: Buffer, from = 0, to = file.length): Node[] {
  const nodes: Node[] = []
  for (let at = from; at < to; ) {
    const size = file.readUInt32BE(at)
    const type = file.toString('latin1', at + 4, at + 8)
    expect(size).toBeGreaterThanOrEqual(8)
    expect(at + size).toBeLessThanOrEqual(to)
    const children = ['moov', 'trak', 'mdia', 'minf', 'stbl'].includes(type) ? parse(file, at + 8, at + size) : []
    nodes.push({ type, offset: at, body: file.subarray(at + 8, at + size), children })
    at += size
  }
  return nodes
}

function get(nodes: Node[], ...path: string[]): Node {
  const node = nodes.find((candidate) => candidate.type === path[0])
  if (node === undefined) throw new Error(`no box ${path[0]} among ${nodes.map(({ type }) => type).join(' ')}`)
  return path.length === 1 ? node : get(node.children, ...path.slice(1))
}

const stbl = ['moov', 'trak', 'mdia', 'minf', 'stbl']

/** Offsets and sizes of all samples, from stco, stsc and stsz. */
function samples(nodes: Node[]): { offset: number; size: number }[] {
  const { body: stsz } = get(nodes, ...stbl, 'stsz')
  const { body: stsc } = get(nodes, ...stbl, 'stsc')
  const { body: stco } = get(nodes, ...stbl, 'stco')
  const common = stsz.readUInt32BE(4)
  const count = stsz.readUInt32BE(8)
  const runs = Array.from({ length: stsc.readUInt32BE(4) }, (_, i) => ({ first: stsc.readUInt32BE(8 + 12 * i), perChunk: stsc.readUInt32BE(12 + 12 * i) }))
  const result: { offset: number; size: number }[] = []
  for (let chunk = 1; chunk <= stco.readUInt32BE(4); chunk++) {
    let offset = stco.readUInt32BE(8 + 4 * (chunk - 1))
    const { perChunk } = runs.filter(({ first }) => first <= chunk).at(-1)!
    for (let k = 0; k < perChunk; k++) {
      const size = common !== 0 ? common : stsz.readUInt32BE(12 + 4 * result.length)
      result.push({ offset, size })
      offset += size
    }
  }
  expect(result).toHaveLength(count)
  return result
}

test('frames, size and rate are those of the video, and moov stands before mdat', async () => {
  const file = await syntheticVideo({ numFrames: 40, width: 48, height: 32 }).toBuffer('mp4', { scale: 2 })
  const nodes = parse(file)
  expect(nodes.map(({ type }) => type)).toEqual(['ftyp', 'moov', 'mdat'])
  const { body: mdhd } = get(nodes, 'moov', 'trak', 'mdia', 'mdhd')
  const { body: stts } = get(nodes, ...stbl, 'stts')
  expect(stts.readUInt32BE(4)).toBe(1)
  expect(stts.readUInt32BE(8)).toBe(40)
  expect(mdhd.readUInt32BE(12) / stts.readUInt32BE(12)).toBe(16)
  const { body: stsd } = get(nodes, ...stbl, 'stsd')
  expect(stsd.toString('latin1', 12, 16)).toBe('avc1')
  expect([stsd.readUInt16BE(40), stsd.readUInt16BE(42)]).toEqual([96, 64])
})

test.each([12.5, 24000 / 1001, 0.5, 7.123456, 60])('%d frames a second are not rounded, in any of the times', async (fps) => {
  const nodes = parse(await syntheticVideo({ numFrames: 20, fps }).toBuffer('mp4'))
  const { body: mvhd } = get(nodes, 'moov', 'mvhd')
  const { body: tkhd } = get(nodes, 'moov', 'trak', 'tkhd')
  const { body: mdhd } = get(nodes, 'moov', 'trak', 'mdia', 'mdhd')
  const { body: stts } = get(nodes, ...stbl, 'stts')
  const near = (value: number, wanted: number, error: number) => expect(Math.abs(value - wanted)).toBeLessThanOrEqual(error)
  near(mdhd.readUInt32BE(12) / stts.readUInt32BE(12), fps, 1e-6 * fps)
  expect(mdhd.readUInt32BE(16)).toBe(20 * stts.readUInt32BE(12))
  near(mvhd.readUInt32BE(16) / mvhd.readUInt32BE(12), 20 / fps, 1e-3)
  near(tkhd.readUInt32BE(20) / mvhd.readUInt32BE(12), 20 / fps, 1e-3)
})

test('keyframes are listed, and only they hold IDR pictures', async () => {
  const file = await syntheticVideo({ numFrames: 40 }).toBuffer('mp4')
  const nodes = parse(file)
  const { body: stss } = get(nodes, ...stbl, 'stss')
  const listed = Array.from({ length: stss.readUInt32BE(4) }, (_, i) => stss.readUInt32BE(8 + 4 * i))
  expect(listed).toEqual([1, 17, 33])
  const mdat = get(nodes, 'mdat')
  samples(nodes).forEach(({ offset, size }, i) => {
    expect(offset).toBeGreaterThanOrEqual(mdat.offset + 8)
    const types: number[] = []
    let at = offset
    for (; at < offset + size; at += 4 + file.readUInt32BE(at)) types.push(file[at + 4]! & 31)
    expect(at).toBe(offset + size)
    expect(types).toContain(listed.includes(i + 1) ? 5 : 1)
  })
})

test('a file of several megabytes, which comes in pieces, is whole', async () => {
  // Noise: nothing of it can be left out at this quality.
  const noise = (x: number, y: number, c: number, frame: number): number => ((x * 7919 + y * 104_729 + c * 31 + frame * 1_299_709) * 2_654_435_761) % 251
  const file = await syntheticVideo({ numFrames: 45, width: 256, height: 256, pixel: noise }).toBuffer('mp4')
  expect(file.length).toBeGreaterThan(2 ** 21)
  const nodes = parse(file)
  const mdat = get(nodes, 'mdat')
  const all = samples(nodes)
  expect(all).toHaveLength(45)
  let next = mdat.offset + 8
  for (const { offset, size } of all) {
    expect(offset).toBe(next)
    // NAL units fill a sample to its last byte: a lost or doubled piece would break the chain of their lengths.
    for (; next < offset + size; next += 4 + file.readUInt32BE(next)) expect([1, 5, 7, 8]).toContain(file[next + 4]! & 31)
    expect(next).toBe(offset + size)
  }
  expect(next).toBe(file.length)
})

test('equal videos are equal files, whatever the clock says', async () => {
  const first = await syntheticVideo({ numFrames: 4 }).toBuffer('mp4')
  await new Promise((resolve) => setTimeout(resolve, 1100))
  const second = await syntheticVideo({ numFrames: 4 }).toBuffer('mp4')
  expect(second.equals(first)).toBe(true)
  for (const path of [['moov', 'mvhd'], ['moov', 'trak', 'tkhd'], ['moov', 'trak', 'mdia', 'mdhd']]) expect(get(parse(first), ...path).body.readBigUInt64BE(4)).toBe(0n)
})

test('odd sizes are padded with a warning and never reach the encoder', async () => {
  const video = syntheticVideo({ numFrames: 3, width: 33, height: 17 })
  const { body } = get(parse(await video.toBuffer('mp4')), ...stbl, 'stsd')
  expect([body.readUInt16BE(40), body.readUInt16BE(42)]).toEqual([34, 18])
  expect(video.warnings).toEqual([{ code: 'odd-size', message: expect.stringContaining('34 × 18 instead of 33 × 17') as string }])
  const even = syntheticVideo({ numFrames: 3, width: 33, height: 17 })
  await even.toBuffer('mp4', { scale: 2 })
  expect(even.warnings).toEqual([])
})

test('more than 576 lines carry the colours of BT.601', async () => {
  const stsd = async (height: number): Promise<Buffer> => get(parse(await syntheticVideo({ numFrames: 1, width: 16, height }).toBuffer('mp4')), ...stbl, 'stsd').body
  const tall = await stsd(592)
  expect(tall.subarray(tall.indexOf('nclx')).toString('hex')).toBe(Buffer.from('nclx\0\x06\0\x06\0\x06\0', 'latin1').toString('hex'))
  expect((await stsd(576)).includes('colr')).toBe(false)
})

test('too many pixels are refused before anything starts', async () => {
  let decoded = 0
  const video = syntheticVideo({ numFrames: 4096, width: 1024, height: 1024, before: () => void decoded++ })
  await expect(video.toBuffer('mp4')).rejects.toMatchObject({ code: 'ERR_VIN_OUT_OF_MEMORY', details: { asked: 2 ** 32, free: 2 ** 31 } })
  expect(decoded).toBe(0)
})

test('at most a few frames wait for the encoder', async () => {
  let decoded = 0
  const post = vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(() => {})
  try {
    const stuck = syntheticVideo({ numFrames: 50, before: () => void decoded++ }).toBuffer('mp4', { signal: AbortSignal.timeout(1500) })
    await expect(stuck).rejects.toMatchObject({ name: 'TimeoutError' })
  } finally {
    post.mockRestore()
  }
  expect(decoded).toBeGreaterThan(1)
  expect(decoded).toBeLessThanOrEqual(5)
})

test('a 10 ms timer keeps firing while a file is encoded', async () => {
  let last = performance.now()
  let longest = 0
  const timer = setInterval(() => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }, 10)
  try {
    await syntheticVideo({ numFrames: 24, width: 128, height: 128 }).toBuffer('mp4', { scale: 4 })
  } finally {
    clearInterval(timer)
  }
  // Making the synthetic frames costs a few milliseconds each on this thread; encoding 24 frames of 512 × 512 costs a second on the other one.
  expect(longest).toBeLessThan(250)
})

const ffmpeg = spawnSync('ffmpeg', ['-version']).status === 0
if (!ffmpeg) console.warn('ffmpeg is not on PATH: the pixels of the mp4 were not compared (PSNR ≥ 33 dB)')

test.runIf(ffmpeg)('decoded by ffmpeg, the pixels are within 33 dB', async () => {
  const size = { numFrames: 32, width: 64, height: 64 }
  const path = join(folder, 'psnr.mp4')
  await syntheticVideo(size).save(path, { scale: 4 })
  const { stdout } = spawnSync('ffmpeg', ['-v', 'error', '-i', path, '-f', 'rawvideo', '-pix_fmt', 'rgb24', 'pipe:1'], { maxBuffer: 2 ** 30 })
  const bytes = 256 * 256 * 3
  expect(stdout.length).toBe(32 * bytes)
  for (let i = 0; i < 32; i++) expect(psnr(stdout.subarray(i * bytes, (i + 1) * bytes), enlarge(frameOf(size, i).data, 64, 64, 4))).toBeGreaterThanOrEqual(33)
})
