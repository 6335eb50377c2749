// Memory of a run: what plan() says beside what the engine and the process took, and how little of it depends on the length of the video.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { expectFlat, linux } from './memory.js'
import type { Memory } from './memory.js'
import { answerOf, writeTinyModel } from './support.js'

// A demo video of 256 frames is 5 seconds of one core, on machines that may be busy.
vi.setConfig({ testTimeout: 300_000 })

let tiny: string
beforeAll(async () => {
  tiny = await mkdtemp(join(tmpdir(), 'vin-tiny-'))
  await writeTinyModel(tiny)
})
afterAll(() => rm(tiny, { recursive: true, force: true }))

/** Measured: the engine's allocator keeps its own mark; resident memory is the system's word, which needs no trust in that mark. */
const measure = (model: string, options: object): Promise<Memory> =>
  answerOf('memory.mjs', { model, collect: true, options: { prompt: 'a red circle bounces', numInferenceSteps: 1, seed: 7, ...options } }, { flags: ['--expose-gc'] })

const within20 = (planned: number, measured: number): void => {
  expect(planned).toBeGreaterThanOrEqual(measured * 0.8)
  expect(planned).toBeLessThanOrEqual(measured * 1.2)
}

describe('plan().memory.peak is within 20 % of what was measured', () => {
  test.each<[string, 'demo' | 'tiny', object]>([
    ['demo, 64 frames', 'demo', { numFrames: 64 }],
    ['demo, 256 frames', 'demo', { numFrames: 256 }],
    ['demo, 256 frames, latents alone', 'demo', { numFrames: 256, outputType: 'latents' }],
    ['tiny, 64 frames', 'tiny', { numFrames: 64 }],
    ['tiny, 64 frames, latents alone', 'tiny', { numFrames: 64, outputType: 'latents' }]
  ])('%s', async (_name, model, options) => {
    const { plan, held, alive, loaded, ended } = await measure(model === 'tiny' ? tiny : model, options)
    within20(plan.peak, held)
    // Weights are most of these peaks, and easy to know: without them.
    const run = plan.peak - plan.weights
    within20(run, held - plan.weights)
    // The tiny model's one or two megabytes drown in what a process does anyway.
    if (loaded !== undefined && ended !== undefined && model === 'demo') within20(run, ended.peak - loaded.now)
    // One micro-batch is handed out while the next one is decoded.
    expect(alive).toBeLessThanOrEqual(32)
  })
})

test.skipIf(!linux)('1,024 frames of 32 × 32 take no more memory than 64 (/proc/self/status says so, on Linux)', () => expectFlat(32))
