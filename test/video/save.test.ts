// Nothing half-written: errors, aborts, a full disk and a killed encoder leave the folder as it was.

import { mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { VinError } from '../../lib/errors.js'
import { Video } from '../../lib/video/video.js'
import { syntheticVideo } from './support.js'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-save-'))
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true, force: true })
})

const extensions = ['mp4', 'gif', 'webp', 'apng', 'png', 'y4m']

test.each(extensions)('an error while decoding leaves nothing behind: .%s', async (extension) => {
  const failure = new Error('decoder broke')
  const video = syntheticVideo({
    numFrames: 8,
    before: (frame) => {
      if (frame === 3) throw failure
    }
  })
  await expect(video.save(join(folder, `out.${extension}`))).rejects.toBe(failure)
  expect(await readdir(folder)).toEqual([])
})

test.each(extensions)('an abort rejects with its reason and leaves nothing behind: .%s', async (extension) => {
  const reason = new Error('enough')
  const abort = new AbortController()
  const video = syntheticVideo({
    numFrames: 8,
    before: (frame) => {
      if (frame === 4) abort.abort(reason)
    }
  })
  await expect(video.save(join(folder, `out.${extension}`), { signal: abort.signal })).rejects.toBe(reason)
  expect(await readdir(folder)).toEqual([])
})

test('an aborted signal does no work', async () => {
  let decoded = 0
  const video = syntheticVideo({ before: () => void decoded++ })
  await expect(video.save(join(folder, 'out.mp4'), { signal: AbortSignal.abort('no') })).rejects.toBe('no')
  await expect(video.toBuffer('gif', { signal: AbortSignal.abort('no') })).rejects.toBe('no')
  await expect(video.frames({ signal: AbortSignal.abort('no') }).next()).rejects.toBe('no')
  expect(decoded).toBe(0)
})

test('an abort while the encoder finishes is prompt', async () => {
  const abort = new AbortController()
  const video = syntheticVideo({ numFrames: 24, width: 128, height: 128 })
  const saved = video.save(join(folder, 'out.mp4'), {
    scale: 6,
    signal: abort.signal,
    onProgress: ({ done, total }) => {
      if (done === total) setTimeout(() => abort.abort(), 5)
    }
  })
  let aborted = 0
  abort.signal.addEventListener('abort', () => (aborted = performance.now()))
  await expect(saved).rejects.toMatchObject({ name: 'AbortError' })
  expect(performance.now() - aborted).toBeLessThan(250)
  expect(await readdir(folder)).toEqual([])
})

test('a killed encoder is one clear error, and the latents can still be saved', async () => {
  const video = syntheticVideo({ numFrames: 40 })
  const post = Worker.prototype.postMessage
  let killed = false
  vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(function (this: Worker, ...args: Parameters<Worker['postMessage']>) {
    if (!killed) {
      killed = true
      void this.terminate()
    }
    post.apply(this, args)
  })
  await expect(video.save(join(folder, 'out.mp4'))).rejects.toMatchObject({ code: 'ERR_VIN_DEVICE', message: expect.stringContaining('encoder but it stopped') as string })
  expect(await readdir(folder)).toEqual([])
  await video.save(join(folder, 'out.safetensors'))
  expect(await readdir(folder)).toEqual(['out.safetensors'])
})

test('a full disk is ERR_VIN_DISK and the file of before stays', async () => {
  await writeFile(join(folder, 'out.y4m'), 'before')
  const probe = await open(join(folder, 'probe'), 'w')
  const prototype = Object.getPrototypeOf(probe) as { write: (...args: unknown[]) => Promise<unknown> }
  await probe.close()
  await rm(join(folder, 'probe'))
  vi.spyOn(prototype, 'write').mockRejectedValue(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' }))
  const error: unknown = await syntheticVideo().save(join(folder, 'out.y4m')).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(VinError)
  expect(error).toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'ENOSPC' }, message: expect.stringContaining('the disk is full') as string })
  expect(await readdir(folder)).toEqual(['out.y4m'])
  expect(await readFile(join(folder, 'out.y4m'), 'utf8')).toBe('before')
})

test('a folder that is not there is ERR_VIN_DISK', async () => {
  await expect(syntheticVideo().save(join(folder, 'no', 'out.apng'))).rejects.toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'ENOENT' } })
})

test('unknown extensions, formats and scales are named before any work', async () => {
  const video = syntheticVideo({
    before: () => {
      throw new Error('decoded')
    }
  })
  await expect(video.save('out.avi')).rejects.toThrow(/^Expected a path that ends in one of \.mp4, \.gif, \.webp, \.apng, \.png, \.y4m, \.safetensors but received "out.avi"$/)
  await expect(video.save('out')).rejects.toBeInstanceOf(RangeError)
  await expect(video.toBuffer('avi')).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  for (const scale of [0, 1.5, 65, NaN, -1]) await expect(video.save('out.mp4', { scale })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  await expect(video.save('out.mp4', { scale: '2' as unknown as number })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
})

test('unknown options and wrong ones are named before any work', async () => {
  const video = syntheticVideo({
    before: () => {
      throw new Error('decoded')
    }
  })
  for (const call of [async (options: object) => video.toBuffer('gif', options), async (options: object) => video.toStream('gif', options), async (options: object) => video.save(join(folder, 'out.gif'), options)]) {
    await expect(call({ scael: 2 })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining("received 'scael'; the nearest one is 'scale'") as string })
    await expect(call({ onProgress: 7 })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: 'Expected a function for onProgress but received 7' })
    await expect(call({ signal: {} })).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining('Expected an AbortSignal for signal') as string })
    await expect(call(null as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  }
  await expect(video.frames({ fps: 8 } as never).next()).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining("received 'fps'") as string })
  expect(await readdir(folder)).toEqual([])
})

test('places that cannot be written are sentences, and say so before any work', async () => {
  let decoded = 0
  const before = (): void => void decoded++
  await mkdir(join(folder, 'film.mp4'))
  await mkdir(join(folder, 'picture.png'))
  await writeFile(join(folder, 'file'), '')
  const refused: [string, number, string, string][] = [
    ['film.mp4', 4, 'ERR_VIN_DISK', 'it is a folder'],
    ['picture.png', 1, 'ERR_VIN_DISK', 'it is a folder'],
    [`${'n'.repeat(252)}.gif`, 4, 'ERR_VIN_DISK', 'the name is too long (ENAMETOOLONG)'],
    [`${'n'.repeat(300)}.png`, 4, 'ERR_VIN_DISK', 'the name is too long (ENAMETOOLONG)'],
    ['file/out.gif', 4, 'ERR_VIN_DISK', 'its folder is a file (ENOTDIR)'],
    ['file/out.png', 4, 'ERR_VIN_DISK', 'its folder is a file (ENOTDIR)'],
    ['null\0.gif', 4, 'ERR_OUT_OF_RANGE', 'without a null character']
  ]
  for (const [name, numFrames, code, text] of refused) {
    await expect(syntheticVideo({ numFrames, before }).save(join(folder, name)), name).rejects.toMatchObject({ code, message: expect.stringMatching(/^Expected .* but /) as string })
    await expect(syntheticVideo({ numFrames, before }).save(join(folder, name)), name).rejects.toThrow(text)
  }
  expect(decoded).toBe(0)
  expect((await readdir(folder)).sort()).toEqual(['file', 'film.mp4', 'picture.png'])
})

test('a name may be as long as the file system takes', async () => {
  for (const name of [`${'n'.repeat(251)}.gif`, `${'ü'.repeat(125)}.y4m`]) {
    await syntheticVideo({ numFrames: 2 }).save(join(folder, name))
    expect(await readdir(folder)).toEqual([name])
    await rm(join(folder, name))
  }
})

test('sizes that a format cannot hold are refused before any work', async () => {
  let decoded = 0
  const video = syntheticVideo({ width: 1032, height: 8, before: () => void decoded++ })
  for (const [format, scale, most] of [['webp', 16, 16_383], ['mp4', 17, 16_880], ['gif', 64, 65_535]] as const) {
    await expect(video.toBuffer(format, { scale })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringMatching(`Expected at most ${most} pixels a side for \\.${format} but they are`) as string })
  }
  expect(decoded).toBe(0)
})

test('a frame that is none is named', async () => {
  const { latents } = syntheticVideo()
  const decode = async function* () {
    yield undefined as never
  }
  const video = new Video({ latents, decode, width: 64, height: 64, fps: 16, numFrames: 1, seed: 1, options: {}, plan: undefined, timings: {}, warnings: [] })
  for (const extension of extensions) await expect(video.toBuffer(extension), extension).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining('for frame 0') as string })
})

test('a video of latents alone gives latents and refuses pixels', async () => {
  const { latents } = syntheticVideo()
  const video = new Video({ latents, width: 64, height: 64, fps: 16, numFrames: 12, seed: 1, options: {}, plan: undefined, timings: {}, warnings: [] })
  await video.save(join(folder, 'x.safetensors'))
  for (const extension of extensions) await expect(video.save(join(folder, `x.${extension}`))).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { component: 'vae' } })
  await expect(video.frames().next()).rejects.toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  expect(await readdir(folder)).toEqual(['x.safetensors'])
})

test('frames are read again from the start each time, and one at a time', async () => {
  const order: number[] = []
  const video = syntheticVideo({ numFrames: 5, before: (frame) => void order.push(frame) })
  for await (const frame of video.frames()) {
    expect(order.at(-1)).toBe(frame.index)
    if (frame.index === 2) break
  }
  expect(order).toEqual([0, 1, 2])
  for await (const frame of video.frames()) expect(frame.data).toHaveLength(64 * 64 * 3)
  expect(order).toEqual([0, 1, 2, 0, 1, 2, 3, 4])
})
