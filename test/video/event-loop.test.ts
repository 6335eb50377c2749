// Encoders run on threads of their own: a timer of the JavaScript thread keeps firing, held against the same timer while nothing runs.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { expect, test, vi } from 'vitest'
import type { Frame } from '../../lib/index.js'
import { Video } from '../../lib/video/video.js'
import { frameOf } from './support.js'

vi.setConfig({ testTimeout: 120_000 })

const size = { width: 128, height: 128 }
const numFrames = 40
const frames = Array.from({ length: numFrames }, (_, index) => frameOf({ ...size, pixel: (x, y, c, frame) => ((x * 7919 + y * 104_729 + c * 31 + frame * 1_299_709) * 2_654_435_761) % 251 }, index))

/** Frames that cost nothing. */
function videoOf(all: Frame[]): Video {
  const { width, height } = all[0]!
  const decode = async function* (): AsyncGenerator<Frame> {
    yield* all
  }
  return new Video({ latents: { data: new Float32Array(0), shape: [4, 0, 1, 1] }, decode, width, height, fps: 16, numFrames: all.length, seed: 0, options: {}, plan: undefined, timings: {}, warnings: [] })
}

const picture = videoOf([{ index: 0, data: Uint8Array.from({ length: 1024 * 1024 * 3 }, (_, i) => (i * 2_654_435_761) % 251), width: 1024, height: 1024 }])

/** The longest gap of a 10 ms timer while `work` runs. */
async function longestGap(work: () => Promise<unknown>): Promise<number> {
  let [last, longest] = [performance.now(), 0]
  const tick = (): void => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }
  const timer = setInterval(tick, 10)
  await work()
  tick()
  clearInterval(timer)
  return longest
}

/** Half a second in which this thread is idle and another one is not, as while an encoder works: what the machine itself adds to a gap. */
async function idleBesideWork(): Promise<void> {
  const busy = new Worker('for (;;);', { eval: true, execArgv: [] })
  await once(busy, 'online')
  await sleep(500)
  await busy.terminate()
}

// So large that one frame of a GIF or an APNG is more than 100 ms of work for whoever encodes it.
const amounts = [['gif', 2, 16], ['apng', 3, 8], ['webp', numFrames, 1], ['mp4', numFrames, 3], ['y4m', 3, 8], ['png', 1, 1]] as const

test.each(amounts)('%s: no gap of more than 100 ms beyond the one of an idle timer', async (format, count, scale) => {
  const video = format === 'png' ? picture : videoOf(frames.slice(0, count))
  const encode = (): Promise<unknown> => video.toBuffer(format, { scale })
  const seen: { gap: number; idle: number }[] = []
  // The best of five: work on this thread is as long in every round, a busy neighbour is not.
  for (let round = 0; round < 5; round++) {
    const idle = await longestGap(idleBesideWork)
    const gap = await longestGap(encode)
    seen.push({ gap, idle })
    if (gap <= idle + 100) return
  }
  expect.fail(`saw ${JSON.stringify(seen)}`)
})
