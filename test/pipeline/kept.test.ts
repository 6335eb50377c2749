// What the top-level generate() keeps, and gives back.
import { expect, test } from 'vitest'
import { generate } from '../../lib/index.js'
import type { GenerateCallOptions, GeneratedVideo } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { bits } from '../support/fixtures.js'

const options = { prompt: 'a red circle', numFrames: 16, numInferenceSteps: 1, seed: 1, threads: 1, device: 'cpu', outputType: 'latents' } satisfies GenerateCallOptions

test('generate.dispose() frees pipelines and engines, stops what runs, and a later call opens the model anew', async () => {
  const { memory } = loadBinding()
  const before = memory()
  const first = await generate(options)
  await generate({ ...options, threads: 2 })
  const kept = memory()
  expect(kept.engines).toBe(before.engines + 2)
  await generate.dispose()
  expect(memory()).toEqual(before)
  expect(bits((await generate(options)).latents)).toEqual(bits(first.latents))
  expect(memory().engines).toBe(before.engines + 1)
  const running = generate({ ...options, numInferenceSteps: 50, onStep: () => generate.dispose() })
  await expect(running).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
  await generate.dispose()
  expect(memory()).toEqual(before)
})

test('disposed of while it loads: the job rejects, and nothing stays', async () => {
  const before = loadBinding().memory()
  const job = generate(options)
  job.catch(() => {})
  await generate.dispose()
  await expect(job).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
  await generate.dispose()
  expect(loadBinding().memory()).toEqual(before)
})

test('a job is a promise to whoever asks for one', async () => {
  const job: Promise<GeneratedVideo> = generate({ ...options, numFrames: 0 })
  expect(Object.prototype.toString.call(job)).toBe('[object GenerationJob]')
  await expect(job.catch((error: unknown) => Promise.reject(error))).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  let ended = false
  await job.finally(() => (ended = true)).catch(() => {})
  expect(ended).toBe(true)
})
