// A file of latents as a video again: what it says of itself, and what it may not say.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openLatents } from '../../lib/index.js'
import type { VideoPipeline } from '../../lib/index.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let folder = ''
beforeAll(async () => {
  pipeline = await tinyPipeline()
  folder = await mkdtemp(join(tmpdir(), 'vin-saved-'))
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true, force: true })
})

/** Five latent frames of zeros, with a header's metadata. */
async function saved(metadata: Record<string, string>): Promise<string> {
  const data = Buffer.alloc(4 * 5 * 4 * 4 * 4)
  const header = Buffer.from(JSON.stringify({ __metadata__: metadata, latents: { dtype: 'F32', shape: [4, 5, 4, 4], data_offsets: [0, data.length] } }))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const file = join(folder, 'latents.safetensors')
  await writeFile(file, Buffer.concat([length, header, data]))
  return file
}

test('frames, rate and seed are those of the file, a seed beyond 2⁵³ too', async () => {
  const file = await saved({ num_frames: '15', fps: '12.5', seed: '18446744073709551615' })
  expect(await openLatents(pipeline, file)).toMatchObject({ numFrames: 15, fps: 12.5, seed: 18446744073709551615n, width: 32, height: 32 })
  expect(await openLatents(pipeline, file, { numFrames: 16, fps: 8 })).toMatchObject({ numFrames: 16, fps: 8 })
  expect(await openLatents(pipeline, await saved({ seed: '7' }))).toMatchObject({ numFrames: 16, seed: 7 })
})

test.each(['num_frames', 'fps', 'seed'])('%s that is no number is the file’s fault', async (name) => {
  for (const text of ['many', '', 'Infinity']) {
    const file = await saved({ num_frames: '16', fps: '16', seed: '1', [name]: text })
    const error = { code: 'ERR_VIN_FORMAT', message: expect.stringContaining(`Expected a number for ${name} in the metadata of ${file}`) as string }
    await expect(openLatents(pipeline, file)).rejects.toMatchObject(error)
    await expect(pipeline.generate({ prompt: 'a circle', numFrames: 32, outputType: 'latents', numInferenceSteps: 1, video: file })).rejects.toMatchObject(error)
  }
})

test('an unknown option is named with the nearest one', async () => {
  await expect(openLatents(pipeline, await saved({}), { frames: 4 } as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining("received 'frames'; the nearest one is") as string })
  pipeline.scheduler.setTimesteps(2)
  const sample = { data: new Float32Array(16), shape: [1, 1, 4, 4] }
  await expect(pipeline.scheduler.step(sample, pipeline.scheduler.timesteps[0]!, sample, { etta: 1 } as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining("the nearest one is 'eta'") as string })
})

test('what cannot be read is a sentence', async () => {
  for (const path of [folder, join(folder, 'nowhere.safetensors')]) {
    const error: unknown = await openLatents(pipeline, path).catch((reason: unknown) => reason)
    expect(error, path).toMatchObject({ code: expect.stringMatching(/^ERR_/) as string, message: expect.stringMatching(/[Ee]xpected /) as string })
  }
})
