// Two hundred aborted runs: what the engine holds is the same to the byte, and the process grows no more.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { answerOf, writeTinyModel } from './support.js'

vi.setConfig({ testTimeout: 300_000 })

interface Held {
  bytes: number
  handles: number
  engines: number
  files?: number
  threads?: number
}

/** Least squares: how much each value adds to the one before it. */
function slope(values: number[]): number {
  const middle = (values.length - 1) / 2
  const squares = values.reduce((sum, _, i) => sum + (i - middle) ** 2, 0)
  return values.reduce((sum, value, i) => sum + (i - middle) * value, 0) / squares
}

test('200 rounds of generate and abort leave no byte, no handle and no thread behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vin-aborts-'))
  try {
    const [model, output] = [join(folder, 'model'), join(folder, 'output')]
    await mkdir(output)
    await writeTinyModel(model)
    const config = { model, folder: output, warmUp: 50, rounds: 200, encodes: 4 }
    const answer = await answerOf<{ before: Held; after: Held; beforeEncodes: Held; afterEncodes: Held; disposed: Held; rss: number[]; left: string[] }>('aborts.mjs', config, { flags: ['--expose-gc'] })
    expect(answer.after).toEqual(answer.before)
    expect(answer.before.handles).toBe(0)
    expect(answer.afterEncodes).toEqual(answer.beforeEncodes)
    expect(answer.left).toEqual([])
    expect(answer.disposed).toEqual({ bytes: 0, handles: 0, engines: 0 })
    expect(answer.rss).toHaveLength(200)
    expect(slope(answer.rss.slice(-150))).toBeLessThan(20_000)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
