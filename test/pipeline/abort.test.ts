// Aborting the built-in model in each of its stages: the caller has the signal's reason and the engine is idle within 250 ms.
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, GenerationJob } from '../../lib/index.js'
import { loadBinding } from '../../lib/native/load.js'
import { bits } from '../support/fixtures.js'

vi.setConfig({ testTimeout: 180_000 })

let pipeline: VideoPipeline
let folder: string
let wanted: Buffer
const options = { prompt: 'a red circle and a blue square bounce over a meadow', numFrames: 64, seed: 7, numInferenceSteps: 3 } satisfies GenerateOptions
const short = { ...options, numFrames: 16, numInferenceSteps: 1 } satisfies GenerateOptions
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-abort-'))
  pipeline = await VideoPipeline.fromPretrained('demo', { device: 'cpu' })
  wanted = bits((await pipeline.generate(short)).latents)
})
afterAll(async () => {
  await pipeline.dispose()
  await rm(folder, { recursive: true, force: true })
})

const limit = 250
const rounds = 3

/** The longest gap of a timer while nothing runs: what this machine adds to any latency. */
async function idleGap(): Promise<number> {
  let [last, longest] = [performance.now(), 0]
  const timer = setInterval(() => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }, 10)
  await sleep(limit)
  clearInterval(timer)
  return longest
}

interface Latency {
  /** Milliseconds from abort() until the caller has the reason, and until the engine has nothing left to do. */
  rejected: number
  idle: number
}

type Stage = (signal: AbortSignal, abort: () => void) => PromiseLike<unknown>

async function latencyOf(stage: Stage): Promise<Latency> {
  const controller = new AbortController()
  const reason = new Error('enough')
  let asked = 0
  const abort = (): void => {
    if (controller.signal.aborted) return
    asked = performance.now()
    controller.abort(reason)
  }
  await expect(stage(controller.signal, abort)).rejects.toBe(reason)
  const rejected = performance.now() - asked
  expect(asked, 'abort was called').toBeGreaterThan(0)
  await pipeline.engine.native.fence()
  return { rejected, idle: performance.now() - asked }
}

/**
The best of up to three rounds, each against an idle gap taken beside it: work that does not stop is as long in every round, a busy neighbour is not.
*/
async function expectPrompt(stage: Stage): Promise<void> {
  const seen: (Latency & { gap: number })[] = []
  for (let round = 0; round < rounds; round++) {
    const gap = await idleGap()
    const latency = await latencyOf(stage)
    seen.push({ ...latency, gap })
    if (latency.rejected <= limit + gap && latency.idle <= limit + gap) return
  }
  expect.fail(`Expected the reason and an idle engine within ${limit} ms and the idle gap but saw ${JSON.stringify(seen)}`)
}

/** Calls back at the first event of a type. */
async function atEvent(job: GenerationJob, type: string, then: () => void): Promise<void> {
  for await (const event of job) {
    if (event.type !== type) continue
    type = ''
    then()
  }
}

/** A moment into the work that has just been queued. */
const soon = (abort: () => void): void => void setTimeout(abort, 3)

describe('the reason within 250 ms, an engine that stops, and a pipeline that works at once', () => {
  test.each<[string, Stage]>([
    ['load', (signal, abort) => VideoPipeline.fromPretrained('demo', { device: 'cpu', signal, onProgress: () => setImmediate(abort) })],
    [
      'text',
      async (signal, abort) => {
        const { textEncoder } = pipeline
        pipeline.textEncoder = {
          encode: (text) => {
            const encoded = textEncoder.encode(text as string)
            abort()
            return encoded
          }
        }
        try {
          await pipeline.generate({ ...options, signal })
        } finally {
          pipeline.textEncoder = textEncoder
        }
      }
    ],
    ['step', (signal, abort) => atEvent(pipeline.generate({ ...options, signal }), 'step', () => soon(abort))],
    ['step of a long video, whose evaluation takes seconds', (signal, abort) => atEvent(pipeline.generate({ ...options, numFrames: 512, signal }), 'plan', () => void setTimeout(abort, 200))],
    ['step with a hook', (signal, abort) => pipeline.generate({ ...options, signal, onStep: ({ step }) => (step === 1 ? soon(abort) : undefined) })],
    ['decode, as events', (signal, abort) => atEvent(pipeline.generate({ ...options, numInferenceSteps: 1, signal }), 'frames', () => soon(abort))],
    [
      'decode, as frames',
      async (signal, abort) => {
        const video = await pipeline.generate({ ...options, numInferenceSteps: 1 })
        for await (const { index } of video.frames({ signal })) if (index === 0) soon(abort)
      }
    ],
    [
      'encode',
      async (signal, abort) => {
        const video = await pipeline.generate({ ...options, numInferenceSteps: 1 })
        await video.save(join(folder, 'out.mp4'), { scale: 4, signal, onProgress: ({ done }) => (done === 20 ? soon(abort) : undefined) })
      }
    ]
  ])('%s', async (_name, stage) => {
    await expectPrompt(stage)
    expect(await readdir(folder)).toEqual([])
    expect(bits((await pipeline.generate(short)).latents)).toEqual(wanted)
  })
})

test('an aborted load gives back what it had read', async () => {
  const before = loadBinding().memory()
  const controller = new AbortController()
  const loading = VideoPipeline.fromPretrained('demo', { device: 'cpu', threads: 3, signal: controller.signal, onProgress: () => setImmediate(() => controller.abort()) })
  await expect(loading).rejects.toMatchObject({ name: 'AbortError' })
  expect(loadBinding().memory()).toEqual(before)
})
