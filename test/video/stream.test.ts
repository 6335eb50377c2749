// A video as a stream, and as JSON.

import { once } from 'node:events'
import { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { Video } from '../../lib/video/video.js'
import { syntheticVideo } from './support.js'

test.each(['mp4', 'gif', 'apng', 'y4m', 'safetensors'])('toStream(%o) gives the bytes of toBuffer', async (format) => {
  const video = syntheticVideo({ numFrames: 3 })
  expect((await buffer(video.toStream(format, { scale: 2 }))).equals(await video.toBuffer(format, { scale: 2 }))).toBe(true)
})

test('nothing is decoded before the first read, and a slow reader is waited for', async () => {
  let decoded = 0
  const stream = syntheticVideo({ numFrames: 400, before: () => void decoded++ }).toStream('y4m')
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(decoded).toBe(0)
  await once(stream, 'readable')
  await new Promise((resolve) => setTimeout(resolve, 200))
  // What the stream, the pieces and the encoder hold ahead: a few frames, not the video.
  expect(decoded).toBeGreaterThan(0)
  expect(decoded).toBeLessThan(40)
  stream.destroy()
})

test('a reader that goes away stops the decoding, also while a frame is waited for', async () => {
  let ended = false
  let reached = (): void => {}
  const waits = new Promise<void>((resolve) => (reached = resolve))
  const video = syntheticVideo({ numFrames: 8, before: (frame, signal) => (frame < 3 ? undefined : new Promise((_resolve, reject) => { reached(); signal!.addEventListener('abort', () => { ended = true; reject(signal!.reason as Error) }) })) })
  const stream = video.toStream('apng')
  const gone = new Error('gone')
  const read = pipeline(stream, new Writable({ write: (_chunk, _encoding, callback) => void waits.then(() => callback(gone)) }))
  await expect(read).rejects.toBe(gone)
  await new Promise((resolve) => stream.closed ? resolve(undefined) : stream.once('close', resolve))
  expect(ended).toBe(true)
})

test('an abort and a failure destroy the stream with their reason', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const stream = syntheticVideo({ before: (frame) => void (frame === 2 && controller.abort(reason)) }).toStream('y4m', { signal: controller.signal })
  await expect(buffer(stream)).rejects.toBe(reason)
  await expect(buffer(syntheticVideo().toStream('y4m', { signal: AbortSignal.abort(reason) }))).rejects.toBe(reason)
  const failure = new Error('decoder broke')
  await expect(buffer(syntheticVideo({ before: () => { throw failure } }).toStream('gif'))).rejects.toBe(failure)
})

test('wrong formats and options are refused at the call', () => {
  const video = syntheticVideo({ numFrames: 2 })
  expect(() => video.toStream('avi')).toThrow(RangeError)
  expect(() => video.toStream('png')).toThrow('Expected a video of 1 frame for format "png"')
  expect(() => video.toStream('mp4', { scale: 0 })).toThrow(RangeError)
  expect(() => video.toStream('mp4', { scales: 2 } as never)).toThrow(TypeError)
})

test('as JSON a video says what it is, without latents and pixels', () => {
  const { latents } = syntheticVideo()
  const warnings = [{ code: 'odd', message: 'odd' }]
  const video = new Video({ latents, width: 64, height: 48, fps: 12.5, numFrames: 9, seed: 2n ** 60n, options: { seed: 2n ** 60n, prompt: 'a' }, plan: { chunks: [1] }, timings: { text: 1 }, skippedSteps: 3, warnings })
  const text = JSON.stringify(video)
  expect(JSON.parse(text)).toEqual({ width: 64, height: 48, fps: 12.5, numFrames: 9, seed: '1152921504606846976', options: { seed: '1152921504606846976', prompt: 'a' }, plan: { chunks: [1] }, timings: { text: 1 }, skippedSteps: 3, warnings })
  expect(text).not.toContain('latents')
  expect(JSON.parse(JSON.stringify({ made: [syntheticVideo()] }))).toMatchObject({ made: [{ numFrames: 12, seed: 7, options: { seed: '7' } }] })
})
