import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { VinError } from '../../lib/index.js'
import { videoFolder } from '../../lib/training/video-folder.js'
import { requireFfmpeg } from '../../lib/video/ffmpeg.js'

const ffmpeg = await requireFfmpeg('test').catch(() => undefined)
let folder: string
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'videos-'))))
afterAll(() => rm(folder, { recursive: true, force: true }))

const first = async (path: string) => {
  for await (const example of videoFolder(path, { width: 32, height: 32 })) return example
  return undefined
}
const refused = (path: string) => first(path).then(() => undefined, (error: unknown) => error as VinError)

test('sizes are checked when it is made', () => {
  expect(() => videoFolder(folder, { width: 33, height: 32 })).toThrow(RangeError)
  expect(() => videoFolder(folder, { width: 32, height: 32, frames: 3 } as never)).toThrow(/'fps'|'maxFrames'/)
})

test('without ffmpeg the message says what to install', async () => {
  const path = process.env['PATH']
  process.env['PATH'] = folder
  const captioned = join(folder, 'captioned')
  await mkdir(captioned)
  for (const file of ['a.mp4', 'a.txt']) await writeFile(join(captioned, file), 'a red picture\n')
  try {
    expect(await refused(captioned)).toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('install ffmpeg') })
    expect(await refused(join(folder, 'nowhere'))).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('a folder of videos') })
  } finally {
    process.env['PATH'] = path
  }
})

test.skipIf(ffmpeg === undefined)('videos come with their captions, from .txt and captions.json, in an order of the seed (skipped without ffmpeg, which reads them)', async () => {
  expect(await refused(folder)).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  for (const [name, colour] of [['a', 'red'], ['b', 'blue']]) execFileSync(ffmpeg!, ['-v', 'error', '-f', 'lavfi', '-i', `color=c=${colour}:s=64x48:r=16:d=1`, '-y', join(folder, `${name}.mp4`)])
  await writeFile(join(folder, 'a.txt'), 'a red picture\n')
  expect(await refused(folder)).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT', details: { videos: ['b.mp4'] } })
  await writeFile(join(folder, 'captions.json'), JSON.stringify({ 'b.mp4': 'a blue picture' }))
  const prompts = new Set<string>()
  for await (const { prompt, frames } of videoFolder(folder, { width: 32, height: 32, maxFrames: 8 })) {
    prompts.add(prompt)
    expect(frames?.shape).toEqual([8, 32, 32, 3])
    const [red, , blue] = frames!.data
    expect(prompt === 'a red picture' ? red! > 200 && blue! < 60 : blue! > 200 && red! < 60).toBe(true)
  }
  expect([...prompts].sort()).toEqual(['a blue picture', 'a red picture'])
})
