// Native work is off the JavaScript thread: a 10 ms timer keeps firing while a video is made and saved, and while a model learns.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { answerOf } from './support.js'

vi.setConfig({ testTimeout: 300_000 })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-event-loop-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

interface Round {
  busy: { ms: number; ticks: number; longest: number }
  idle: { longest: number }
  /** Milliseconds by which the longest gap of the job was longer than the idle one. */
  over: number
}

const allowed = 50

test.each([
  ['generate, events, latents of every step and an .mp4', 'generate'],
  ['Trainer.fit on the demo world', 'fit'],
  ['Trainer.step on given latents', 'step']
])('%s: the longest gap is at most 50 ms longer than an idle one', async (_name, job) => {
  const { rounds } = await answerOf<{ rounds: Round[] }>('event-loop.mjs', { job, output: join(folder, 'out.mp4'), allowed, rounds: 3 })
  expect(rounds.at(-1)!.over, JSON.stringify(rounds)).toBeLessThanOrEqual(allowed)
  for (const { busy } of rounds) expect(busy.ticks).toBeGreaterThan(busy.ms / 100)
})
